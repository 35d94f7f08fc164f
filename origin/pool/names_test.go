package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// answers is a name server whose answers a test changes.
type answers struct {
	mu    sync.Mutex
	addrs []netip.Addr
	err   error
	asked int
	hook  chan struct{} // gets a value for each question, if it has room
}

func (a *answers) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	select {
	case a.hook <- struct{}{}:
	default:
	}
	return a.addrs, a.err
}

// heard waits until n more questions have come.
func (a *answers) heard(n int) {
	for range n + 1 { // one may have been there before
		<-a.hook
	}
}

func (a *answers) set(err error, addrs ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addrs, a.err = nil, err
	for _, s := range addrs {
		a.addrs = append(a.addrs, netip.MustParseAddr(s))
	}
}

// originsAt are servers at the same port of several addresses; each says where it is.
func originsAt(t *testing.T, addrs ...string) (port string, each []*origin) {
	t.Helper()
	for i, a := range addrs {
		o := &origin{t: t, addr: net.JoinHostPort(a, "0"), plain: true, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, a)
		})}
		if i > 0 {
			o.addr = net.JoinHostPort(a, port)
		}
		o.start()
		t.Cleanup(o.kill)
		_, port, _ = net.SplitHostPort(o.addr)
		each = append(each, o)
	}
	return port, each
}

// A changed answer moves the connections, and costs no request, though the old origin goes at last.
func TestAnswerChanges(t *testing.T) {
	for _, protocol := range []string{"h1", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			const before, after = "127.61.0.1", "127.61.0.2"
			port, each := originsAt(t, before, after)
			dns := &answers{hook: make(chan struct{}, 1)}
			dns.set(nil, before)
			cfg := config("app.hither.test:" + port)
			cfg.TLS, cfg.Protocol, cfg.Lookup = nil, protocol, dns.lookup
			p, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			p.refresh = 20 * time.Millisecond
			p.Start(t.Context())
			defer p.Close()
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 4 { // requests all the time
				wg.Go(func() {
					for ctx.Err() == nil {
						if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != before && got != after {
							t.Errorf("%q, %v", got, err)
							return
						}
					}
				})
			}
			at := func(a string) func(Status) bool {
				return func(s Status) bool {
					for _, c := range s.Each {
						if c.Address != net.JoinHostPort(a, port) {
							return false
						}
					}
					return len(s.Each) > 0
				}
			}
			await(t, p, "at the first address", at(before))
			dns.set(nil, after)
			await(t, p, "at the second address", at(after))
			each[0].kill()
			// Name servers that fail, or know nothing, change nothing.
			dns.set(errors.New("server misbehaving"))
			dns.heard(3)
			dns.set(nil)
			dns.heard(3)
			if s := p.Status(); !at(after)(s) || s.Connections == 0 {
				t.Errorf("%+v", s)
			}
			stop()
			wg.Wait()
		})
	}
}

func TestNameWithoutAddress(t *testing.T) {
	for name, err := range map[string]error{"empty": nil, "unknown": &net.DNSError{Err: "no such host", IsNotFound: true}} {
		dns := &answers{}
		dns.set(err)
		cfg := config("app.hither.test:443")
		cfg.Lookup = dns.lookup
		p := started(t, cfg)
		_, err := p.RoundTrip(request(t, "GET", "/", nil))
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindName || e.Status() != 502 || e.ProxyStatus() != "dns_error" {
			t.Errorf("%s: %v", name, err)
		}
		if s := p.Status(); s.ErrorsTotal["origin-name"] != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	dns := &answers{}
	dns.set(&net.DNSError{Err: "timeout", IsTimeout: true})
	cfg := config("app.hither.test:443")
	cfg.Lookup = dns.lookup
	var e *Error
	if _, err := started(t, cfg).RoundTrip(request(t, "GET", "/", nil)); !errors.As(err, &e) || e.Kind != KindNameTimeout || e.Status() != 504 {
		t.Errorf("silent: %v", err)
	}
}

// An answer with a thousand addresses is used in part.
func TestThousandAddresses(t *testing.T) {
	o := plainOrigin(t, func(w http.ResponseWriter, r *http.Request) {})
	_, port, _ := net.SplitHostPort(o.addr)
	dns := &answers{}
	for i := range 1000 {
		dns.addrs = append(dns.addrs, netip.AddrFrom4([4]byte{127, 61, 100 + byte(i/250), byte(i % 250)}))
	}
	all := dns.addrs
	all[mostAddresses-1] = netip.MustParseAddr("127.0.0.1") // the last that is used: nobody listens at the others
	cfg := textConfig(false, "app.hither.test:"+port)
	cfg.Lookup = dns.lookup
	p := started(t, cfg)
	if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
		t.Error(err)
	}
	to, _ := p.targets(t.Context(), 0, time.Minute)
	if len(to) != mostAddresses {
		t.Errorf("%d addresses used", len(to))
	}
	dns.mu.Lock() // the first pool asks as long as it is open
	dns.addrs = all[mostAddresses:]
	dns.mu.Unlock()
	p = started(t, cfg)
	var e *Error
	if _, err := p.RoundTrip(request(t, "GET", "/", nil)); !errors.As(err, &e) || e.Kind != KindRefused && e.Kind != KindConnectTimeout {
		t.Error(err)
	}
}

// However many connections are opened, a name is asked for at most once in a while, and by one at a time.
func TestLookupsAreFew(t *testing.T) {
	o := plainOrigin(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close") })
	_, port, _ := net.SplitHostPort(o.addr)
	dns := &answers{}
	dns.set(nil, "127.0.0.1")
	cfg := textConfig(false, "app.hither.test:"+port)
	cfg.Lookup = dns.lookup
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.refresh = time.Hour
	p.Start(t.Context())
	defer p.Close()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 10 {
				if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	dns.mu.Lock()
	defer dns.mu.Unlock()
	if dns.asked != 1 || o.conns.Load() < 100 {
		t.Errorf("%d questions for %d connections", dns.asked, o.conns.Load())
	}
}

// An address has gone when two answers in a row do not have it; what is remembered of it is bounded.
func TestGoneTwiceInARow(t *testing.T) {
	h := &name{gone: make(map[netip.Addr]int)}
	n := &names{hosts: map[string]*name{"a": h}}
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	for i, step := range []struct {
		answer []netip.Addr
		left   bool
	}{
		{[]netip.Addr{addr(1), addr(2)}, false},
		{[]netip.Addr{addr(2)}, false},
		{[]netip.Addr{addr(1)}, false}, // back
		{[]netip.Addr{addr(2)}, false},
		{[]netip.Addr{addr(2)}, true},
		{[]netip.Addr{addr(1)}, false},
	} {
		h.note(step.answer)
		if got := n.left("a", addr(1)); got != step.left {
			t.Errorf("step %d: gone %v", i, got)
		}
	}
	for i := range 100 {
		var many []netip.Addr
		for j := range 1000 {
			many = append(many, netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)}))
		}
		h.note(many)
	}
	if len(h.gone) > 16*mostAddresses {
		t.Errorf("%d addresses are remembered", len(h.gone))
	}
}
