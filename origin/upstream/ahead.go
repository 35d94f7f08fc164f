package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"hither/origin/balance"
	"hither/origin/pool"
)

// An instance that is killed between the header of an answer and its content costs a request that could be sent again, if
// only the header was not handed on yet. So a small answer is read first, where it comes together with its header: what
// takes longer than a moment is handed on as it comes, so that no first byte is late by more than that.
const (
	small  = 16 << 10
	moment = 50 * time.Millisecond
)

// ahead is a content that is read before somebody asks for it.
type ahead struct {
	rc  io.ReadCloser
	a   *attempt
	end chan struct{} // closed when all is read, or it broke off

	mu   sync.Mutex
	more sync.Cond
	buf  []byte // what came
	off  int    // what of it was given
	err  error  // io.EOF = that is all
}

// readAhead reads the content of a small answer to a request that may be sent again. When it broke off, the attempt failed.
func (a *attempt) readAhead() {
	res := a.res
	if res.ContentLength <= 0 || res.ContentLength > small || res.StatusCode < 200 || a.x.up != nil ||
		a.x.req.Method == http.MethodHead || !idempotent(a.x.req.Method) ||
		res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified || a.verdict == balance.Bad {
		return
	}
	h := &ahead{rc: res.Body, a: a, end: make(chan struct{}), buf: make([]byte, 0, res.ContentLength+1)}
	h.more.L = &h.mu
	a.x.u.work.Go(h.run)
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-h.end:
	case <-timer.C:
		res.Body = h
		return
	}
	if h.err == io.EOF {
		a.whole = int64(len(h.buf))
		h.rc.Close()
		res.Body = whole{bytes.NewReader(h.buf)}
		return
	}
	if int64(len(h.buf)) == res.ContentLength && errorReason(h.err) == lost {
		res.Body = h // all that was promised is here: what broke off is the word that it ends, which the reader may do without
		return
	}
	h.rc.Close()
	a.res, a.err = nil, h.err
}

// run reads to the end. Close ends it.
func (h *ahead) run() {
	defer close(h.end)
	for room := h.buf[:cap(h.buf)]; ; {
		n, err := h.rc.Read(room[len(h.buf):])
		h.mu.Lock()
		h.buf = room[:len(h.buf)+n]
		if h.err = err; err == nil && len(h.buf) == cap(h.buf) {
			h.err = h.long()
		}
		err = h.err
		h.more.Broadcast()
		h.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// long is the error of a content that is longer than it said.
func (h *ahead) long() error {
	return &pool.Error{
		Kind: pool.KindLong, Whose: pool.Origin, Op: "read body", From: h.a.x.u.cfg.Node, To: h.a.x.u.cfg.Origin,
		Cause: errors.New("content goes on after its Content-Length"),
	}
}

func (h *ahead) Read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.off == len(h.buf) && h.err == nil {
		h.more.Wait()
	}
	n := copy(p, h.buf[h.off:])
	if h.off += n; n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, h.err
}

// Close ends what is still being read: the content's Close ends its Read.
func (h *ahead) Close() error { return h.rc.Close() }

// whole is a content that is all here.
type whole struct{ *bytes.Reader }

func (whole) Close() error { return nil }
