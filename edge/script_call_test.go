package edge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A call is one request under way.
type call struct {
	id      string
	cancel  context.CancelFunc
	content *io.PipeWriter // where the script writes the content itself
	taken   *countingBody

	ready chan struct{} // closed when resp or err is there
	resp  *http.Response
	err   error

	mu       sync.Mutex
	interims []interim
	body     []byte // read so far; owned by the script's goroutine
}

type interim struct {
	status int
	header http.Header
}

// begin sends the request that a line describes.
func (c *client) begin(s *step, words []token, id string) (*call, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cl := &call{id: id, cancel: cancel, ready: make(chan struct{})}
	r, err := c.request(ctx, cl, words)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%s: %w", s.text, err)
	}
	name, _ := option(words, "sni")
	go func() {
		defer close(cl.ready)
		if has(words, "early") {
			cl.resp, cl.err = c.sendEarly(r, func() bool { return c.journal.of(id) != nil })
			return
		}
		cl.resp, cl.err = c.tripper(r.URL.Scheme, name).RoundTrip(r)
	}()
	return cl, nil
}

// Packets of early data may get lost: the edge may have no keys for them yet, and a client
// repeats them only after the handshake. So a flight without effect is given up, and flown
// again on another connection.
const (
	flights = 5
	flight  = 2 * time.Second
)

// sendEarly sends r as 0-RTT data. handled tells whether the edge has seen it.
func (c *client) sendEarly(r *http.Request, handled func() bool) (resp *http.Response, err error) {
	for range flights {
		rl, err := c.early(r.Context(), handled)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(r.Context())
		lost := time.AfterFunc(flight, func() {
			if !handled() {
				cancel()
			}
		})
		resp, err = c.tripper(r.URL.Scheme, "").RoundTrip(r.WithContext(ctx))
		lost.Stop()
		rl.release()
		if err == nil || handled() {
			return resp, err
		}
	}
	return nil, errors.New("no flight of early data arrived")
}

// request makes the http.Request of "METHOD path-or-url Field: value body=...".
func (c *client) request(ctx context.Context, cl *call, words []token) (*http.Request, error) {
	if len(words) < 2 {
		return nil, errors.New("a request is METHOD PATH")
	}
	target := words[1].text
	if strings.HasPrefix(target, "/") || target == "*" {
		target = "https://" + defaultHost + target
	}
	scheme, rest, _ := strings.Cut(target, "://")
	host, path := rest, "*"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	host = strings.TrimSuffix(host, "*")
	r := &http.Request{
		Method: strings.ToUpper(words[0].text), Host: host, Header: headerOf(words),
		URL: &url.URL{Scheme: scheme, Host: host, Opaque: path}, // byte for byte
	}
	if strings.HasPrefix(path, "//") { // which Opaque would take for an authority
		r.URL = &url.URL{Scheme: scheme, Host: host, Path: path}
	}
	if many, ok := option(words, "many"); ok {
		n, err := strconv.Atoi(many)
		if err != nil {
			return nil, err
		}
		for i := range n {
			r.Header.Set("X-Many-"+strconv.Itoa(i), "x")
		}
	}
	if has(words, "early") {
		r.Method += "_0RTT"
	}
	if _, ok := r.Header["Referer"]; !ok {
		r.Header.Set("Referer", cl.id)
	}
	if h := r.Header.Get("Host"); h != "" {
		r.Host = h
		delete(r.Header, "Host")
	}
	cl.content, cl.taken = nil, nil
	if has(words, "endless") {
		cl.taken = &countingBody{Reader: endless{}}
		r.Body, r.ContentLength = cl.taken, -1
	}
	if body, ok := option(words, "body"); ok {
		var from io.Reader = strings.NewReader(body)
		if body == "-" {
			from, cl.content = pipe()
			r.ContentLength = -1
		} else if !has(words, "chunked") {
			r.ContentLength = int64(len(body))
		} else {
			r.ContentLength = -1
		}
		cl.taken = &countingBody{Reader: from}
		r.Body = cl.taken
	}
	if t, ok := option(words, "trailer"); ok {
		f := tokens("'" + t + "'")[0]
		r.Trailer = http.Header{canonical(f.name): {f.value}}
	}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		cl.mu.Lock()
		defer cl.mu.Unlock()
		cl.interims = append(cl.interims, interim{status, http.Header(h).Clone()})
		return nil
	}}
	return r.WithContext(httptrace.WithClientTrace(ctx, trace)), nil
}

// endless is content that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func pipe() (io.Reader, *io.PipeWriter) { return io.Pipe() }

// A countingBody tells how much of a request's content the transport took.
type countingBody struct {
	io.Reader
	mu sync.Mutex
	n  int
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.mu.Lock()
	b.n += n
	b.mu.Unlock()
	return n, err
}

func (b *countingBody) Close() error {
	if c, ok := b.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (b *countingBody) sent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// An answer is what came back.
type answer struct {
	interims []interim
	status   int // 0: none came
	header   http.Header
	body     []byte
	trailer  http.Header
	sent     int   // bytes of the request's content that were taken
	err      error // no response, or its content broke off
}

// abandon gives the request up. A transport that waits for content must be freed first.
func (cl *call) abandon() {
	if cl.content != nil {
		cl.content.CloseWithError(context.Canceled)
	}
	cl.cancel()
	if <-cl.ready; cl.err == nil {
		cl.resp.Body.Close()
	}
}

// read waits for the field section and n bytes of content.
func (cl *call) read(n int) error {
	<-cl.ready
	if cl.err != nil {
		return fmt.Errorf("no response: %w", cl.err)
	}
	buf := make([]byte, n)
	got, err := io.ReadFull(cl.resp.Body, buf)
	cl.body = append(cl.body, buf[:got]...)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", got, n, err)
	}
	return nil
}

// finish reads to the end.
func (cl *call) finish() *answer {
	defer cl.cancel()
	<-cl.ready
	a := &answer{err: cl.err}
	if cl.err == nil {
		rest, err := io.ReadAll(cl.resp.Body)
		cl.resp.Body.Close()
		a.err = err
		a.status, a.header, a.trailer = cl.resp.StatusCode, cl.resp.Header, cl.resp.Trailer
		a.body = append(cl.body, rest...)
	}
	if cl.content != nil { // which the script may not have ended
		cl.content.CloseWithError(context.Canceled)
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	a.interims = cl.interims
	if cl.taken != nil {
		a.sent = cl.taken.sent()
	}
	return a
}
