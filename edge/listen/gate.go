package listen

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
)

// A gate stands between an HTTP/1.1 connection (inside TLS) and net/http. It lets a [scanner] look
// at what comes in, and at what goes out it sees which requests net/http answered by itself, so that they are counted.
//
// Read is called by one goroutine at a time, as net/http does; the rest may be called concurrently.
type gate struct {
	net.Conn
	own   *conn // the TCP connection below
	hooks *Hooks
	scan  scanner
	// poison is what net/http reads in place of a refused line. It has no colon, no blanks
	// and a NUL, so wherever in a header it comes net/http answers 400 and closes, after the
	// answers to requests before it: writing a 400 here could cut into one of these.
	poison  []byte
	refused bool
	slow    bool // the header was too slow; counted once
	// served says that the handler has been called for the request which net/http read last.
	served atomic.Bool
	// hijacked says that the connection is the handler's now.
	hijacked atomic.Bool
}

// tlsGate is a gate over TLS. net/http puts its ConnectionState into each request.
type tlsGate struct {
	*gate
	conn *tls.Conn
}

func (g tlsGate) ConnectionState() tls.ConnectionState { return g.conn.ConnectionState() }

// gateOf returns the gate which net/http knows as c.
func gateOf(c net.Conn) *gate {
	switch c := c.(type) {
	case tlsGate:
		return c.gate
	case *gate:
		return c
	}
	return nil
}

func (g *gate) Read(p []byte) (int, error) {
	if g.refused {
		return g.readPoison(p)
	}
	n, err := g.Conn.Read(p)
	if n > 0 {
		// Before net/http says StateActive: that is when it has the whole header.
		g.own.waits.Store(false)
	}
	ok := g.scan.scan(p[:n])
	if ok < n {
		g.refused, g.poison = true, []byte("\x00\r\n\r\n")
		if ok == 0 {
			return g.readPoison(p)
		}
		return ok, nil
	}
	if ne, isNet := err.(net.Error); isNet && ne.Timeout() && !g.slow && !g.served.Load() && g.scan.inHeader() {
		g.slow = true
		g.hooks.rejected(ReasonSlowHeader)
	}
	return n, err
}

func (g *gate) readPoison(p []byte) (int, error) {
	if len(g.poison) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(p, g.poison)
	g.poison = g.poison[n:]
	return n, nil
}

func (g *gate) Write(p []byte) (int, error) {
	if !g.served.Load() {
		g.countAnswer(p)
	}
	return g.Conn.Write(p)
}

// CloseWrite ends our direction, as net/http does before it closes on a client that still sends.
func (g *gate) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// countAnswer counts an answer which net/http gave before any handler was called.
func (g *gate) countAnswer(p []byte) {
	status, ok := bytes.CutPrefix(p, []byte("HTTP/1.1 "))
	if !ok || len(status) < 3 {
		return
	}
	switch string(status[:3]) {
	case "431":
		g.hooks.rejected(ReasonBytes)
	case "501":
		g.hooks.rejected(ReasonCoding)
	default:
		if g.refused {
			g.hooks.rejected(ReasonFraming)
		} else {
			g.hooks.rejected(ReasonBadRequest)
		}
	}
}

// state follows the connection through net/http.
func (g *gate) state(s http.ConnState) {
	switch s {
	case http.StateNew:
		g.own.waits.Store(true)
	case http.StateIdle:
		g.served.Store(false)
		g.own.waits.Store(true)
	case http.StateHijacked:
		// What follows is not HTTP. net/http has stopped its own reading by now.
		g.scan.at = atRest
		g.hijacked.Store(true)
	}
}
