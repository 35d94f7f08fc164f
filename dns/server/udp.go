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

// receiveBuffer holds what arrives while all workers answer: 5,000 questions of a hundred bytes as the kernel
// counts them. More is dropped there, so that an overloaded server has no queue of its own, and late answers
// to clients who have asked somebody else meanwhile.
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
	conn.SetReadBuffer(receiveBuffer) // the kernel may give less, which is no error
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

// serve answers until the socket is closed. The workers read and answer in turn, so a question is in no queue but
// the kernel's.
func (u *udpSocket) serve(s *Server) {
	for range runtime.GOMAXPROCS(0) {
		s.loops.Go(func() { u.work(s) })
	}
}

func (u *udpSocket) work(s *Server) {
	in, out := make([]byte, maxQuery+1), make([]byte, 0, maxUDP)
	for {
		n, to, from, err := u.read(in)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, errQuiet):
			return
		case err != nil:
			continue // an ICMP error of an earlier answer, or a datagram that was cut
		case n > maxQuery:
			s.count.dropped(dropOversized)
			continue
		}
		if reply := s.answer(in[:n], from.Addr().Unmap(), overUDP, out); reply != nil {
			u.write(reply, to, from)
		}
	}
}

// errQuiet ends a worker once the socket was told to finish and nothing more has come.
var errQuiet = errors.New("dns: no more questions")

// read takes one datagram; to is the address that was asked, nil where there is one alone.
func (u *udpSocket) read(b []byte) (n int, to net.IP, from netip.AddrPort, err error) {
	switch {
	case u.v4 != nil:
		var cm *ipv4.ControlMessage
		var src net.Addr
		if n, cm, src, err = u.v4.ReadFrom(b); err == nil && cm != nil {
			to = cm.Dst
		}
		from = addrPort(src)
	case u.v6 != nil:
		var cm *ipv6.ControlMessage
		var src net.Addr
		if n, cm, src, err = u.v6.ReadFrom(b); err == nil && cm != nil {
			to = cm.Dst
		}
		from = addrPort(src)
	default:
		n, from, err = u.conn.ReadFromUDPAddrPort(b)
	}
	if t := net.Error(nil); errors.As(err, &t) && t.Timeout() {
		err = errQuiet
	}
	return n, to, from, err
}

// write sends an answer. One that cannot be sent is lost, as a datagram may be; the client asks again.
func (u *udpSocket) write(b []byte, as net.IP, to netip.AddrPort) {
	switch {
	case u.v4 != nil:
		u.v4.WriteTo(b, &ipv4.ControlMessage{Src: as}, net.UDPAddrFromAddrPort(to))
	case u.v6 != nil:
		u.v6.WriteTo(b, &ipv6.ControlMessage{Src: as}, net.UDPAddrFromAddrPort(to))
	default:
		u.conn.WriteToUDPAddrPort(b, to)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort()
	}
	return netip.AddrPort{}
}

// finish answers what has arrived, and ends the workers.
func (u *udpSocket) finish() { u.conn.SetReadDeadline(time.Now().Add(u.limits.last)) }
