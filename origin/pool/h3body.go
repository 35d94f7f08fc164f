package pool

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"
)

// h3Body is a response's body, which gives its stream back when it is closed.
type h3Body struct {
	io.ReadCloser
	s      *h3
	cancel context.CancelCauseFunc
	once   sync.Once
}

// Read does not return nothing without an error, as quic-go does when trailers have come, nor the end of the body where the
// stream ended in the middle of a frame.
func (b *h3Body) Read(p []byte) (int, error) {
	for {
		n, err := b.ReadCloser.Read(p)
		if err == io.EOF && midFrame(b.ReadCloser) {
			return n, io.ErrUnexpectedEOF
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// midFrame reports that a stream which has ended lacks bytes of its last DATA frame (RFC 9114 section 7.1: an error).
// quic-go takes it for the end of the body, and what was cut would be kept as whole where nothing says its length. It has the
// number in a field without a name for others; where that is not found the answer is no, and a test fails.
func midFrame(body io.ReadCloser) bool {
	v := reflect.ValueOf(body)
	for _, name := range []string{"body", "str", "bytesRemainingInFrame"} {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return false
		}
		v = v.FieldByName(name)
	}
	return v.CanUint() && v.Uint() > 0
}

func (b *h3Body) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() {
		b.cancel(nil) // what is left of the upload
		b.s.Release()
	})
	return err
}

// gate is a request's body that waits for 100 (Continue), which quic-go does not (RFC 9110 section 10.1.1).
type gate struct {
	io.ReadCloser
	wait   time.Duration
	once   sync.Once
	opened chan struct{}
}

// newGate returns nil when the request does not expect 100; open may be called on nil.
func newGate(req *http.Request, wait time.Duration) *gate {
	if req.Body == nil || req.Body == http.NoBody || !strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		return nil
	}
	return &gate{ReadCloser: req.Body, wait: wait, opened: make(chan struct{})}
}

func (g *gate) open() {
	if g != nil {
		g.once.Do(func() { close(g.opened) })
	}
}

func (g *gate) Read(b []byte) (int, error) {
	select {
	case <-g.opened:
	default:
		t := time.NewTimer(g.wait)
		defer t.Stop()
		select {
		case <-g.opened:
		case <-t.C:
			g.open()
		}
	}
	return g.ReadCloser.Read(b)
}
