package edge_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"

	"hither/deploy/fleet"
	"hither/origin/gateway"
)

// A middle is a gateway between the edge and the script's origin, which is an instance then and speaks a protocol in plain
// text: the line "gateway h1" or "gateway h2c", with by=h3 for the way to the gateway. The methods of a nil middle do nothing: in most scripts the origin stands where the
// gateway stands.
type middle struct {
	protocol string
	by       string         // what the edge speaks to it; "" = h2
	at, page netip.AddrPort // where edges come in, and its metrics
	meter    meter
	stop     func()
}

// begin starts it in front of s.origin.
func (m *middle) begin(s *setup, a *authority) error {
	if m == nil {
		return nil
	}
	ports, err := freePorts(s.addr, 2)
	if err != nil {
		return err
	}
	m.at, m.page = netip.AddrPortFrom(s.addr, ports[0]), netip.AddrPortFrom(s.addr, ports[1])
	m.meter = meter{&http.Client{Transport: new(http.Transport)}, "http://" + m.page.String() + "/metrics"}
	id, err := fleet.LoadIdentity(a.gateway) // one for each, which it changes
	if err != nil {
		return err
	}
	network, _, err := s.network(9, 0, 0) // the edge's ports are not its own to know
	if err != nil {
		return err
	}
	state, err := os.MkdirTemp("", "origin-") // short, for the admin socket's sake
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	g, err := gateway.New(gateway.Options{
		Name: "us", State: state, Network: network, Identity: id, Version: "script", Log: slog.New(slog.DiscardHandler),
		Ready: func() { close(ready) }, Now: s.clock.now,
	})
	if err != nil {
		os.RemoveAll(state)
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	<-ready
	m.stop = func() {
		m.meter.client.CloseIdleConnections()
		cancel()
		<-ended // what a drain cuts is the script's own leavings
		os.RemoveAll(state)
	}
	return nil
}

// end stops it, if it runs.
func (m *middle) end() {
	if m != nil && m.stop != nil {
		m.stop()
	}
}

// origin is the origin's entry of the network file, without its gateway where no such line is: then that is the script's origin.
func (m *middle) origin(origin map[string]any, at string) map[string]any {
	type o = map[string]any
	if m == nil {
		origin["gateway"], origin["app"] = o{"addresses": []string{at}}, o{"static": o{}}
		return origin
	}
	origin["gateway"] = o{"addresses": []string{m.at.String()}, "metrics": m.page.String()}
	if m.by != "" {
		origin["pool"] = o{"protocol": m.by}
	}
	origin["app"] = o{"instances": []o{{"url": "http://" + at, "protocol": m.protocol}}}
	return origin
}

// secure is what a liar speaks over.
func (o *origin) secure(c net.Conn, conf *tls.Config) net.Conn {
	if o.plain {
		return c
	}
	return tls.Server(c, conf)
}
