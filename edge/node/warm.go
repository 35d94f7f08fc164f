package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"hither/deploy/ops"
)

// Bounds of a call that warms.
const (
	mostWarm     = 256 // URLs
	warmAtOnce   = 8   // requests under way for all calls together
	warmCallTime = 25 * time.Second
)

// A WarmCall is what an operator has this edge fetch.
type WarmCall struct {
	URLs []string `json:"urls"` // https://HOST/PATH; the scheme may be left out
}

// A Warm is the document "warm": an answer for each URL, in their order.
type Warm struct {
	URLs []WarmURL `json:"urls"`
}

// A WarmURL is what a client would have got.
type WarmURL struct {
	URL    string `json:"url"`
	Status int    `json:"status"` // 0 = there was no answer
	// Verdict is `hit`, or why the request went on, by Cache-Status (RFC 9211): uri-miss, stale, bypass, …
	Verdict string  `json:"verdict"`
	Stored  bool    `json:"stored"` // it lies here now, or did already
	Bytes   int64   `json:"bytes"`  // of the content
	MS      float64 `json:"ms"`     // until the last of them
	Error   string  `json:"error,omitempty"`
}

// warmCall answers POST /v1/warm, whose content is a WarmCall.
func (n *Node) warmCall(r *http.Request) (string, any, error) {
	var call WarmCall
	if err := ops.DecodeBody(r, &call); err != nil {
		return "", nil, err
	}
	if len(call.URLs) == 0 || len(call.URLs) > mostWarm {
		return "", nil, &ops.Refusal{Status: http.StatusBadRequest, Cause: fmt.Errorf("node: %d URLs to warm; 1 to %d are taken", len(call.URLs), mostWarm)}
	}
	return "warm", n.Warm(r.Context(), call), nil
}

// Warm requests URLs of this node as a client would that takes all codings, and drops what comes. It returns when all are answered, or after 25
// seconds; what is not answered then has an Error.
func (n *Node) Warm(ctx context.Context, call WarmCall) Warm {
	ctx, cancel := context.WithTimeout(ctx, warmCallTime)
	defer cancel()
	out := Warm{URLs: make([]WarmURL, len(call.URLs))}
	var asked sync.WaitGroup
	for i, u := range call.URLs {
		select {
		case n.warming <- struct{}{}:
		case <-ctx.Done():
			out.URLs[i] = WarmURL{URL: u, Error: "not begun in time"}
			continue
		}
		asked.Go(func() {
			defer func() { <-n.warming }()
			out.URLs[i] = n.warmOne(ctx, u)
		})
	}
	asked.Wait()
	return out
}

// warmOne requests one URL.
func (n *Node) warmOne(ctx context.Context, text string) (x WarmURL) {
	x.URL = text
	r, err := n.warmRequest(ctx, text)
	if err != nil {
		x.Error = err.Error()
		return x
	}
	began := time.Now()
	w := &discard{header: make(http.Header)}
	defer func() {
		x.Status, x.Bytes, x.MS = w.status, w.bytes, float64(time.Since(began))/float64(time.Millisecond)
		x.Verdict, x.Stored = cacheVerdict(n.o.Name, w.header)
		switch err := recover(); {
		case err == http.ErrAbortHandler: // which is how the request path breaks a response off
			x.Stored, x.Error = false, "the response broke off"
		case err != nil: // as net/http has it for clients: it ends this request alone
			n.o.Log.Error("panic while warming", "url", text, "panic", err, "stack", string(debug.Stack()))
			x.Stored, x.Error = false, "the request path failed; see the node's log"
		case ctx.Err() != nil && x.Status == 0:
			x.Error = "no answer in time"
		}
	}()
	n.tally.around(n.proxy).ServeHTTP(w, r)
	return x
}

// warmRequest makes the request.
func (n *Node) warmRequest(ctx context.Context, text string) (*http.Request, error) {
	rest := text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		if !strings.EqualFold(scheme, "https") {
			return nil, fmt.Errorf("node: %.80q is no https URL, and clients of others are sent to such", text)
		}
		rest = after
	}
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], "/"+strings.TrimPrefix(rest[i:], "/")
	}
	target, _, _ = strings.Cut(target, "#")
	q := Question{Scheme: "https", Host: host, Target: target, Fields: []string{"Accept-Encoding: gzip, deflate, br, zstd", "User-Agent: hither-warm"}}
	r, name, err := q.request()
	if err != nil {
		return nil, err
	}
	if _, ok := n.names.Table().Lookup(name); !ok || name == "" {
		return nil, fmt.Errorf("node: this PoP does not serve the host %.200q", host)
	}
	if r.URL, err = url.ParseRequestURI(target); err != nil {
		return nil, fmt.Errorf("node: %.80q is no URL: %w", text, errors.Unwrap(err))
	}
	if _, why := n.front.Check(r); why != "" {
		return nil, fmt.Errorf("node: no client may ask for %.80q: %s", text, why)
	}
	r.ProtoMajor, r.RemoteAddr = 2, "127.0.0.1:0"
	return r.WithContext(ctx), nil
}

// cacheVerdict reads this node's member of Cache-Status.
func cacheVerdict(node string, h http.Header) (verdict string, stored bool) {
	for _, line := range h["Cache-Status"] {
		for member := range strings.SplitSeq(line, ",") {
			params := strings.Split(member, ";")
			if strings.TrimSpace(params[0]) != node {
				continue
			}
			for _, p := range params[1:] {
				switch name, value, _ := strings.Cut(strings.TrimSpace(p), "="); name {
				case "hit":
					verdict, stored = name, true
				case "fwd":
					verdict = value
				case "stored", "collapsed": // what another request fetches lies here as well
					stored = true
				}
			}
		}
	}
	return verdict, stored
}

// discard is a client that takes everything at once and keeps nothing.
type discard struct {
	header http.Header
	status int
	bytes  int64
}

func (w *discard) Header() http.Header { return w.header }

func (w *discard) WriteHeader(status int) {
	if status >= 200 && w.status == 0 {
		w.status = status
	}
}

func (w *discard) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.bytes += int64(len(p))
	return len(p), nil
}

func (w *discard) Flush()                           {}
func (w *discard) SetWriteDeadline(time.Time) error { return nil }
func (w *discard) SetReadDeadline(time.Time) error  { return nil }
func (w *discard) EnableFullDuplex() error          { return nil }
