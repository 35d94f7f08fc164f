package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A target is one address of a PoP as it is probed: an HTTPS request by the name of a site that the PoP serves, checked
// against the roots of its certificate. It is comparable: a target that a new network file has too goes on as it is.
type target struct {
	pop  string
	at   netip.AddrPort
	name string // of the site

	interval, timeout time.Duration
}

// A prober asks every target again and again, and tells what came of it.
type prober struct {
	roots *x509.CertPool
	seen  func(target, error)         // called from one goroutine per target
	took  func(target, time.Duration) // the same, before seen: how long a connection took to open; nil = nobody wants to know

	mu      sync.Mutex
	running map[target]context.CancelFunc
	ended   bool
	loops   sync.WaitGroup
}

// set probes just these targets from now on; none after close.
func (p *prober) set(targets []target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	wanted := make(map[target]bool)
	for _, t := range targets {
		wanted[t] = true
		if p.running[t] == nil {
			ctx, cancel := context.WithCancel(context.Background())
			p.running[t] = cancel
			p.loops.Go(func() { p.watch(ctx, t) })
		}
	}
	for t, cancel := range p.running {
		if !wanted[t] {
			cancel()
			delete(p.running, t)
		}
	}
}

// close ends all probes.
func (p *prober) close() {
	p.set(nil)
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.loops.Wait()
}

// watch probes one target: at once, and then at each interval, a tenth sooner or later so that servers which started
// together do not stay together.
func (p *prober) watch(ctx context.Context, t target) {
	for {
		err := p.probe(ctx, t)
		if ctx.Err() != nil {
			return
		}
		p.seen(t, err)
		next := time.NewTimer(time.Duration(float64(t.interval) * (0.9 + 0.2*rand.Float64())))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// probe asks the edge about itself, over a connection of its own, so that what it finds is what a new client finds: OPTIONS
// with Max-Forwards 0 goes no further than the node that gets it (RFC 9110 section 7.6.2), so an origin that is down takes no
// PoP out of DNS. Nothing of the probe is left when it returns; http.Transport would dial on after its request has ended.
func (p *prober) probe(ctx context.Context, t target) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	began := time.Now()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", t.at.String())
	if err != nil {
		return t.ended(ctx, err)
	}
	defer raw.Close()
	if p.took != nil {
		p.took(t, time.Since(began)) // one round trip, of the system's own making
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: p.roots, ServerName: t.name, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	r := &http.Request{
		Method: http.MethodOptions, URL: &url.URL{Scheme: "https", Host: t.name, Path: "/"}, Host: t.name,
		Header: http.Header{"Max-Forwards": {"0"}, "User-Agent": {"hither-dns"}}, Close: true,
	}
	if err := r.Write(conn); err != nil {
		return t.ended(ctx, err)
	}
	answer := bufio.NewReader(io.LimitReader(conn, probeAnswer))
	for {
		resp, err := http.ReadResponse(answer, r)
		switch {
		case err != nil && strings.HasSuffix(err.Error(), certificateRequired.Error()):
			return nil // it has shown its own, and that it works
		case err != nil:
			return t.ended(ctx, err)
		case resp.StatusCode/100 == 1: // interim; what they may take is bounded
		case resp.StatusCode == http.StatusServiceUnavailable:
			return errDraining // nobody but the edge itself answers such a request
		case resp.StatusCode/100 != 2:
			return fmt.Errorf("status %d", resp.StatusCode)
		default:
			return nil
		}
	}
}

// errDraining: the edge is there, and says that it will go (see edge/node).
var errDraining = errors.New("it drains")

// certificateRequired is what an edge says where a site wants its clients to have certificates (RFC 8446 section 6.2).
const certificateRequired = tls.AlertError(116)

// probeAnswer is how many bytes of an answer are read, as much as its head may have.
const probeAnswer = 16 << 10

// ended tells that the time was over rather than what happened to the connection then.
func (t target) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer in %v", t.timeout)
	}
	return err
}
