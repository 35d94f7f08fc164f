//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"hither/deploy/fleet"
)

// upstreamCases are the ways to a peer, and its port for each.
var upstreamCases = []struct {
	name, scheme, port, keys string
}{
	{"h1", "http", "3001", "protocol: h1"},
	{"h2c", "http", "3002", "protocol: h2c"},
	{"h1 with TLS", "https", "3003", "protocol: h1"},
	{"h2", "https", "3003", "protocol: h2"},
	{"h3", "https", "3003", "protocol: h3"},
}

// TestUpstreams puts the network in front of servers that are not ours, each over every
// protocol that it has.
func TestUpstreams(t *testing.T) {
	scenario(t, "upstreams")
	const net127 = "127.95"
	at := func(i int) string { return fmt.Sprintf("%s.0.%d", net127, 20+i) }
	dir, own := upstreamFolder(t, at(0), at(1), at(2), at(3), net127+".0.8")
	app := goUpstream(t, at(0), dir, own)
	peers := []*upstream{nginxUpstream(t, at(1), dir, app.address+":3001"), haproxyUpstream(t, at(2), dir, app.address+":3001"), nodeUpstream(t, at(3), dir), app}

	now := instancesKey(listed{url: "http://" + app.address + ":3001"})
	n := run(t, setup{net: net127, edit: []string{exampleApp, now}})
	to := func(url, keys string) {
		t.Helper()
		if strings.HasPrefix(url, "https:") {
			keys += fmt.Sprintf(", ca: %q", filepath.Join(dir, "cert.pem"))
		}
		was := now
		now = instancesKey(listed{url, keys})
		n.change(t, was, now)
	}
	for _, u := range peers {
		for _, c := range upstreamCases {
			what, direct := u.name+" over "+c.name, u.address+":"+c.port
			if c.name == "h3" {
				// Its connections can not be counted on the way.
				if !u.h3 {
					continue
				}
				to(c.scheme+"://"+direct, c.keys)
			} else {
				p := tunnelTo(t, net127+".0.8:0", direct, false)
				to(c.scheme+"://"+p.address, c.keys)
				for _, w := range reused(t, n, p) {
					t.Errorf("%s: %s", what, w)
				}
			}
			for _, proto := range protocols {
				for _, w := range exchanges(t.Context(), n.via(t, proto, "fra"), u) {
					t.Errorf("%s, client over %s: %s", what, proto, w)
				}
			}
			if u.restart == nil || c.name == "h1 with TLS" {
				continue
			}
			to(c.scheme+"://"+direct, c.keys)
			restarted(t, n, what, u, c.name != "h1")
		}
		if u.sockets {
			to("http://"+u.address+":3001", "protocol: h1")
			n.socket(t)
		}
	}
}

// exchanges says what of HTTP does not come through between a visitor and a peer.
func exchanges(ctx context.Context, v *visitor, u *upstream) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	ask := func(method, path string, body io.Reader, fields ...string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, method, site+path, body)
		if err != nil {
			say("%s %s: %v", method, path, err)
			return nil
		}
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		resp, err := v.http.Do(r)
		if err != nil {
			say("%s %s: %v", method, path, err)
			return nil
		}
		defer resp.Body.Close()
		content, err := io.ReadAll(resp.Body)
		if err != nil {
			say("%s %s: after %d bytes: %v", method, path, len(content), err)
			return nil
		}
		resp.Body = io.NopCloser(bytes.NewReader(content))
		return resp
	}
	// holds says how an answer differs from what it should be.
	holds := func(resp *http.Response, status int, want []byte) bool {
		if resp == nil {
			return false
		}
		content, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != status || !bytes.Equal(content, want) {
			say("%s %s: status %d, not %d; %d bytes, not %d; Proxy-Status: %s", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, status,
				len(content), len(want), resp.Header.Get("Proxy-Status"))
			return false
		}
		return true
	}
	holds(ask(http.MethodGet, "/text", nil), http.StatusOK, []byte(upstreamText))
	if resp := ask(http.MethodHead, "/text", nil); holds(resp, http.StatusOK, nil) && resp.ContentLength != int64(len(upstreamText)) {
		say("HEAD /text: Content-Length %d, not %d", resp.ContentLength, len(upstreamText))
	}
	holds(ask(http.MethodGet, "/file", nil), http.StatusOK, upstreamFile)
	if resp := ask(http.MethodGet, "/file", nil, "Range", "bytes=1000-1999"); holds(resp, http.StatusPartialContent, upstreamFile[1000:2000]) {
		if got, want := resp.Header.Get("Content-Range"), fmt.Sprintf("bytes 1000-1999/%d", len(upstreamFile)); got != want {
			say("Content-Range: %s, not %s", got, want)
		}
	}
	body := upstreamFile[:1<<20]
	holds(ask(http.MethodPost, "/echo", bytes.NewReader(body), "Content-Type", "text/plain"), http.StatusOK, body)
	holds(ask(http.MethodPost, "/echo", struct{ io.Reader }{bytes.NewReader(body)}, "Content-Type", "text/plain"), http.StatusOK, body) // of no told length
	if resp := ask(http.MethodGet, "/trailer", nil); holds(resp, http.StatusOK, []byte(upstreamText)) && resp.Trailer.Get("X-Sum") != "42" {
		say("the trailer is %v", resp.Trailer)
	}
	if u.hints {
		var hints atomic.Int64
		traced, was := ctx, ctx
		traced = httptrace.WithClientTrace(traced, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints && strings.Contains(h.Get("Link"), "a.css") {
				hints.Add(1)
			}
			return nil
		}})
		ctx = traced
		holds(ask(http.MethodGet, "/hints", nil), http.StatusOK, []byte(upstreamText))
		ctx = was
		if hints.Load() != 1 {
			say("103 came %d times", hints.Load())
		}
	}
	return wrong
}

// reused says whether requests, one after the other, take more connections than a pool
// has reason to open.
func reused(t *testing.T, n *network, p *tunnel) (wrong []string) {
	t.Helper()
	const requests, most = 40, 4
	v := n.via(t, "h2", "fra")
	for range requests {
		if got := v.must(t, "/text"); got.status != http.StatusOK {
			return append(wrong, fmt.Sprintf("status %d, Proxy-Status: %s", got.status, got.header.Get("Proxy-Status")))
		}
	}
	if opened := p.opened.Load(); opened > most {
		wrong = append(wrong, fmt.Sprintf("%d requests took %d connections, more than %d", requests, opened, most))
	}
	return wrong
}

// restarted restarts a peer under load, as its operator does. A POST may be lost over
// HTTP/1.1, where a connection that ends does not say what of it was processed; HTTP/2
// does (RFC 9113 section 6.8).
func restarted(t *testing.T, n *network, what string, u *upstream, posts bool) {
	t.Helper()
	var all []*visitor
	for _, proto := range protocols {
		all = append(all, n.via(t, proto, "fra"))
	}
	l := &mix{traffic: &traffic{rate: 150, most: 400, ask: func(ctx context.Context, k int) error {
		r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/text?%d", site, k), nil)
		if posted(k) {
			r, err = http.NewRequest(http.MethodPost, site+"/echo", strings.NewReader(upstreamText))
		}
		if err != nil {
			return err
		}
		got, err := all[k%len(all)].do(ctx, r)
		if err == nil && (got.status != http.StatusOK || string(got.body) != upstreamText) {
			err = fmt.Errorf("%s: status %d with %d bytes; Proxy-Status: %s", r.Method, got.status, len(got.body), got.header.Get("Proxy-Status"))
		}
		return err
	}}}
	l.begin(t)
	for range 2 {
		l.further(t, l.rate/3)
		u.restart(t)
	}
	l.further(t, l.rate/3)
	l.end()
	l.lost(t, what+", restarted", 0, int(l.sent.Load()), !posts)
}

// socket talks through a WebSocket, which no edge passes on: what stands before the
// gateway is a proxy of the same network, over HTTP/1.1.
func (n *network) socket(t *testing.T) {
	t.Helper()
	id, err := fleet.LoadIdentity(filepath.Join(n.state("edge-fra"), "identity"))
	if err != nil {
		t.Fatal(err)
	}
	conf := id.ClientTLS("origin", "us")
	conf.NextProtos = []string{"http/1.1"}
	d := tls.Dialer{Config: conf}
	ctx, cancel := context.WithTimeout(t.Context(), hangTime)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", n.at("0.1", 9443))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(hangTime))
	wanted, err := websocket.NewConfig("wss://"+host+"/socket", site)
	if err != nil {
		t.Fatal(err)
	}
	ws, err := websocket.NewClient(wanted, c)
	if err != nil {
		t.Errorf("no WebSocket: %v", err)
		return
	}
	defer ws.Close()
	for _, text := range []string{"one", "two", strings.Repeat("three", 20)} {
		var heard string
		if err := websocket.Message.Send(ws, text); err != nil {
			t.Errorf("send %q: %v", text, err)
		}
		if err := websocket.Message.Receive(ws, &heard); err != nil || heard != text {
			t.Errorf("said %q, heard %q, %v", text, heard, err)
		}
	}
}
