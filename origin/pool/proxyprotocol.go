package pool

import (
	"context"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// announce writes the PROXY protocol's header for a connection of key k (the specification, "The PROXY protocol", sections
// 2.1 and 2.2), which comes before everything else, TLS too. In version 1 an unknown source is UNKNOWN, in version 2 LOCAL.
func (p *Pool) announce(ctx context.Context, raw net.Conn, k Key) error {
	if p.cfg.ProxyProtocol == "" {
		return nil
	}
	version := byte(2)
	if p.cfg.ProxyProtocol == "v1" {
		version = 1
	}
	var src, dst net.Addr
	if k.Source.IsValid() {
		src, dst = net.TCPAddrFromAddrPort(k.Source), raw.RemoteAddr()
		if k.Destination.IsValid() {
			dst = net.TCPAddrFromAddrPort(k.Destination)
		}
	}
	b, err := proxyproto.HeaderProxyFromAddrs(version, src, dst).Format()
	if err != nil {
		return err
	}
	if until, ok := ctx.Deadline(); ok {
		raw.SetWriteDeadline(until)
		defer raw.SetWriteDeadline(time.Time{})
	}
	_, err = raw.Write(b)
	return err
}
