package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
)

// settleContent makes a GET or HEAD say whether it has content. A field section of HTTP/3
// does not tell (RFC 9114 section 4.1), so quic-go gives every request without a
// Content-Length an unknown one. The end of a request without content comes right behind
// its field section; a client that lets it wait waits itself.
func settleContent(r *http.Request) {
	if r.ProtoMajor < 3 || r.ContentLength >= 0 || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return
	}
	var first [1]byte
	n, err := io.ReadFull(r.Body, first[:])
	if err == io.EOF {
		r.Body, r.ContentLength = http.NoBody, 0
		return
	}
	r.Body = &peekedBody{ReadCloser: r.Body, first: first[:n], err: err}
}

// peekedBody gives back what was read ahead of a request's content.
type peekedBody struct {
	io.ReadCloser
	first []byte
	err   error // instead of first
}

func (b *peekedBody) Read(p []byte) (int, error) {
	if b.err != nil || len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, b.err
	}
	return b.ReadCloser.Read(p)
}

// content is a request's content as it is read: it counts the bytes, and remembers what is
// wrong with them. The transport reads it in a goroutine of its own.
type content struct {
	io.ReadCloser            // nil where there is none
	length        int64      // -1 = unknown
	reading       sync.Mutex // held by a Read
	n             atomic.Int64
	begun         atomic.Bool             // it was read, so a client that waits for a 100 has it
	ended         atomic.Bool             // it was read to its end
	spoiled       atomic.Pointer[refusal] // what is wrong with it; nil = nothing
}

func (c *content) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.begun.Store(true)
	n, err := c.ReadCloser.Read(p)
	if c.n.Add(int64(n)) == c.length || err == io.EOF {
		c.ended.Store(true)
	}
	switch {
	case err == nil || err == io.EOF:
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.spoiled.Store(errSilent)
	default:
		c.spoiled.Store(errContent)
	}
	return n, err
}

// wrong returns what is wrong with the content, or nil. On HTTP/1.1 a read that fails ends
// the request's context before it returns: it is waited for.
func (c *content) wrong(r *http.Request) *refusal {
	if r.ProtoMajor == 1 && r.Context().Err() != nil {
		c.reading.Lock()
		defer c.reading.Unlock()
	}
	return c.spoiled.Load()
}

// silent reports whether nothing of the content has come yet, so that the client may be
// waiting for a 100. net/http's HTTP/2 does not show the Expect, and sends its 100 when the
// content is first read, but not any more after another interim response.
func (c *content) silent() bool {
	return c.ReadCloser != nil && c.n.Load() == 0 && !c.ended.Load()
}

// answeredEarly reports whether an HTTP/1.1 request's content has not been read to its end
// when the answer begins. What follows it on the connection is not to be found any more:
// least of all where the client waits for a 100, for then nobody knows whether it will
// send the content at all. So the connection ends with the answer (RFC 9112 section 9.3).
func (x *Exchange) answeredEarly() bool {
	return x.r.ProtoMajor == 1 && x.content.ReadCloser != nil && !x.content.ended.Load()
}

// upload is a request's content on its way to the origin.
type upload struct {
	in       *interims
	trailer  http.Header // the outgoing request's, read by its transport after the content's end
	expected bool        // the client waits for a 100
	closed   atomic.Bool
}

// Read sends the 100 before the content is first read. net/http does so by itself on
// HTTP/1.1, but in the reader's goroutine, where an interim response could be under way in
// another: both write to the connection. (On HTTP/2 it does so unseen, and the Expect does
// not reach us; on HTTP/3 nobody does.) Once the final response is here nothing is read
// that has not begun: it would call for content that the origin does not want.
func (u *upload) Read(p []byte) (int, error) {
	x := u.in.x
	if u.closed.Load() || u.expected && !u.call() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := x.r.Body.Read(p)
	if err == io.EOF {
		// Those that were announced. net/http fills the map that the request came with,
		// quic-go replaces it.
		for name := range u.trailer {
			u.trailer[name] = x.r.Trailer[name]
		}
	}
	return n, err
}

// call asks the client for its content, once; ok is false where it is too late for that.
func (u *upload) call() (ok bool) {
	x := u.in.x
	if x.content.begun.Load() {
		return true
	}
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	if !u.in.done {
		x.content.begun.Store(true)
		x.w.WriteHeader(http.StatusContinue)
	}
	return !u.in.done
}

// Close leaves the content to the server, which ends it with the request. On HTTP/1.1 a
// Close reads what is left, and would wait for a client that waits for the answer.
func (u *upload) Close() error {
	u.closed.Store(true)
	return nil
}
