package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/deploy/fleet"
)

// An edge answers probes on one address, as the test says, and checks what it is asked.
type edge struct {
	t     *testing.T
	ln    net.Listener
	loops sync.WaitGroup
	end   chan struct{}
	open  atomic.Int64 // connections

	mu     sync.Mutex
	does   string // an answer's bytes, or closed, reset, silent, slow
	cert   *tls.Certificate
	probed int
}

const fine = "HTTP/1.1 204 No Content\r\nAllow: GET, HEAD\r\n\r\n"

func newEdge(t *testing.T, at netip.AddrPort, cert *tls.Certificate) *edge {
	t.Helper()
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{t: t, ln: l, end: make(chan struct{}), does: fine, cert: cert}
	e.loops.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			e.loops.Go(func() { e.serve(conn) })
		}
	})
	t.Cleanup(e.close)
	return e
}

func (e *edge) close() {
	select {
	case <-e.end:
	default:
		close(e.end)
	}
	e.ln.Close()
	e.loops.Wait()
}

func (e *edge) set(does string, cert *tls.Certificate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.does, e.cert = does, cert
}

func (e *edge) serve(conn net.Conn) {
	e.open.Add(1)
	defer e.open.Add(-1)
	defer conn.Close()
	e.mu.Lock()
	does, cert := e.does, e.cert
	e.probed++
	e.mu.Unlock()
	switch does {
	case "closed":
		return
	case "reset":
		conn.(*net.TCPConn).SetLinger(0)
		return
	case "silent":
		conn.Read(make([]byte, 1))
		e.gone(conn)
		return
	}
	c := &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2", "http/1.1"}}
	if does == "demands a certificate" {
		c.ClientAuth = tls.RequireAnyClientCert
	}
	tc := tls.Server(conn, c)
	r, err := http.ReadRequest(bufio.NewReader(tc))
	if err != nil {
		return // a certificate it does not trust
	}
	s := tc.ConnectionState()
	if r.Method != "OPTIONS" || r.Header.Get("Max-Forwards") != "0" || r.Host != "www.hither.test" || s.ServerName != "www.hither.test" || r.ContentLength != 0 {
		e.t.Errorf("probed by %s %s of %s for %s, %v", r.Method, r.Host, r.URL, s.ServerName, r.Header)
	}
	if does == "slow" {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
			case <-e.end:
				return
			}
			if _, err := io.WriteString(tc, "H"); err != nil {
				return
			}
		}
	}
	io.WriteString(tc, does)
	e.gone(tc)
}

// gone waits until the prober has closed the connection, which it must do by itself.
func (e *edge) gone(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "i/o timeout") {
		e.t.Error("a probe left its connection open")
	}
}

// siteCertificate is what the node of a PoP has.
func siteCertificate(t *testing.T, n *deploy.Network, file, dir, pop string) *tls.Certificate {
	t.Helper()
	if _, err := fleet.Init(n, []byte(file), dir); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "nodes", "edge-"+pop, "certs", "www.hither.test")
	cert, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

func TestProbes(t *testing.T) {
	t.Parallel()
	port := uint16(freePort(t, addr("::1")))
	file := strings.ReplaceAll(testdata(t, "probe.yaml"), "@PORT@", fmt.Sprint(port))
	n := parsed(t, file)
	n.DNS.Probe.Interval, n.DNS.Probe.Timeout = deploy.Duration(3*time.Millisecond), deploy.Duration(2*time.Second)
	h := &house{dir: t.TempDir()}
	h.home(t, n)
	cert := siteCertificate(t, n, file, h.dir, "fra")
	foreign := siteCertificate(t, n, file, t.TempDir(), "fra")
	four := newEdge(t, netip.AddrPortFrom(addr("127.53.7.1"), port), cert)
	six := newEdge(t, netip.AddrPortFrom(addr("::1"), port), cert)
	newEdge(t, netip.AddrPortFrom(addr("127.53.7.3"), port), cert)
	var hours atomic.Int64 // of quiet, so that nothing is flapping
	h.run(t, n, file, func(o *Options) {
		o.Now = func() time.Time { return time.Unix(1_700_000_000+3600*hours.Load(), 0) }
	})

	first := func(qtype uint16) string {
		m := h.server.ask(t, new(dns.Msg).SetQuestion("www.hither.test.", qtype), "127.0.0.1")
		if len(m.Answer) != 1 {
			return fmt.Sprint(m)
		}
		return strings.Fields(m.Answer[0].String())[4]
	}
	wait := func(qtype uint16, want, why string) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		end := time.After(20 * time.Second)
		for first(qtype) != want {
			select {
			case <-tick.C:
			case <-end:
				t.Fatalf("%s: answered %s, want %s; %q", why, first(qtype), want, h.server.Status().Nodes[0].Problems)
			}
		}
	}
	count := func(result string) float64 {
		return h.metric(t, `hither_dns_probes_total{node="dns-ns1",pop="fra",result="`+result+`"}`)
	}
	h.waitMetric(t, `hither_pop_up{node="dns-ns1",pop="fra"}`, 1)
	wait(dns.TypeA, "192.0.2.1", "at first")

	for _, c := range []struct {
		does string
		cert *tls.Certificate
		why  string // in the status
	}{
		{"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", cert, "status 500"},
		{"HTTP/1.1 301 Moved Permanently\r\nLocation: https://elsewhere.example/\r\n\r\n", cert, "status 301"},
		{"closed", cert, ""},
		{"reset", cert, "connection reset by peer"},
		{"silent", cert, "no answer in 2s"},
		{"slow", cert, "no answer in 2s"},
		{"HTTP/1.1 204 No Content\r\nX: " + strings.Repeat("x", 2*probeAnswer) + "\r\n\r\n", cert, ""},
		{strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", probeAnswer/20) + fine, cert, ""},
		{"SSH-2.0-OpenSSH\r\n", cert, ""},
		{fine, foreign, "certificate signed by unknown authority"},
	} {
		name := strings.TrimSpace(c.does[:min(len(c.does), 30)])
		hours.Add(1)
		failed := count("failed")
		four.set(c.does, c.cert)
		wait(dns.TypeA, "192.0.2.3", name)
		if n := count("failed") - failed; n < 3 {
			t.Errorf("%s: down after %v failures", name, n)
		}
		// The last probe's reason is told, and on a busy machine one may take too long.
		want := fmt.Sprintf("PoP fra is down at 127.53.7.1:%d: ", port)
		told := func() string { return strings.Join(h.server.Status().Nodes[0].Problems, "\n") }
		tick := time.NewTicker(time.Millisecond)
		for before := count("failed"); !strings.Contains(told(), want) || !strings.Contains(told(), c.why); <-tick.C {
			if count("failed") > before+20 {
				t.Errorf("%s: the status says %q, want %q", name, told(), c.why)
				break
			}
		}
		tick.Stop()
		if got := first(dns.TypeAAAA); got != "2001:db8::1" {
			t.Errorf("%s: its IPv6 address is up, and answered is %s", name, got)
		}
		passed := count("passed")
		four.set("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", cert)
		wait(dns.TypeA, "192.0.2.1", "after "+name)
		if n := count("passed") - passed; n < 2 {
			t.Errorf("after %s: up after %v successes", name, n)
		}
	}

	// An edge that says it drains is struck out by the first probe, at all addresses, and is back with the first that passes.
	hours.Add(1)
	failed := count("failed")
	four.set("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", cert)
	wait(dns.TypeA, "192.0.2.3", "drains")
	if problems := fmt.Sprint(h.server.Status().Nodes[0].Problems); count("draining") == 0 || count("failed") != failed || first(dns.TypeAAAA) != "2001:db8::3" ||
		h.metric(t, `hither_pop_up{node="dns-ns1",pop="fra"}`) != 1 || !strings.Contains(problems, "PoP fra drains") {
		t.Errorf("drains: %v probes say so, %v failed, IPv6 has %s, the status %s", count("draining"), count("failed")-failed, first(dns.TypeAAAA), problems)
	}
	four.set("reset", cert) // it goes: down, and not for a moment anything else
	wait(dns.TypeA, "192.0.2.3", "is gone")
	h.waitMetric(t, `hither_pop_up{node="dns-ns1",pop="fra"}`, 1) // by its IPv6 address
	wait(dns.TypeAAAA, "2001:db8::1", "an address that drained is down, and the other one serves")
	four.set(fine, cert)
	wait(dns.TypeA, "192.0.2.1", "is back")

	// A site for clients with certificates alone: what the edge can show without one is enough.
	hours.Add(1)
	passed := count("passed")
	four.set("demands a certificate", cert)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for count("passed") < passed+20 {
		<-tick.C
	}
	if got := first(dns.TypeA); got != "192.0.2.1" {
		t.Errorf("out for want of a certificate: %s, %q", got, h.server.Status().Nodes[0].Problems)
	}

	// The other family alone; sin's IPv6 is held for as good as its IPv4, where probes go.
	hours.Add(1)
	six.close()
	wait(dns.TypeAAAA, "2001:db8::3", "without IPv6")
	if got := first(dns.TypeA); got != "192.0.2.1" {
		t.Error(got)
	}
	if got := h.metric(t, `hither_pop_up{node="dns-ns1",pop="fra"}`); got != 1 {
		t.Error("one family is enough to be up")
	}
	four.close()
	h.waitMetric(t, `hither_pop_up{node="dns-ns1",pop="fra"}`, 0)

	// Without probes of it any more, nothing is left of them.
	gone := *n
	gone.PoPs = gone.PoPs[1:]
	gone.DNS.Unknown, gone.DNS.Geo.Prefixes = nil, nil
	if err := h.server.Reload(&gone); err != nil {
		t.Fatal(err)
	}
	if m := h.server.ask(t, new(dns.Msg).SetQuestion("www.hither.test.", dns.TypeA), "127.0.0.1"); len(m.Answer) != 1 {
		t.Error(m)
	}
	h.stop(t)
}

// Where probes go to the addresses that clients get, each is struck out by itself.
func TestEachAddress(t *testing.T) {
	s := bare(t, strings.Replace(testdata(t, "records.yaml"), `addresses: [127.53.1.1, "fd00::1"]`, `addresses: [127.53.1.1, 127.53.1.9, "fd00::1"]`, 1))
	fra := func() (out []string) {
		for _, rr := range s.ask(t, new(dns.Msg).SetQuestion("www.hither.test.", dns.TypeA), "127.0.0.1").Answer {
			out = append(out, rr.(*dns.A).A.String())
		}
		return out
	}
	result := func(at string, err error) {
		for range 3 {
			for _, target := range s.world.Load().targets {
				if target.at.Addr() == addr(at) {
					s.probed(target, err)
				}
			}
		}
	}
	for _, step := range []struct {
		at   string
		err  error
		want string
	}{
		{"127.53.1.9", io.EOF, "[127.53.1.1]"},
		{"127.53.1.1", io.EOF, "[127.53.1.2]"}, // iad
		{"fd00::1", io.EOF, "[127.53.1.2]"},
		{"127.53.1.9", nil, "[127.53.1.9]"},
		{"127.53.1.1", nil, "[127.53.1.1 127.53.1.9]"},
	} {
		result(step.at, step.err)
		if got := fmt.Sprint(fra()); got != step.want {
			t.Errorf("%s %v: %s, want %s", step.at, step.err, got, step.want)
		}
	}
}

// A probe tells how long the connection took to open, also where it fails later.
func TestProbeMeasures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var loops sync.WaitGroup
	loops.Go(func() {
		conn, err := l.Accept()
		if err == nil {
			conn.Close()
		}
	})
	defer loops.Wait()
	defer l.Close()
	var took []time.Duration
	p := &prober{took: func(_ target, d time.Duration) { took = append(took, d) }}
	at := target{at: l.Addr().(*net.TCPAddr).AddrPort(), name: "www.hither.test", timeout: 20 * time.Second}
	if err := p.probe(t.Context(), at); err == nil {
		t.Error("a closed connection is no answer")
	}
	if len(took) != 1 || took[0] <= 0 {
		t.Errorf("measured %v", took)
	}
	l.Close()
	if err := p.probe(t.Context(), at); err == nil || len(took) != 1 {
		t.Errorf("%v: measured %v where nobody listens", err, took)
	}
}
