// Package far measures the way between an edge and an origin far away, in a lab: whether requests of strangers find a
// connection there, and how much of the line's rate answers fill, beside one TCP connection of the kernel alone.
package far

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	ClientEdge, EdgeOrigin time.Duration // round trips
	Rate                   int64         // of the line between edge and origin, bits per second; its queue is one bandwidth-delay product
	Loss                   float64       // share of packets that the line loses in the last part
	Seed                   uint64        // of that loss

	Requests    int         // uncached ones, each of a client that was never there before
	Clients     int         // how many of them at once
	Size        deploy.Size // of the large answer
	Samples     int         // of each transfer, but for the parallel ones
	Parallel    int         // large answers at once
	Connections int         // that the edge keeps open to the origin

	Program string // the path of `hither`
	Dir     string // an empty folder for the network's state and the site

	// Step is told what is done next; there are Steps of them. nil = nobody wants to know.
	Step func(what string)
}

// Steps is how often Step is called.
func (o Options) Steps() int { return 4 + 2*o.Samples }

// smallSize is what strangers ask for.
const smallSize deploy.Size = 1 << 10

// segments are the conditions of the lab. Only the way between edge and origin has a rate.
func (o Options) segments(loss float64) map[lab.Segment]lab.Conditions {
	s := lab.Distances(o.ClientEdge, o.EdgeOrigin, o.EdgeOrigin)
	s[line] = lab.Conditions{Distance: o.EdgeOrigin, Rate: o.Rate, Loss: loss}
	return s
}

// line is the way that is measured.
var line = lab.Between(lab.Edge, lab.Origin)

// Measure makes a lab with a network in it, measures, and ends all that again. Its error is a [lab.ErrUnavailable] where
// a lab cannot be made.
func Measure(ctx context.Context, o Options) (r *Result, err error) {
	m := &measurer{o: o}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	r = &Result{Options: o}
	if r.Congestion, err = m.lab.At(lab.Origin).Congestion(); err != nil {
		return nil, err
	}
	m.step("%d requests of strangers", o.Requests)
	if r.Strangers, err = m.strangers(ctx); err != nil {
		return nil, err
	}
	// The two take turns: a machine that is busy for a while hits both.
	for i := range o.Samples {
		m.step("TCP alone, %d of %d", i+1, o.Samples)
		t, err := m.flow(ctx)
		if err != nil {
			return nil, err
		}
		r.Flow = append(r.Flow, t)
		m.step("one answer, %d of %d", i+1, o.Samples)
		if t, err = m.one(ctx); err != nil {
			return nil, err
		}
		r.One = append(r.One, t)
	}
	m.step("%d answers at once", o.Parallel)
	if r.Parallel, err = m.parallel(ctx); err != nil {
		return nil, err
	}
	m.step("%d answers at once with loss", o.Parallel)
	if err := m.lab.Set(line, o.segments(o.Loss)[line]); err != nil {
		return nil, err
	}
	if r.Lossy, err = m.parallel(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// A measurer is a lab with a network in it.
type measurer struct {
	o     Options
	lab   *lab.Lab
	net   *lab.Network
	tls   *tls.Config
	asked int // misses so far: each is for another address
}

func (m *measurer) step(format string, args ...any) {
	if m.o.Step != nil {
		m.o.Step(fmt.Sprintf(format, args...))
	}
}

// start makes the lab and starts what runs in it.
func (m *measurer) start(ctx context.Context) (err error) {
	if m.lab, err = lab.Start(lab.Options{Segments: m.o.segments(0), Seed: m.o.Seed}); err != nil {
		return err
	}
	m.step("start the network") // only now: what cannot be made needs one line only
	site := filepath.Join(m.o.Dir, "site")
	if err := writeSite(site, smallSize, m.o.Size); err != nil {
		return fmt.Errorf("far: write the site: %w", err)
	}
	m.net, err = m.lab.StartNetwork(ctx, lab.NetworkOptions{
		Program: m.o.Program, Dir: filepath.Join(m.o.Dir, "network"), Site: site, Connections: m.o.Connections,
	})
	if err != nil {
		return err
	}
	roots, err := m.net.Roots()
	if err != nil {
		return err
	}
	m.tls = &tls.Config{RootCAs: roots, ServerName: lab.Host}
	if err := m.warm(ctx); err != nil {
		return err
	}
	// Once over: the origin has read the file and knows its entity-tag, and the edge has grown to its size.
	_, err = m.client().Visit(ctx, visit.TLS13, m.fresh(m.o.Size))
	return err
}

// warm waits until the edge has all its connections.
func (m *measurer) warm(ctx context.Context) error {
	for {
		s, err := m.net.Status(ctx, lab.Edge)
		if err != nil {
			return err
		}
		if len(s.Origins) == 1 && s.Origins[0].Connections >= m.o.Connections {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("far: wait for the edge's connections: %w", context.Cause(ctx))
		}
	}
}

// client is a stranger at the client's place: one that the edge has never seen.
func (m *measurer) client() *visit.Client {
	at := m.lab.At(lab.Client)
	return &visit.Client{
		Dial:      at.DialContext,
		ListenUDP: func() (net.PacketConn, error) { return at.ListenUDP(0) },
		To:        netip.AddrPortFrom(lab.Edge.Addr(), 443),
		TLS:       m.tls,
	}
}

// fresh is the target of an object of a size under a query that nobody has asked for.
func (m *measurer) fresh(size deploy.Size) string {
	m.asked++
	return fmt.Sprintf("%s?%d", path(size), m.asked)
}

// close ends all that was started.
func (m *measurer) close() error {
	var all []error
	if m.net != nil {
		all = append(all, m.net.Close())
	}
	if m.lab != nil {
		all = append(all, m.lab.Close())
	}
	return errors.Join(all...)
}

// path is where an object is.
func path(size deploy.Size) string { return "/" + size.String() + ".bin" }

// writeSite makes the folder to serve, with random content: nothing compresses it.
func writeSite(dir string, sizes ...deploy.Size) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, size := range sizes {
		content := make([]byte, size)
		rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32d", int64(size))))).Read(content)
		if err := os.WriteFile(filepath.Join(dir, path(size)), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
