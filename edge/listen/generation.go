package listen

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A generation is one HTTP/2 and one HTTP/3 server. The servers of both libraries take no connection any more once they have said
// GOAWAY; a draining front has still to take some. So it lets one generation go and starts another.
type generation struct {
	h2 *site
	h3 *http3.Server

	mu   sync.Mutex
	gone bool
	// entering counts connections on their way into h3. Its Shutdown must not pass between
	// the moment when h3 takes a connection and the one when it counts it: the connection would be lost,
	// or the count fall to zero twice, which panics.
	entering sync.WaitGroup
	waiting  map[*quic.Conn]struct{}
}

func (f *Front) newGeneration() *generation {
	g := &generation{waiting: make(map[*quic.Conn]struct{})}
	var p http.Protocols
	p.SetHTTP2(true)
	s := f.server(f.cfg.Handler)
	s.Protocols = &p
	s.HTTP2 = http2Config(f.limits, f.hooks)
	g.h2 = newSite(s)
	g.h3 = f.h3Server(g.entered)
	return g
}

func (g *generation) start(wg *sync.WaitGroup) { g.h2.start(wg) }

// enter takes conn, unless the generation has been told to go.
func (g *generation) enter(conn *quic.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return false
	}
	g.entering.Add(1)
	g.waiting[conn] = struct{}{}
	return true
}

// entered is called when h3 has counted conn, or has returned.
func (g *generation) entered(conn *quic.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.waiting[conn]; ok {
		delete(g.waiting, conn)
		g.entering.Done()
	}
}

// shutdown says GOAWAY on every connection and waits until all are gone or ctx is done. What
// is left then on HTTP/3 is closed; HTTP/2 is left to [Front.Close].
func (g *generation) shutdown(ctx context.Context) {
	g.mu.Lock()
	g.gone = true
	g.mu.Unlock()
	g.h2.Close()
	g.entering.Wait()
	var both sync.WaitGroup
	both.Go(func() { g.h2.Shutdown(ctx) })
	both.Go(func() { g.h3.Shutdown(ctx) })
	both.Wait()
}

// giveH2 hands c to the HTTP/2 server of the day.
func (f *Front) giveH2(c *tls.Conn) {
	for {
		f.mu.Lock()
		g := f.current
		f.mu.Unlock()
		select {
		case g.h2.queue <- c:
			return
		case <-g.h2.done:
			if !f.succeeded(g) {
				c.Close()
				return
			}
		}
	}
}

// giveH3 serves conn until it ends.
func (f *Front) giveH3(conn *quic.Conn) {
	for {
		f.mu.Lock()
		g := f.current
		f.mu.Unlock()
		if g.enter(conn) {
			g.h3.ServeQUICConn(conn)
			g.entered(conn)
			return
		}
		if !f.succeeded(g) {
			refuseLate(conn)
			return
		}
	}
}

// succeeded reports whether there is a generation after g.
func (f *Front) succeeded(g *generation) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current != g
}
