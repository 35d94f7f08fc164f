package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/bench/visit"
)

const site = "www.example.org"

// serve is a server of h1, h2 and h3 on loopback, and a load for its first page.
func serve(t *testing.T, handler http.HandlerFunc) HTTPLoad {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	sock, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	s, err := visit.Serve(site, l, sock, handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return HTTPLoad{Protocol: "h1", To: at, URLs: pages(t, at, "/"), TLS: &tls.Config{RootCAs: s.Roots}, For: 50 * time.Millisecond}
}

// pages are URLs of a server.
func pages(t *testing.T, at netip.AddrPort, paths ...string) (all []*url.URL) {
	t.Helper()
	for _, p := range paths {
		u, err := ParseURL(fmt.Sprintf("https://%s:%d%s", site, at.Port(), p))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// over runs a test over each protocol, with 3 connections of as many streams as it may have.
func over(t *testing.T, l HTTPLoad, test func(*testing.T, HTTPLoad)) {
	t.Helper()
	for _, p := range HTTPProtocols {
		l.Protocol, l.Connections, l.Streams = p, 3, 4
		if p == "h1" {
			l.Streams = 1
		}
		t.Run(p, func(t *testing.T) { test(t, l) })
	}
}

// A census counts what comes to a server.
type census struct {
	mu       sync.Mutex
	requests int64
	clients  map[string]bool // by address
	resumed  int64           // requests on connections that were
	protocol map[int]int64
	paths    map[string]int64
}

func (c *census) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests, c.resumed, c.clients, c.protocol, c.paths = 0, 0, map[string]bool{}, map[int]int64{}, map[string]int64{}
}

func (c *census) count(r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	c.clients[r.RemoteAddr] = true
	c.protocol[r.ProtoMajor]++
	c.paths[r.URL.Path]++
	if r.TLS.DidResume {
		c.resumed++
	}
}

// taken is what came so far.
func (c *census) taken() *census {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &census{
		requests: c.requests, resumed: c.resumed, clients: maps.Clone(c.clients), protocol: maps.Clone(c.protocol), paths: maps.Clone(c.paths),
	}
}

const size = 1000

func page(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("x", size)) }

// whole holds a run's counts to each other.
func whole(t *testing.T, run *HTTPRun) {
	t.Helper()
	var status int64
	for _, n := range run.Status {
		status += n
	}
	if run.Requests != run.Answered+run.Failed()+run.Unsent || status > run.Requests ||
		run.Service.TotalCount() != run.Answered+run.Errors[ErrTimeout] || run.Response.TotalCount() != run.Service.TotalCount()+run.Unsent ||
		run.InTime > 0 && run.Rate() <= 0 || (run.First == nil) != (run.Failed() == 0) || (run.Because == nil) != (run.Again == 0) {
		t.Errorf("counts that cannot be: %+v; %d service, %d response", run, run.Service.TotalCount(), run.Response.TotalCount())
	}
}

// TestClosedLoop holds what the client counts to what the server does.
func TestClosedLoop(t *testing.T) {
	var c census
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c.count(r)
		page(w)
	})
	l.PIDs = []int{os.Getpid()}
	over(t, l, func(t *testing.T, l HTTPLoad) {
		for _, kind := range []string{"kept", "new", "resumed"} {
			l := l
			if kind != "kept" {
				l.NewConnections, l.Resume, l.Streams = true, kind == "resumed", 1
			}
			c.reset()
			run, err := l.Load(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			whole(t, run)
			c := c.taken()
			if run.Answered == 0 || run.Answered != run.Requests || run.Requests != c.requests-1 || run.Status[200] != run.Requests {
				t.Errorf("%s: %d requests came, one of the probe: %+v", kind, c.requests, run)
			}
			if c.protocol[int(l.Protocol[1]-'0')] != c.requests {
				t.Errorf("%s: came over HTTP %v", kind, c.protocol)
			}
			if run.InTime > run.Answered || run.Bytes != run.InTime*size {
				t.Errorf("%s: %d bytes in %d answers of %d", kind, run.Bytes, run.InTime, size)
			}
			if run.CPU <= 0 || run.Server.RSSBefore == 0 || run.Server.RSSMost < run.Server.RSSBefore || run.Server.RSSAfter == 0 {
				t.Errorf("%s: usage %v, %+v", kind, run.CPU, run.Server)
			}
			switch {
			// On a busy machine a load this short may be over before all have begun.
			case kind == "kept" && (int64(len(c.clients)) != run.Opened+1 || run.Opened < 1 || run.Opened > int64(l.Connections)):
				t.Errorf("%d connections, and one of the probe: %d came, %d counted", l.Connections, len(c.clients), run.Opened)
			case kind != "kept" && run.Opened != run.Requests:
				t.Errorf("%s: %d connections for %d requests", kind, run.Opened, run.Requests)
			case kind == "resumed" && (run.Resumed < run.Opened-int64(l.Connections) || run.Resumed >= run.Opened || c.resumed != run.Resumed): // the first of each had no ticket
				t.Errorf("%d of %d resumed, %d says the server", run.Resumed, run.Opened, c.resumed)
			case kind != "resumed" && (run.Resumed > 0 || c.resumed > 0):
				t.Errorf("%s: %d resumed, %d says the server", kind, run.Resumed, c.resumed)
			}
		}
	})
}

// TestWarmUp is not counted, and opens the connections.
func TestWarmUp(t *testing.T) {
	var c census
	c.reset()
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c.count(r)
		page(w)
	})
	l.Connections, l.WarmUp, l.For, l.Rate = 2, time.Second, 500*time.Millisecond, 50 // time enough for both to be opened in the warm-up
	run, err := l.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole(t, run)
	if c := c.taken(); run.Requests != 25 || c.requests > 76 || run.Opened != 0 || run.Elapsed != l.For {
		t.Errorf("%d requests came, of 50 of the warm-up, 25 measured, and the probe: %+v", c.taken().requests, run)
	}
}

// TestErrors has a server err on every other request, in each way there is, and finds each counted as what it is.
func TestErrors(t *testing.T) {
	var c census
	release := make(chan struct{})
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c.count(r)
		switch r.URL.Path {
		case "/status":
			http.Error(w, "no", http.StatusInternalServerError)
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "the beginning")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		case "/silent":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/broken":
			panic(http.ErrAbortHandler)
		default:
			page(w)
		}
	})
	defer close(release)
	for path, want := range map[string]ErrorKind{
		"/status": ErrStatus, "/cut": ErrBody, "/endless": ErrTooLong, "/silent": ErrTimeout, "/broken": ErrBroken,
	} {
		l.URLs = pages(t, l.To, "/", path)
		l.MaxBody, l.Timeout = 5000, 10*time.Second
		if want == ErrTimeout {
			l.Timeout = 200 * time.Millisecond
		}
		over(t, l, func(t *testing.T, l HTTPLoad) {
			c.reset()
			run, err := l.Load(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			whole(t, run)
			c := c.taken()
			got := run.Errors[want]
			if l.Protocol == "h3" && want == ErrBody {
				got += run.Errors[ErrBroken] // quic-go's server takes back what it has yet to send, maybe all
			}
			if want == ErrTimeout { // the server may have been asked too late to know
				if run.Errors[want] == 0 || !strings.Contains(run.First.Error(), "no whole answer in time: 200ms") {
					t.Errorf("%+v", run)
				}
				return
			}
			// What is sent again comes several times.
			if got == 0 || run.Failed() != got || run.Failed()+attempts*run.Again < c.paths[path] || run.Failed() > c.paths[path] ||
				!strings.Contains(run.First.Error(), path) {
				t.Errorf("%s: came %d times: %+v", path, c.paths[path], run)
			}
			if want == ErrStatus && run.Status[500] != run.Errors[want] {
				t.Errorf("by status: %v", run.Status)
			}
		})
	}
}

// TestServerEndsConnections has a server end them all the time, as it may: nothing is an error.
func TestServerEndsConnections(t *testing.T) {
	var n atomic.Int64
	var enough func()
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n := n.Add(1); {
		case n == 300:
			enough()
		case n%10 == 0:
			w.Header().Set("Connection", "close") // of h2: GOAWAY
		}
		page(w)
	})
	l.For = time.Hour
	over(t, l, func(t *testing.T, l HTTPLoad) {
		if l.Protocol == "h3" {
			t.Skip("quic-go's server does not end connections so")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n.Store(0)
		enough = cancel
		run, err := l.Load(ctx)
		if !errors.Is(err, context.Canceled) || run == nil {
			t.Fatalf("%+v, %v", run, err)
		}
		whole(t, run)
		if run.Failed() > 0 || run.Opened < 10 || run.Answered < 200 {
			t.Errorf("%+v", run)
		}
	})
}

// TestNetworks has connections come from many networks, each in its turn.
func TestNetworks(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[netip.Prefix]bool)
	l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from := netip.MustParseAddrPort(r.RemoteAddr).Addr()
		seen[netip.PrefixFrom(from, 24).Masked()] = true
		if !netip.MustParsePrefix("127.128.0.0/9").Contains(from) {
			t.Errorf("a request from %v", from)
		}
	})
	const networks = 20
	l.Networks, l.NewConnections, l.Connections = networks, true, 4
	for opened := int64(0); opened < networks; l.For *= 2 { // each load begins with the first of them
		run, err := l.Load(t.Context())
		if err != nil || run.Failed() > 0 {
			t.Fatal(run, err)
		}
		opened = run.Opened
	}
	if mu.Lock(); len(seen) != networks {
		t.Errorf("%d networks, want %d", len(seen), networks)
	}
	mu.Unlock()
	for _, spoil := range []func(*HTTPLoad){
		func(l *HTTPLoad) { l.Networks = -1 },
		func(l *HTTPLoad) { l.Networks = maxNetworks + 1 },
		func(l *HTTPLoad) { l.Protocol, l.NewConnections = "h3", false },
		func(l *HTTPLoad) { l.To = netip.MustParseAddrPort("192.0.2.1:443") },
	} {
		bad := l
		spoil(&bad)
		if err := bad.Check(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
