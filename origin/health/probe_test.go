package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// ask makes one check of the instance at address.
func ask(t *testing.T, check Check, to Target) error {
	t.Helper()
	c, err := New(check, Options{})
	if err != nil {
		t.Fatal(err)
	}
	to.ID = "a"
	c.Set([]Target{to})
	in := c.instances["a"]
	defer in.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), c.check.Timeout)
	defer cancel()
	return c.probe(ctx, in)
}

func at(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestHTTP(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	release := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			io.WriteString(w, "root")
		case "/ready":
			io.WriteString(w, strings.Repeat(" ", 1000)+"all is well at "+r.Host+r.URL.RawQuery)
		case "/far":
			io.WriteString(w, strings.Repeat(" ", most)+"well")
		case "/endless":
			for r.Context().Err() == nil {
				io.WriteString(w, strings.Repeat(" ", 1000))
			}
		case "/moved":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/down":
			w.WriteHeader(503)
		case "/gone":
			w.WriteHeader(404)
		case "/hang":
			<-release
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "well")
			panic(http.ErrAbortHandler)
		case "/proto":
			io.WriteString(w, r.Proto)
		}
	})
	plain := httptest.NewServer(h)
	defer plain.Close()
	defer close(release)
	secure := httptest.NewUnstartedServer(h)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	clear := httptest.NewUnstartedServer(h)
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	defer clear.Close()
	trusted := secure.Client().Transport.(*http.Transport).TLSClientConfig

	p := Target{URL: at(t, plain.URL)}
	for _, c := range []struct {
		name  string
		check Check
		to    Target
		want  string // "" = passes
	}{
		{"default path", Check{}, p, ""},
		{"status and content", Check{Path: "/ready?x=1", Status: 200, Body: "all is well at app.testx=1", Host: "app.test"}, p, ""},
		{"other content", Check{Path: "/ready", Body: "not this"}, p, `content without "not this"`},
		{"content too far", Check{Path: "/far", Body: "well"}, p, "content without"},
		{"endless content", Check{Path: "/endless", Body: "well"}, p, "content without"},
		{"endless content, any", Check{Path: "/endless"}, p, ""},
		{"content cut off", Check{Path: "/cut", Body: "well and good"}, p, "EOF"},
		{"a redirect passes and is not followed", Check{Path: "/moved"}, p, ""},
		{"a redirect is no 200", Check{Path: "/moved", Status: 200}, p, "status 302, want 200"},
		{"503", Check{Path: "/down"}, p, "status 503, want 200 to 399"},
		{"404 wanted", Check{Path: "/gone", Status: 404}, p, ""},
		{"hangs", Check{Path: "/hang", Timeout: 50 * time.Millisecond}, p, "deadline exceeded"},
		{"nobody listens", Check{}, Target{URL: at(t, "http://"+closed(t))}, "refused"},
		{"TLS, HTTP/2", Check{Path: "/proto", Body: "HTTP/2.0"}, Target{URL: at(t, secure.URL), TLS: trusted}, ""},
		{"TLS, not trusted", Check{}, Target{URL: at(t, secure.URL)}, "certificate"},
		{"HTTP/2 without TLS", Check{Path: "/proto", Body: "HTTP/2.0"}, Target{URL: at(t, clear.URL), H2: true}, ""},
		{"tcp", Check{Type: "tcp"}, p, ""},
		{"tcp, nobody listens", Check{Type: "tcp"}, Target{URL: at(t, "http://"+closed(t))}, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := ask(t, c.check, c.to); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
	// A proxy of the environment is never used for loopback, so no request can show this.
	if new(Checker).client(p).Transport.(*http.Transport).Proxy != nil {
		t.Error("checks go through a proxy of the environment")
	}
}

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

// One connection serves all checks of an instance.
func TestConnectionIsKept(t *testing.T) {
	var opened atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well") }))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	for _, body := range []string{"", "well"} {
		opened.Store(0)
		c, err := New(Check{Body: body}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.Set([]Target{{ID: "a", URL: at(t, s.URL)}})
		for range 5 {
			if err := c.probe(t.Context(), c.instances["a"]); err != nil {
				t.Fatal(err)
			}
		}
		c.instances["a"].client.CloseIdleConnections()
		if n := opened.Load(); n != 1 {
			t.Errorf("%d connections for five checks with content %q", n, body)
		}
	}
}

// deadFirst swallows its first connection and lets the others through.
type deadFirst struct {
	net.Listener
	swallowed chan net.Conn
}

func (l deadFirst) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.swallowed <- c:
		default:
			return c, nil
		}
	}
}

// A connection on which nothing comes back is not asked again.
func TestDeadConnection(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well") }))
	l := deadFirst{s.Listener, make(chan net.Conn, 1)}
	s.Listener = l
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	c, err := New(Check{Timeout: 100 * time.Millisecond}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.Set([]Target{{ID: "a", URL: at(t, s.URL), H2: true}})
	in := c.instances["a"]
	if err := c.once(t.Context(), in); err == nil || !timedOut(err) {
		t.Fatalf("on the dead connection: %v", err)
	}
	c.check.Timeout = 5 * time.Second
	if err := c.once(t.Context(), in); err != nil {
		t.Errorf("after it: %v", err)
	}
	in.client.CloseIdleConnections()
	(<-l.swallowed).Close()
}

func TestReason(t *testing.T) {
	err := ask(t, Check{}, Target{URL: at(t, "http://"+closed(t))})
	if r := reason(err); r != "dial: connect: connection refused" {
		t.Errorf("%q", r)
	}
	if r := reason(context.DeadlineExceeded); r != "timeout" {
		t.Errorf("%q", r)
	}
}

// The other end is gRPC for Go with its health service.
func TestGRPC(t *testing.T) {
	serve := func(register bool, opt ...grpc.ServerOption) (*health.Server, string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g, h := grpc.NewServer(opt...), health.NewServer()
		if register {
			healthpb.RegisterHealthServer(g, h)
		}
		go g.Serve(l)
		t.Cleanup(g.Stop)
		return h, l.Addr().String()
	}
	h, plain := serve(true)
	_, bare := serve(false)
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS() // for its certificate
	defer cert.Close()
	_, secure := serve(true, grpc.Creds(credentials.NewServerTLSFromCert(&cert.TLS.Certificates[0])))
	trusted := cert.Client().Transport.(*http.Transport).TLSClientConfig
	h.SetServingStatus("shop", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("bank", healthpb.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("void", healthpb.HealthCheckResponse_UNKNOWN)

	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	web.Config.Protocols = new(http.Protocols)
	web.Config.Protocols.SetUnencryptedHTTP2(true)
	web.Start()
	defer web.Close()
	for _, c := range []struct {
		service, to, want string
	}{
		{"", "http://" + plain, ""},
		{"shop", "http://" + plain, ""},
		{"bank", "http://" + plain, "NOT_SERVING"},
		{"void", "http://" + plain, "serving status 0"},
		{"none", "http://" + plain, `service "none" is not known there`},
		{"", "http://" + bare, "not implemented"},
		{"", "https://" + secure, ""},
		{"", web.URL, "no gRPC answer"},
		{"", "http://" + closed(t), "refused"},
	} {
		err := ask(t, Check{Type: "grpc", Service: c.service}, Target{URL: at(t, c.to), TLS: trusted})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("service %q at %s: %v, want %q", c.service, c.to, err, c.want)
		}
	}
	h.Shutdown() // a server that ends says so
	if err := ask(t, Check{Type: "grpc", Service: "shop"}, Target{URL: at(t, "http://"+plain)}); err == nil || err.Error() != "NOT_SERVING" {
		t.Errorf("a server that ends: %v", err)
	}
}

// What is read of a reply is what protobuf's own reader reads of it.
func FuzzReply(f *testing.F) {
	for _, s := range []healthpb.HealthCheckResponse_ServingStatus{0, 1, 2, 3} {
		b, err := proto.Marshal(&healthpb.HealthCheckResponse{Status: s})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x08\x01\x08\x02"))
	f.Add([]byte("\x12\x03abc\x08\x01"))
	f.Add([]byte("\x0a\x01a\x08\x01"))
	f.Add([]byte("\x08\x01\x10\x02"))
	f.Add([]byte("\xa8\xbf\xe8\xb2\x30\x30"))
	f.Add([]byte("\x08"))
	f.Fuzz(func(t *testing.T, message []byte) {
		var want healthpb.HealthCheckResponse
		wrong := proto.Unmarshal(message, &want)
		got, err := reply(frame(message))
		if (err == nil) != (wrong == nil) || err == nil && got != int32(want.Status) {
			t.Errorf("%x: %d, %v; protobuf says %d, %v", message, got, err, want.Status, wrong)
		}
	})
}

func frame(message []byte) []byte {
	n := len(message)
	return append([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, message...)
}

func TestReplyFrames(t *testing.T) {
	for _, b := range []string{"", "\x00\x00\x00\x00", "\x01\x00\x00\x00\x00", "\x00\x00\x00\x00\x03\x08\x01", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\xff\xff\xff\xff\x08\x01"} {
		if s, err := reply([]byte(b)); err == nil {
			t.Errorf("%x is no message, and was read as status %d", b, s)
		}
	}
	if _, err := reply(frame([]byte{8, 1})); err != nil {
		t.Error(err)
	}
	var want healthpb.HealthCheckRequest
	q := question("shop")
	if err := proto.Unmarshal(q[5:], &want); err != nil || want.Service != "shop" || q[4] != byte(len(q)-5) {
		t.Errorf("question %x: %v, %v", q, want.Service, err)
	}
}
