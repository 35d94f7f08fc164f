package edge_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"hither/deploy/fleet"
)

// An origin stands where the gateway stands: HTTP/2 over mutual TLS. It answers what the
// script declared and keeps what it was asked.
type origin struct {
	clock   *clock
	bell    *bell
	auth    *authority
	conf    *tls.Config
	lies    bool    // frames are written by hand; see liar
	plain   bool    // it speaks without TLS, to a gateway
	manners []token // a liar's, from the first byte of a connection on

	mu      sync.Mutex
	replies map[string]*sequence // by method and path
	asked   []*asked
	claimed int // of asked, those that the script has looked at
	addr    string
	ln      net.Listener
	server  *http.Server
	conns   map[net.Conn]struct{} // a liar's
	work    sync.WaitGroup
}

// A sequence is the replies to one method and path, in order; the last repeats.
type sequence struct {
	replies []*reply
	next    int
}

// A reply is one declared response.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	trailer  http.Header
	interims []token // "103 Name: value"
	chunked  bool    // say no length
	sends    int     // bytes to send before the gate; -1 = the gate stands before the field section
	gated    bool
	gate     chan struct{} // open: closed by release
	resets   int           // reset the stream after so many bytes; -1 = never
	unread   bool          // answer before the request's content was read
	ranges   int64         // the body is so many bytes of the pattern, of which parts can be asked for; 0 = not so
	frames   []token       // of a lie
}

func newOrigin(a *authority, c *clock, b *bell) *origin {
	o := &origin{clock: c, bell: b, auth: a, replies: make(map[string]*sequence), conns: make(map[net.Conn]struct{}), conf: a.origin.ServerTLS(fleet.RoleEdge)}
	o.conf.NextProtos = []string{"h2"}
	return o
}

// up listens: on a free port of host the first time, on the same port again later.
func (o *origin) up(host string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.addr == "" {
		o.addr = net.JoinHostPort(host, "0")
	}
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	o.addr, o.ln = ln.Addr().String(), ln
	if o.lies {
		o.work.Go(func() { o.lie(ln) })
		return nil
	}
	server := &http.Server{Handler: o, TLSConfig: o.conf.Clone(), ErrorLog: nil}
	server.ErrorLog = silent
	o.server = server
	if o.plain {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		o.work.Go(func() { server.Serve(ln) })
		return nil
	}
	o.work.Go(func() { server.ServeTLS(ln, "", "") })
	return nil
}

// down closes the listener and every connection at once.
func (o *origin) down() {
	o.release()
	o.mu.Lock()
	if o.server != nil {
		o.server.Close()
	}
	if o.ln != nil {
		o.ln.Close()
	}
	for c := range o.conns {
		c.Close()
	}
	o.mu.Unlock()
	o.work.Wait()
}

// declare adds the reply of an origin or lie line.
func (o *origin) declare(s *step) error {
	method, path := s.arg(1), s.arg(2)
	r := &reply{header: make(http.Header), resets: -1, gate: make(chan struct{})}
	if s.verb() == "lie" {
		r.frames = s.words[3:]
		o.add(method, path, r)
		return checkLie(r.frames)
	}
	var err error
	if r.status, err = strconv.Atoi(s.arg(3)); err != nil {
		return fmt.Errorf("origin: status: %w", err)
	}
	r.header = headerOf(s.words)
	r.chunked, r.unread = has(s.words, "chunked"), has(s.words, "unread")
	for _, w := range s.words {
		key, value, _ := strings.Cut(w.text, "=")
		switch key {
		case "body":
			r.body = []byte(value)
		case "size":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return err
			}
			if r.ranges = n; !has(s.words, "ranges") {
				r.ranges, r.body = 0, pattern(int(n))
			}
		case "trailer":
			t := tokens("'" + value + "'")
			if r.trailer == nil {
				r.trailer = make(http.Header)
			}
			r.trailer.Add(t[0].name, t[0].value)
		case "interim":
			status, field, _ := strings.Cut(value, " ")
			name, v, _ := strings.Cut(field, ": ")
			r.interims = append(r.interims, token{text: status, name: name, value: v})
		case "hold":
			r.gated, r.sends = true, -1
			if value != "" {
				if r.sends, err = strconv.Atoi(value); err != nil {
					return err
				}
			}
		case "reset":
			r.resets, _ = strconv.Atoi(value)
		}
	}
	o.add(method, path, r)
	return nil
}

func (o *origin) add(method, path string, r *reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.replies[method+" "+path]
	if q == nil {
		q = &sequence{}
		o.replies[method+" "+path] = q
	}
	q.replies = append(q.replies, r)
}

// pattern is n bytes in which every offset looks different from its neighbours.
func pattern(n int) []byte { return patternAt(0, n) }

// ServeHTTP answers as declared.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &asked{method: r.Method, target: r.RequestURI, host: r.Host, header: r.Header.Clone()}
	reply := o.saw(a)
	if reply == nil {
		a.finish(nil, false)
		http.Error(w, "the script declares nothing for this", http.StatusNotFound)
		return
	}
	if !reply.unread {
		o.readBody(a, r)
	} else {
		http.NewResponseController(w).EnableFullDuplex() // with HTTP/1.1 net/http would read 256 KiB of it first
	}
	reply.write(w, r, o.clock.now())
	if reply.unread {
		a.finish(nil, false)
	}
}

// saw keeps the request and finds its reply.
func (o *origin) saw(a *asked) *reply {
	defer o.bell.ring()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, a)
	q := o.replies[a.method+" "+a.target]
	if q == nil && a.method == http.MethodHead {
		q = o.replies["GET "+a.target]
	}
	if q == nil {
		return nil
	}
	reply := q.replies[q.next]
	if q.next < len(q.replies)-1 {
		q.next++
	}
	return reply
}

// readBody takes the content piece by piece, so that a script can see how far it came.
func (o *origin) readBody(a *asked, r *http.Request) {
	defer o.bell.ring()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		a.mu.Lock()
		a.body = append(a.body, buf[:n]...)
		a.mu.Unlock()
		o.bell.ring()
		if err != nil {
			a.finish(r.Trailer, !errors.Is(err, io.EOF))
			return
		}
	}
}

func (a *asked) finish(trailer http.Header, broken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trailer, a.done, a.broken = trailer, true, broken
}

// write sends the reply. A reset is the panic by which net/http resets a stream.
func (rp *reply) write(w http.ResponseWriter, r *http.Request, now time.Time) {
	h := w.Header()
	for _, in := range rp.interims {
		status, _ := strconv.Atoi(in.text)
		h.Set(in.name, in.value)
		w.WriteHeader(status)
		h.Del(in.name)
	}
	if rp.sends < 0 && !rp.wait(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	if rp.ranges > 0 {
		rp.writeRange(w, r, now)
		return
	}
	h["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	for name, values := range rp.header {
		h[name] = values
	}
	hasBody := rp.status != http.StatusNoContent && rp.status != http.StatusNotModified
	if hasBody && !rp.chunked && rp.trailer == nil && rp.header["Content-Length"] == nil {
		h.Set("Content-Length", strconv.Itoa(len(rp.body)))
	}
	if rp.resets == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(rp.status)
	rc := http.NewResponseController(w)
	rest := rp.body
	if rp.resets > 0 {
		rest = rest[:rp.resets]
	}
	if rp.gated && rp.sends >= 0 {
		first := min(rp.sends, len(rest))
		w.Write(rest[:first])
		rc.Flush()
		rest = rest[first:]
		if !rp.wait(r.Context()) {
			panic(http.ErrAbortHandler)
		}
	}
	if rp.chunked || rp.trailer != nil { // no length: HTTP/1.1 has trailers only in chunks
		rc.Flush()
	}
	if hasBody {
		w.Write(rest)
	}
	if rp.resets > 0 {
		rc.Flush()
		panic(http.ErrAbortHandler)
	}
	for name, values := range rp.trailer {
		h[http.TrailerPrefix+name] = values
	}
}

// wait stands at the gate until the script opens it or the edge has given up.
func (rp *reply) wait(ctx context.Context) bool {
	select {
	case <-rp.gate:
		return true
	case <-ctx.Done():
		return false
	}
}

// release opens the gates of all replies declared so far, for good.
func (o *origin) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, q := range o.replies {
		for _, r := range q.replies {
			select {
			case <-r.gate:
			default:
				close(r.gate)
			}
		}
	}
}
