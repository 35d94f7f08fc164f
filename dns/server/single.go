package server

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// workSingly answers questions one by one, where the kernel takes no batches.
func (u *udpSocket) workSingly(s *Server) {
	in, out := make([]byte, maxQuery+1), make([]byte, 0, maxUDP)
	for {
		n, to, from, err := u.read(in)
		switch timeout := net.Error(nil); {
		case errors.Is(err, net.ErrClosed), errors.As(err, &timeout) && timeout.Timeout():
			return // closed, or told to finish and quiet
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
