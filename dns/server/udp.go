package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds what arrives while no worker gets to run, be it for 20 ms or 30. The kernel doubles it, and counts
// some 900 bytes for a short question: 9,000 have room, which one core answers in 40 ms. So late are answers of an
// overloaded server, and no later, for clients ask somebody else meanwhile; more than that is dropped in the kernel.
const receiveBuffer = 4 << 20

// A udpSocket is one UDP socket of the server. On an unspecified address it answers from the address that was asked.
type udpSocket struct {
	conn   *net.UDPConn
	limits limits
	v4     *ipv4.PacketConn // set on 0.0.0.0
	v6     *ipv6.PacketConn // set on ::
}

// listenUDP binds a socket. [::] takes IPv6 alone, so that 0.0.0.0 can be bound beside it.
func listenUDP(at netip.AddrPort, most limits) (*udpSocket, error) {
	pc, err := socketConfig.ListenPacket(context.Background(), network("udp", at), at.String())
	if err != nil {
		return nil, fmt.Errorf("dns: open %s/udp: %w%s", at, err, hint(err, at))
	}
	conn := pc.(*net.UDPConn)
	conn.SetReadBuffer(receiveBuffer) // net.core.rmem_max may be less, which is no error
	u := &udpSocket{conn: conn, limits: most}
	switch {
	case !at.Addr().IsUnspecified():
	case at.Addr().Is4():
		u.v4 = ipv4.NewPacketConn(conn)
		err = u.v4.SetControlMessage(ipv4.FlagDst, true)
	default:
		u.v6 = ipv6.NewPacketConn(conn)
		err = u.v6.SetControlMessage(ipv6.FlagDst, true)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("dns: open %s/udp: %w", at, err)
	}
	return u, nil
}

var socketConfig = net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) (err error) {
	if network == "udp6" || network == "tcp6" {
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) })
	}
	return err
}}

func network(proto string, at netip.AddrPort) string {
	if at.Addr().Is4() {
		return proto + "4"
	}
	return proto + "6"
}

// hint says what to do about an address that cannot be had.
func hint(err error, at netip.AddrPort) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another program, or another network, answers DNS there: stop it, or give this server another port in `dns.servers`"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; this machine does not have the address: give the one to listen on as `bind` in `dns.servers`"
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("; ports below 1024 take root or CAP_NET_BIND_SERVICE: port %d", at.Port())
	}
	return ""
}

// serve answers until the socket is closed. The workers (batch.go; single.go where batches are refused) receive and
// answer in turn, so a question is in no queue but the kernel's.
func (u *udpSocket) serve(s *Server) {
	for range runtime.GOMAXPROCS(0) {
		s.loops.Go(func() { u.work(s) })
	}
}

// finish answers what has arrived, and ends the workers.
func (u *udpSocket) finish() { u.conn.SetReadDeadline(time.Now().Add(u.limits.last)) }
