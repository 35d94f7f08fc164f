package ops

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// pageConnections is the largest number of connections to a page at a time: some
// scrapers and health checks, not the world.
const pageConnections = 64

// A Page is the read-only HTTP listener of a node: /metrics, /live and /ready. It takes
// GET and HEAD and changes nothing.
type Page struct {
	server *server
}

// Health is the document of /live and /ready.
type Health struct {
	Node   string `json:"node"`
	State  State  `json:"state"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why it is not ready
}

// pageHandler is what a page serves.
func pageHandler(node string, life *Life, m *Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, r *http.Request) {
		h := health(node, life)
		status := http.StatusOK
		if h.State == Down {
			status = http.StatusServiceUnavailable
		}
		writeDocument(w, status, "live", h)
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		h := health(node, life)
		status := http.StatusOK
		if !h.Ready {
			status = http.StatusServiceUnavailable
		}
		writeDocument(w, status, "ready", h)
	})
	return mux
}

func health(node string, life *Life) Health {
	h := Health{Node: node, State: life.State(), Reason: life.Reason()}
	h.Ready = h.State == Ready
	switch {
	case h.Ready:
		h.Reason = ""
	case h.Reason == "":
		h.Reason = h.State.String()
	}
	return h
}

// OpenPage serves a page on a TCP address ("127.0.0.1:9180"; port 0 picks one) until
// Close.
func OpenPage(addr, node string, life *Life, m *Metrics) (*Page, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("ops: open the metrics page of %s: %w", node, err)
	}
	s := &http.Server{
		Handler:           pageHandler(node, life, m),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // a page of 1 MB over a slow link
		IdleTimeout:       2 * time.Minute,  // above a scrape's usual minute
		MaxHeaderBytes:    16 << 10,
	}
	return &Page{server: serve(s, netutil.LimitListener(l, pageConnections))}, nil
}

// Addr is the address it listens on.
func (p *Page) Addr() net.Addr { return p.server.listener.Addr() }

// Close ends the page; requests under way have until ctx ends.
func (p *Page) Close(ctx context.Context) error { return p.server.close(ctx) }
