package contest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"hither/bench/load"
	"hither/bench/peers"
	"hither/bench/upstream"
)

// Keys is how many objects of a size are asked for. Of the largest, so many as fit into caches of half a gigabyte beside the others.
func Keys(s upstream.Size) int {
	if s.Bytes > 1<<16 {
		return 100
	}
	return 10_000
}

// Zipf is the exponent of their popularity: that of the web's objects is about 1.
const Zipf = 1.0

// sequence is how many requests there are before the order begins anew.
const sequence = 1 << 16

// Clients load servers. One load at a time.
type Clients struct {
	Wrk    load.Wrk
	H2load load.H2load
	Core   int    // they run on
	Folder string // for files that they read and write
	Roots  *x509.CertPool

	MaxKeys int // of each size; 0 = as many as [Keys] says
}

func (c *Clients) keys(s upstream.Size) int {
	if c.MaxKeys > 0 {
		return min(c.MaxKeys, Keys(s))
	}
	return Keys(s)
}

// Prepare writes the files that clients read.
func (c *Clients) Prepare() error {
	for _, s := range upstream.Sizes() {
		order := load.Sequence(sequence, c.keys(s), Zipf, 1)
		for _, store := range []bool{true, false} {
			paths, urls := make([]string, len(order)), make([]string, len(order))
			for i, n := range order {
				paths[i] = s.Path(n, store)
				urls[i] = "https://" + peers.WebAuthority + paths[i]
			}
			if err := load.WriteLines(c.file("paths", s, store), paths); err != nil {
				return err
			}
			if err := load.WriteLines(c.file("urls", s, store), urls); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Clients) file(what string, s upstream.Size, store bool) string {
	return filepath.Join(c.Folder, fmt.Sprintf("%s-%s-%t", what, s.Name, store))
}

// tlsConfig is what our own client offers: one curve, which all servers have.
func (c *Clients) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: c.Roots, ServerName: peers.WebName, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
}

// load has the case's client load a server.
func (c *Clients) load(ctx context.Context, s *peers.WebServer, one Case, d time.Duration, nonce int) (load.WebRun, error) {
	unique := ""
	if one.Kind == Miss {
		unique = "r" + strconv.Itoa(nonce)
	}
	switch one.Client {
	case wrkName:
		return c.Wrk.Load(ctx, load.WrkLoad{
			To: s.Addr, Authority: peers.WebAuthority, File: c.file("paths", one.Size, one.Kind != PassedOn), Unique: unique,
			Connections: one.Connections, For: d, Core: c.Core, Folder: c.Folder,
		})
	case h2loadName:
		return c.H2load.Load(ctx, load.H2loadLoad{
			To: s.Addr, File: c.file("urls", one.Size, one.Kind != PassedOn), Connections: one.Connections, Streams: one.Streams,
			For: d, Core: c.Core, Folder: c.Folder,
		})
	}
	l := c.own(s, one, d, unique)
	run, err := l.Load(ctx)
	if err != nil {
		return load.WebRun{}, err
	}
	// Bytes are those that came in time, of all its answers as many as of these.
	web := load.WebRun{
		Client: one.Client, Answered: run.Answered, Failed: run.Failed(), Elapsed: run.Elapsed, CPU: run.CPU,
		Bytes: run.Bytes / max(run.InTime, 1) * run.Answered,
		P50:   quantile(run, 50), P99: quantile(run, 99), P999: quantile(run, 99.9),
	}
	if run.InTime == 0 {
		web.Answered = 0 // none by which to tell
	}
	if run.First != nil {
		return web, fmt.Errorf("%d of %d requests failed, the first so: %w", web.Failed, run.Requests, run.First)
	}
	return web, handshakes(one, run)
}

// fastest is more than any server here answers to our own client in a second.
const fastest = 30_000

// own is the load of our own client.
func (c *Clients) own(s *peers.WebServer, one Case, d time.Duration, unique string) load.HTTPLoad {
	l := load.HTTPLoad{
		Protocol: one.Protocol, To: s.Addr, TLS: c.tlsConfig(), Connections: one.Connections, Streams: one.Streams, For: d, Seed: 1,
		NewConnections: one.Kind == Full || one.Kind == Resumed, Resume: one.Kind == Resumed,
	}
	path := func(n int, query string) *url.URL {
		return &url.URL{Scheme: "https", Host: peers.WebAuthority, Path: one.Size.Path(n, one.Kind != PassedOn), RawQuery: query}
	}
	if one.Kind == Miss {
		for i := range int(d.Seconds()+1) * fastest {
			l.URLs = append(l.URLs, path(i%c.keys(one.Size), "u="+unique+"-"+strconv.Itoa(i)))
		}
		return l
	}
	l.Zipf = Zipf
	for n := range c.keys(one.Size) {
		l.URLs = append(l.URLs, path(n, ""))
	}
	return l
}

func quantile(run *load.HTTPRun, q float64) time.Duration {
	return time.Duration(run.Service.ValueAtQuantile(q))
}

// handshakes holds a run to the handshakes that its case says. Of resumed ones, the first over each connection has
// nothing to resume yet, and one of a hundred of the others may find its ticket used up.
func handshakes(one Case, run *load.HTTPRun) error {
	switch {
	case (one.Kind == Full || one.Kind == Resumed) && run.Opened < run.Answered:
		return fmt.Errorf("%d answers over %d new connections", run.Answered, run.Opened)
	case one.Kind == Full && run.Resumed > 0:
		return fmt.Errorf("%d of %d handshakes were not full", run.Resumed, run.Opened)
	case one.Kind == Resumed && (run.Resumed == 0 || run.Resumed < (run.Opened-int64(one.Connections))*99/100):
		return fmt.Errorf("%d of %d handshakes were full: it gives no tickets, or does not take them", run.Opened-run.Resumed, run.Opened)
	}
	return nil
}
