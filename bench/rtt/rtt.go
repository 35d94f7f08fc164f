// Package rtt measures what a client waits for over real distance: directly at the origin and through an edge, over
// each protocol, with each state of the edge's cache.
package rtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"hither/bench/lab"
	"hither/bench/visit"
	"hither/deploy"
)

// Options say what to measure.
type Options struct {
	Distances
	Loss    float64       // share of packets that get lost, on all ways
	Sizes   []deploy.Size // of the objects, each another
	Samples int           // of each case but those on a cold pool
	Cold    int           // samples of each case on a cold pool: each takes a start of edge and origin. 0 = none

	Program string // the path of `hither`
	Dir     string // an empty folder for the network's state and the site

	// Step is told what is done next; there are Steps of them. nil = nobody wants to know.
	Step func(what string)
}

// Steps is how often Step is called.
func (o Options) Steps() int { return 1 + o.Samples + o.Cold }

// Measure makes a lab with a network and plain servers in it, measures every case, and ends all that again. The cases
// take turns, so that a machine that is busy for a while does not hit one of them alone. Its error is a
// [lab.ErrUnavailable] where a lab cannot be made.
func Measure(ctx context.Context, o Options) (r *Result, err error) {
	step := func(format string, args ...any) {
		if o.Step != nil {
			o.Step(fmt.Sprintf(format, args...))
		}
	}
	m, err := start(ctx, o, func() { step("start the network") })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	r = &Result{Distances: o.Distances, Loss: o.Loss}
	for _, c := range Cases(o.Sizes) {
		r.Rows = append(r.Rows, Row{Case: c})
	}
	if r.Congestion, err = m.lab.At(lab.Client).Congestion(); err != nil {
		return nil, err
	}
	if r.LabError, err = m.echo(ctx); err != nil {
		return nil, err
	}
	if err := m.fill(ctx); err != nil {
		return nil, err
	}
	for i := range o.Samples {
		step("round %d of %d", i+1, o.Samples)
		if err := m.round(ctx, r.Rows, false); err != nil {
			return nil, err
		}
	}
	for i := range o.Cold {
		step("cold pool, round %d of %d", i+1, o.Cold)
		if err := m.round(ctx, r.Rows, true); err != nil {
			return nil, err
		}
	}
	measured := r.Rows[:0]
	for _, row := range r.Rows {
		if len(row.Samples) > 0 {
			measured = append(measured, row)
		}
	}
	r.Rows = measured
	return r, nil
}

// A measurer is a lab with all that is visited in it.
type measurer struct {
	o      Options
	lab    *lab.Lab
	net    *lab.Network
	plain  *visit.Server
	direct *visit.Client
	edge   *visit.Client
	asked  int // misses so far: each is for another address
}

// start makes the lab and starts what runs in it. It tells when there is a lab: what cannot be made needs one line only.
func start(ctx context.Context, o Options, made func()) (m *measurer, err error) {
	segments := lab.Distances(o.ClientEdge, o.EdgeOrigin, o.ClientOrigin)
	for s, c := range segments {
		c.Loss = o.Loss
		segments[s] = c
	}
	m = &measurer{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if m.lab, err = lab.Start(lab.Options{Segments: segments}); err != nil {
		return m, err
	}
	made()
	site := filepath.Join(o.Dir, "site")
	if err := writeSite(site, o.Sizes); err != nil {
		return m, fmt.Errorf("rtt: write the site: %w", err)
	}
	if m.net, err = m.lab.StartNetwork(ctx, lab.NetworkOptions{Program: o.Program, Dir: filepath.Join(o.Dir, "network"), Site: site}); err != nil {
		return m, err
	}
	roots, err := m.net.Roots()
	if err != nil {
		return m, err
	}
	if err := m.servePlain(ctx, site); err != nil {
		return m, err
	}
	m.direct = m.client(lab.Origin, m.plain.Roots)
	m.edge = m.client(lab.Edge, roots)
	return m, m.net.Warm(ctx)
}

// client is one at the client's place that visits the site at another.
func (m *measurer) client(to lab.Place, roots *x509.CertPool) *visit.Client {
	at := m.lab.At(lab.Client)
	return &visit.Client{
		Dial:      at.DialContext,
		ListenUDP: func() (net.PacketConn, error) { return at.ListenUDP(0) },
		To:        netip.AddrPortFrom(to.Addr(), 443),
		TLS:       &tls.Config{RootCAs: roots, ServerName: lab.Host},
	}
}

// servePlain serves the site at the origin's place without hither.
func (m *measurer) servePlain(ctx context.Context, site string) error {
	at := m.lab.At(lab.Origin)
	l, err := at.Listen(ctx, "tcp", netip.AddrPortFrom(lab.Origin.Addr(), 443).String())
	if err != nil {
		return err
	}
	sock, err := at.ListenUDP(443)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	m.plain, err = visit.Serve(lab.Host, l, sock, http.FileServer(http.Dir(site)))
	return err
}

// close ends all that was started.
func (m *measurer) close() error {
	var all []error
	if m.plain != nil {
		all = append(all, m.plain.Close())
	}
	if m.net != nil {
		all = append(all, m.net.Close())
	}
	if m.lab != nil {
		all = append(all, m.lab.Close())
	}
	return errors.Join(all...)
}

// echoes is how many are sent over the near and the far way each.
const echoes = 20

// echo measures the lab's own error.
func (m *measurer) echo(ctx context.Context) (time.Duration, error) {
	var worst time.Duration
	for _, to := range []lab.Place{lab.Edge, lab.Origin} {
		if m.o.Loss > 0 {
			break // an echo that is lost never comes
		}
		e, err := m.lab.Echo(ctx, lab.Client, to, echoes)
		if err != nil {
			return 0, err
		}
		worst = max(worst, e.Error())
	}
	return worst, nil
}

// path is where an object is.
func path(size deploy.Size) string { return "/" + size.String() + ".bin" }

// writeSite makes the folder to serve, with random content: nothing compresses it.
func writeSite(dir string, sizes []deploy.Size) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, size := range sizes {
		if err := os.WriteFile(filepath.Join(dir, path(size)), noise(size), 0o600); err != nil {
			return err
		}
	}
	return nil
}
