package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"hither/bench/visit"
)

// A Node is a place as the code sees it that runs there. Its methods may be called at the same time.
type Node struct {
	Place Place
	n     *namespace
}

// Do runs f inside the place's namespace, and returns when f does; the error is that of getting there. f stays on one
// thread: the sockets that it opens itself are the place's, those of goroutines that it begins are not. A socket keeps
// the place in which it was opened, so it may be used anywhere.
func (n *Node) Do(f func()) error {
	if err := n.n.do(f); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// DialContext connects from the place as [net.Dialer.DialContext] does. Names are asked of the lab's DNS server, with
// the way there and back.
func (n *Node) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if _, err := netip.ParseAddr(host); err != nil {
		found, err := n.Lookup(ctx, host)
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(found[0].String(), port)
	}
	return n.dial(ctx, new(net.Dialer), network, address)
}

// DialFrom connects to an address by number, from one of the place's own: at the client, that of a [ClientAddr].
func (n *Node) DialFrom(ctx context.Context, from netip.Addr, network, address string) (net.Conn, error) {
	d := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	if strings.HasPrefix(network, "udp") {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return n.dial(ctx, d, network, address)
}

func (n *Node) dial(ctx context.Context, d *net.Dialer, network, address string) (c net.Conn, err error) {
	if e := n.Do(func() { c, err = d.DialContext(ctx, network, address) }); e != nil {
		return nil, e
	}
	return c, err
}

// Lookup asks the lab's DNS server, and nobody else, from the place for the addresses of a name.
func (n *Node) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	found, err := visit.Ask(ctx, n.DialContext, netip.AddrPortFrom(DNS.Addr(), 53).String(), name)
	if err != nil {
		return nil, fmt.Errorf("lab: ask the DNS server for %s: %w", name, err)
	}
	return found, nil
}

// Listen listens at the place as [net.Listen] does; so do the connections that come of it.
func (n *Node) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var l net.Listener
	var err error
	if e := n.Do(func() { l, err = new(net.ListenConfig).Listen(ctx, network, address) }); e != nil {
		return nil, e
	}
	return l, err
}

// ListenUDP opens a UDP socket at the place, with a port by chance where that is 0. It is what a quic.Transport wants.
func (n *Node) ListenUDP(port uint16) (*net.UDPConn, error) {
	var c *net.UDPConn
	var err error
	if e := n.Do(func() {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.Place.Addr(), port)))
	}); e != nil {
		return nil, e
	}
	return c, err
}

// Start starts a process at the place. The kernel kills it when the lab's process ends, however that does.
func (n *Node) Start(c *exec.Cmd) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = new(syscall.SysProcAttr)
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var err error
	n.n.own(func() { err = c.Start() })
	if err != nil {
		return fmt.Errorf("lab: start %s at the %v: %w", c.Path, n.Place, err)
	}
	return nil
}

// Congestion is the congestion control that TCP uses at a place: the lab leaves what the machine has set.
func (n *Node) Congestion() (string, error) {
	var name string
	var err error
	if e := n.Do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			name, err = unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
			unix.Close(fd)
		}
	}); e != nil {
		return "", e
	}
	if err != nil {
		return "", fmt.Errorf("lab: ask for the congestion control: %w", err)
	}
	return name, nil
}
