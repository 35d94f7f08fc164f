package gateway

import (
	"crypto/tls"
	"net/netip"
	"reflect"
	"time"

	"hither/deploy"
	"hither/edge/listen"
)

// This file turns the network file's structs into the parts' own.

// frontConfig is the gateway's front: HTTP/2 over TCP and HTTP/3 over UDP on one port.
func (g *Gateway) frontConfig(o *deploy.Origin) listen.Config {
	overTCP, overQUIC := g.frontTLS(false), g.frontTLS(true)
	at := bindAddresses(o)
	return listen.Config{
		HTTPS: at, QUIC: at, Handler: g.o.Identity.Guard(g, g.gone), Logger: g.o.Log, Control: farSocket(g.o.Log, congestion),
		// No name leads here, as to an edge: a connection that was still taken would be sent away after its first answer, and
		// edges would make one after the other, instead of turning to another gateway.
		Promise: -1,
		TLS: func(_ *tls.ClientHelloInfo, quic bool) (*tls.Config, error) {
			if quic {
				return overQUIC, nil
			}
			return overTCP, nil
		},
		ProxyProtocol: o.Gateway.ProxyProtocol,
		// The peers are our own edges, which open few connections and many streams.
		Limits: listen.Limits{
			HeaderBytes: 256 << 10, HeaderFields: 1024, URLBytes: 64 << 10, Streams: 1000, Idle: 10 * time.Minute,
			ConnectionsPerAddress: -1, HandshakesPerAddress: -1, Silence: time.Duration(g.o.Network.Edge.Limits.BodyTime),
		},
		Hooks: g.count.hooks(),
	}
}

// bindAddresses are where the gateway listens: what the file says, else the addresses
// that edges dial, with all of the machine's for one that is a name.
func bindAddresses(o *deploy.Origin) []netip.AddrPort {
	if len(o.Gateway.Bind) > 0 {
		return o.Gateway.Bind
	}
	var out []netip.AddrPort
	for _, a := range o.Gateway.Addresses {
		addr, ok := a.Addr()
		if !ok {
			addr = netip.IPv6Unspecified()
		}
		out = append(out, netip.AddrPortFrom(addr, a.Port))
	}
	return out
}

// restartNeeded names the settings that differ and take a new start.
func restartNeeded(a, b *deploy.Origin) []string {
	if !reflect.DeepEqual(a.Gateway, b.Gateway) {
		return []string{"gateway"}
	}
	return nil
}
