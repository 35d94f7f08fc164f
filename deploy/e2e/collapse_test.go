//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowds are the ten thousand clients: connections of each protocol, and how many
// clients share one. (An HTTP/2 or 3 connection carries 100 requests at once.)
var crowds = []struct {
	proto       string
	connections int
	each        int
}{
	{"h1", 500, 1},
	{"h2", 90, 100},
	{"h3", 5, 100},
}

// crowdTime bounds what ten thousand clients do: they share two cores with the edge
// which answers them.
const crowdTime = 3 * time.Minute

// TestCollapse has ten thousand clients ask for one object that is not stored. The
// application sends half of it, and the rest only when each client has read the
// beginning: so all of them are served from the one request, and none from the cache.
func TestCollapse(t *testing.T) {
	scenario(t, "collapse")
	const size, begin = 16 << 10, 1 << 10
	body := bytes.Repeat([]byte("cold\n"), size/5)
	clients := int64(0)
	for _, c := range crowds {
		clients += int64(c.connections * c.each)
	}
	a := newApp(t, "127.25")
	all := make(chan struct{})
	a.mux.HandleFunc("/cold", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Write(body[:len(body)/2])
		http.NewResponseController(w).Flush()
		select {
		case <-all:
			w.Write(body[len(body)/2:])
		case <-r.Context().Done():
		}
	})
	n := run(t, setup{net: "127.25", origin: a.url})
	// A client of net/http finds out that a connection carries many requests when it has
	// one: each asks for something else first.
	type conn struct {
		*visitor
		clients int
	}
	var conns []conn
	from := n.sources(100)
	for _, c := range crowds {
		for range c.connections {
			v := n.visitor(t, visit{proto: c.proto, pops: []string{"fra"}, from: from[len(conns)%len(from)]})
			conns = append(conns, conn{v, c.each})
		}
	}
	each(len(conns), 20, func(i int) {
		if got, err := conns[i].get(t.Context(), "/keep/first"); err != nil || got.status != http.StatusOK {
			t.Errorf("%s: the first request of a connection: status %d, %v", conns[i].proto, got.status, err)
		}
	})
	if t.Failed() {
		return
	}

	app := a.meter(t)
	origin := n.meter(t, "origin-us", "hither_origin_requests_total")
	answered := n.meter(t, "edge-fra", "hither_edge_requests_total", "code", "200")
	collapsed := n.meter(t, "edge-fra", "hither_cache_collapsed_total")

	ctx, cancel := context.WithTimeout(t.Context(), crowdTime)
	defer cancel()
	var begun atomic.Int64
	var lost ledger
	ask := func(v *visitor) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+"/cold", nil)
		if err != nil {
			return err
		}
		resp, err := v.http.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		got := make([]byte, begin)
		if _, err := io.ReadFull(resp.Body, got); err != nil {
			return fmt.Errorf("the beginning: %w", err)
		}
		if begun.Add(1) == clients {
			close(all)
		}
		rest, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("the rest: %w", err)
		}
		if resp.StatusCode != http.StatusOK || !bytes.Equal(append(got, rest...), body) {
			return fmt.Errorf("status %d with %d bytes that are not those of the application", resp.StatusCode, len(got)+len(rest))
		}
		return nil
	}
	var wg sync.WaitGroup
	for _, c := range conns {
		for range c.clients {
			wg.Go(func() {
				if err := ask(c.visitor); err != nil {
					lost.add("%s: %v", c.proto, err)
				}
			})
		}
	}
	wg.Wait()
	lost.report(t)
	if b := begun.Load(); b != clients {
		t.Errorf("%d of %d clients read the beginning", b, clients)
	}
	app.expect(t, 1)
	origin.expect(t, 1)
	answered.expect(t, clients)
	collapsed.expect(t, clients-1)
	for _, c := range conns {
		if d := c.dials.Load(); d != 1 {
			t.Errorf("a client of %s used %d connections", c.proto, d)
		}
	}
}
