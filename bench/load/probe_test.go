package load

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestProbe has servers that cannot be loaded, and one line that says why.
func TestProbe(t *testing.T) {
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusGone)
		}
		page(w)
	})
	// A server of one version only, which says so or lets it be seen.
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { page(w) }))
	old.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	old.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	defer old.Close()
	few := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { page(w) }))
	few.EnableHTTP2 = true
	few.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 5}
	few.StartTLS()
	defer few.Close()
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { page(w) }))
	defer bare.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))

	at := func(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(*HTTPLoad)
		want   string
	}{
		"down":           {nil, func(l *HTTPLoad) { l.To = netip.MustParseAddrPort("127.0.0.1:1") }, "connection refused; start it, or name the host and port where it listens"},
		"down, h3":       {nil, func(l *HTTPLoad) { l.To, l.Protocol = at(mute.Addr()), "h3" }, "does not speak HTTP/3 there; start it, or name"},
		"mute":           {nil, func(l *HTTPLoad) { l.To, l.Timeout = at(mute.Addr()), 100*time.Millisecond }, "no whole answer in time: 100ms; name the port of a web server, or wait longer"},
		"untrusted":      {nil, func(l *HTTPLoad) { l.TLS, l.Timeout = nil, 0 }, "name whom to trust with --ca FILE"},
		"untrusted, h3":  {nil, func(l *HTTPLoad) { l.TLS, l.Timeout, l.Protocol = nil, 0, "h3" }, "name whom to trust with --ca FILE"},
		"another name":   {nil, func(l *HTTPLoad) { l.TLS.ServerName, l.Timeout = "other.example.org", 0 }, "not other.example.org; name a host that"},
		"no h2":          {nil, func(l *HTTPLoad) { l.To, l.Protocol, l.Timeout = at(old.Listener.Addr()), "h2", 0 }, "does not speak h2"},
		"few streams":    {nil, func(l *HTTPLoad) { l.To, l.Protocol, l.Streams, l.Timeout = at(few.Listener.Addr()), "h2", 6, 0 }, "6 streams: the server takes 5 on a connection"},
		"gone":           {nil, func(l *HTTPLoad) { l.URLs, l.Timeout = pages(t, l.To, "/gone"), 0 }, "status 410; name a page that is there"},
		"TLS on no port": {nil, func(l *HTTPLoad) { l.URLs[0].Scheme, l.TLS, l.Timeout = "http", nil, 0 }, "status 400"},
		"no process":     {nil, func(l *HTTPLoad) { l.PIDs = []int{1 << 30} }, "usage of process 1073741824: no process of that number runs; name the server's"},
		"no name":        {nil, func(l *HTTPLoad) { l.To, l.URLs[0].Host = netip.AddrPort{}, "none.invalid" }, "ask for the address of none.invalid"},
		"not TLS":        {nil, func(l *HTTPLoad) { l.To, l.Timeout = at(bare.Listener.Addr()), 0 }, "TLS handshake: "},
		"stopped":        {stopped, func(l *HTTPLoad) {}, "enough"},
	} {
		t.Run(name, func(t *testing.T) {
			l := l
			u := *l.URLs[0]
			l.URLs, l.TLS, l.Timeout = []*url.URL{&u}, l.TLS.Clone(), 5*time.Second
			l.TLS.InsecureSkipVerify = strings.Contains(name, "h2") || strings.Contains(name, "streams")
			c.change(&l)
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			run, err := l.Load(ctx)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || run != nil {
				t.Errorf("%+v, %v; want %q", run, err, c.want)
			}
			if name == "no process" {
				return // idle connections need none
			}
			if idle, err := l.OpenIdle(ctx); err == nil || !strings.Contains(err.Error(), c.want) || idle != nil {
				t.Errorf("idle: %v; want %q", err, c.want)
			}
		})
	}
}

// TestCheck has loads that are wrong.
func TestCheck(t *testing.T) {
	plain := &url.URL{Scheme: "http", Host: "www.example.org", Path: "/"}
	other := &url.URL{Scheme: "https", Host: "other.example.org", Path: "/"}
	for want, change := range map[string]func(*HTTPLoad){
		`protocol "h4": want h1, h2 or h3`:           func(l *HTTPLoad) { l.Protocol = "h4" },
		"no URL to ask for":                          func(l *HTTPLoad) { l.URLs = nil },
		"50001 connections: want 50000":              func(l *HTTPLoad) { l.Connections = 50_001 },
		"1001 streams":                               func(l *HTTPLoad) { l.Streams = 1001 },
		"1000 connections with 100 streams":          func(l *HTTPLoad) { l.Connections, l.Streams = 1000, 100 },
		"HTTP/1.1 has one request at a time":         func(l *HTTPLoad) { l.Protocol, l.Streams = "h1", 2 },
		"where each request opens a connection":      func(l *HTTPLoad) { l.NewConnections, l.Streams = true, 2 },
		"to resume goes with new connections only":   func(l *HTTPLoad) { l.Resume = true },
		"rate -1: want":                              func(l *HTTPLoad) { l.Rate = -1 },
		"rate NaN: want":                             func(l *HTTPLoad) { l.Rate = math.NaN() },
		"rate 1e+07: want":                           func(l *HTTPLoad) { l.Rate = 1e7 },
		"zipf 11: want":                              func(l *HTTPLoad) { l.Zipf = 11 },
		"measure for 0s":                             func(l *HTTPLoad) { l.For = 0 },
		"after 2h0m0s":                               func(l *HTTPLoad) { l.WarmUp = 2 * time.Hour },
		"timeout -1ns":                               func(l *HTTPLoad) { l.Timeout = -1 },
		"URL 2: https://other.example.org/ is of":    func(l *HTTPLoad) { l.URLs = append(l.URLs, other) },
		"http://www.example.org/: without TLS there": func(l *HTTPLoad) { l.URLs = []*url.URL{plain} },
	} {
		l := HTTPLoad{Protocol: "h2", For: time.Second, URLs: []*url.URL{{Scheme: "https", Host: "www.example.org", Path: "/"}}}
		change(&l)
		if _, err := l.Load(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// TestWithoutPort has URLs as people write them.
func TestWithoutPort(t *testing.T) {
	l := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })
	u, err := ParseURL("https://" + site)
	if err != nil {
		t.Fatal(err)
	}
	l.URLs = []*url.URL{u}
	over(t, l, func(t *testing.T, l HTTPLoad) {
		run, err := l.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if whole(t, run); run.Failed() > 0 || run.Bytes != int64(len(site))*run.InTime {
			t.Errorf("%+v", run)
		}
	})
}

// TestPlain loads without TLS, until enough has been answered.
func TestPlain(t *testing.T) {
	var n atomic.Int64
	var enough func()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 30 {
			enough()
		}
		io.WriteString(w, "hello")
	}))
	defer s.Close()
	u, err := ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, fresh := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n.Store(0)
		enough = cancel
		run, err := HTTPLoad{Protocol: "h1", URLs: []*url.URL{u}, For: time.Hour, NewConnections: fresh}.Load(ctx)
		if !errors.Is(err, context.Canceled) || run == nil {
			t.Fatalf("%+v, %v", run, err)
		}
		whole(t, run)
		if run.Failed() > 0 || run.Answered < 10 || run.Bytes != 5*run.InTime || (run.Opened == run.Requests) != fresh {
			t.Errorf("%+v", run)
		}
	}
}

// TestIdle opens connections that stay, until the server ends them or we do.
func TestIdle(t *testing.T) {
	var c census
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c.count(r)
		page(w)
	})
	over(t, l, func(t *testing.T, l HTTPLoad) {
		c.reset()
		l.Connections, l.Streams, l.NewConnections = 40, 1, true
		idle, err := l.OpenIdle(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := idle.Open(); n != 40 || len(c.taken().clients) != 41 {
			t.Errorf("%d connections open, %d came with that of the probe; want 40", n, len(c.taken().clients))
		}
		idle.Close()
		if n := idle.Open(); n != 0 {
			t.Errorf("%d connections open after all were closed", n)
		}
		idle.Close()
	})
}

// TestIdleEnds sees that the server has ended connections.
func TestIdleEnds(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { page(w) }))
	defer s.Close()
	u, err := ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	idle, err := HTTPLoad{Protocol: "h1", URLs: []*url.URL{u}, Connections: 3}.OpenIdle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if n := idle.Open(); n != 3 {
		t.Errorf("%d of 3 open", n)
	}
	s.CloseClientConnections()
	for idle.Open() > 0 && t.Context().Err() == nil {
		runtime.Gosched()
	}
}

// TestIdleFails leaves no connection when one cannot be opened.
func TestIdleFails(t *testing.T) {
	n := make(chan struct{}, 11)
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case n <- struct{}{}:
			page(w)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	l.Connections = 20
	if idle, err := l.OpenIdle(t.Context()); err == nil || idle != nil || !strings.Contains(err.Error(), "of 20") || !strings.Contains(err.Error(), "status 503") {
		t.Errorf("%v, %v", idle, err)
	}
}
