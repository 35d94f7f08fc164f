package pool

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

func TestKey(t *testing.T) {
	base := config("a:1", "b:2")
	same := base
	same.Addresses, same.Protocol, same.Origin, same.Connections = []string{"b:2", "a:1"}, "h2", "other name", 7
	if base.Key() != same.Key() {
		t.Error("the order of addresses, a default or what is no property of a connection makes a key")
	}
	for name, change := range map[string]func(*Config){
		"address":  func(c *Config) { c.Addresses = []string{"a:1"} },
		"protocol": func(c *Config) { c.Protocol = "h3" },
		"plain":    func(c *Config) { c.TLS = nil },
		"identity": func(c *Config) { c.TLS = c.TLS.Clone() },
	} {
		c := base
		if change(&c); c.Key() == base.Key() {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// proxied is an HTTP/1.1 server behind the PROXY protocol. Each request is answered with whom its connection is for.
func proxied(t *testing.T, secure *tls.Config) (addr string, conns func() int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				h, err := proxyproto.Read(r)
				if err != nil {
					t.Errorf("no header at the beginning of a connection: %v", err)
					return
				}
				who := fmt.Sprintf("v%d %v", h.Version, h.Command.IsLocal())
				if h.SourceAddr != nil {
					who = fmt.Sprintf("v%d %v>%v", h.Version, h.SourceAddr, h.DestinationAddr)
				}
				var out io.Writer = c
				if secure != nil {
					s := tls.Server(&textConn{Conn: c, Reader: r}, secure)
					r, out = bufio.NewReader(s), s
				}
				for {
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(who), who)
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String(), func() int { mu.Lock(); defer mu.Unlock(); return len(open) }
}

func TestProxyProtocol(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			addr, conns := proxied(t, nil)
			cfg := textConfig(false, addr)
			cfg.ProxyProtocol, cfg.MaxConnections = version, 4
			p := warm(t, cfg)
			dst := netip.MustParseAddrPort("192.0.2.80:443")
			ask := func(src netip.AddrPort, dst netip.AddrPort) (string, error) {
				ctx := context.Context(t.Context())
				if src.IsValid() {
					ctx = WithSource(ctx, src, dst)
				}
				return fetch(p, request(t, "GET", "/", nil).WithContext(ctx))
			}
			client := func(i int) netip.AddrPort {
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 1234)
			}
			for range 3 { // each of three sources has a connection, and keeps it
				for i := range 3 {
					want := fmt.Sprintf("%s %v>%v", version, client(i), dst)
					if got, err := ask(client(i), dst); err != nil || got != want {
						t.Fatalf("got %q, %v; want %q", got, err, want)
					}
				}
			}
			if n := conns(); n != 3 {
				t.Errorf("%d connections for three sources", n)
			}
			// Twenty more, of which at most four are at a time: those that are free make room.
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					want := fmt.Sprintf("%s %v>%v", version, client(100+i), dst)
					if got, err := ask(client(100+i), dst); err != nil || got != want {
						t.Errorf("got %q, %v; want %q", got, err, want)
					}
				})
			}
			wg.Wait()
			if s := p.Status(); s.Connections > 4 {
				t.Errorf("%+v", s)
			}
			for _, test := range []struct {
				src, dst, want string
			}{
				{"[::ffff:198.51.100.7]:9", "[::ffff:192.0.2.80]:443", version + " 198.51.100.7:9>192.0.2.80:443"},
				{"[2001:db8::1]:9", "[2001:db8::2]:443", version + " [2001:db8::1]:9>[2001:db8::2]:443"},
			} {
				got, err := ask(netip.MustParseAddrPort(test.src), netip.MustParseAddrPort(test.dst))
				if err != nil || got != test.want {
					t.Errorf("got %q, %v; want %q", got, err, test.want)
				}
			}
			if got, err := ask(netip.AddrPort{}, netip.AddrPort{}); err != nil || got != version+" true" {
				t.Errorf("without a source: %q, %v", got, err)
			}
		})
	}
}

// The header comes before TLS, which the origin's server begins after it.
func TestProxyProtocolBeforeTLS(t *testing.T) {
	secure := newFleet().server()
	secure.NextProtos = []string{"http/1.1"}
	addr, _ := proxied(t, secure)
	cfg := textConfig(true, addr)
	cfg.ProxyProtocol = "v2"
	p := started(t, cfg)
	ctx := WithSource(t.Context(), netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"))
	for range 2 {
		if got, err := fetch(p, request(t, "GET", "/", nil).WithContext(ctx)); err != nil || got != "v2 192.0.2.1:1>192.0.2.2:2" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestProxyProtocolIsForH1(t *testing.T) {
	cfg := config("a:1")
	for _, test := range []struct{ protocol, version string }{{"h2", "v1"}, {"h1", "v3"}} {
		cfg.Protocol, cfg.ProxyProtocol = test.protocol, test.version
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", test)
		}
	}
}

// A source that cannot be served fails by itself.
func TestProxyProtocolTooManySources(t *testing.T) {
	arrived := make(chan struct{})
	o := newTextPeer(t, false, func(c *textConn) { c.ReadString('G'); close(arrived); <-t.Context().Done() })
	cfg := textConfig(false, o.addr)
	cfg.ProxyProtocol, cfg.MaxConnections, cfg.Connect = "v2", 1, 2*time.Second
	p := started(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		p.RoundTrip(request(t, "GET", "/", nil).WithContext(WithSource(ctx, netip.MustParseAddrPort("192.0.2.1:1"), netip.AddrPort{})))
	})
	select {
	case <-arrived:
	case <-time.After(30 * time.Second):
		t.Error("the first request did not come")
	}
	_, err := p.RoundTrip(request(t, "GET", "/", nil).WithContext(WithSource(t.Context(), netip.MustParseAddrPort("192.0.2.2:1"), netip.AddrPort{})))
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindFull {
		t.Error(err)
	}
	cancel()
	wg.Wait()
}
