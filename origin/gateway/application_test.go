package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/deploy/ops"
)

// ids are the instances of an application that take requests.
func ids(a *application) (out []string) {
	for _, i := range a.up.Status().Balance.Instances {
		if i.Weight > 0 && i.State != "gone" {
			out = append(out, i.ID)
		}
	}
	slices.Sort(out)
	return out
}

// Under load the network file is read again and again, with other instances and another way to choose them: no request is
// lost, whatever its method, nor is one that an instance which goes is at work on.
func TestReloadOfInstancesLosesNothing(t *testing.T) {
	begun, release := make(chan struct{}, 100), make(chan struct{})
	var urls []string
	for range 4 {
		urls = append(urls, newInstance(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				begun <- struct{}{}
				<-release
			}
			io.Copy(w, r.Body)
			io.WriteString(w, "done")
		}).URL)
	}
	files := []*deploy.Origin{
		origin(t, list(slices.Clone(urls[:2])...)),
		origin(t, list(slices.Clone(urls[2:])...)),                                         // others
		origin(t, list(slices.Clone(urls)...)+"balance: {algorithm: least-requests}\n"),    // another upstream
		origin(t, list(slices.Clone(urls[1:3])...)+"balance: {algorithm: least-requests}"), // others, of that one
		origin(t, list(slices.Clone(urls[:2])...)+"limits: {total: 1000}\n"),
		origin(t, list(slices.Clone(urls[:2])...)+"limits: {total: 2000}\n"), // another limit
		origin(t, "app: {static: {}}\n"),
	}
	h := newHouse(t, deploy.LocalOptions{Origin: urls[0]})
	g, _ := h.run(t)
	p := h.edge(t, g)

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if res, body, err := fetch(t, p, "/slow"); err != nil || body != "done" {
				t.Errorf("one that was under way: %v %q, %v", res, body, err)
			}
		})
	}
	for range 20 {
		<-begun
	}
	stop := make(chan struct{})
	var answered atomic.Int64
	for n := range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				method, content := "GET", ""
				if n%2 == 0 {
					method, content = "POST", "content "
				}
				r, err := http.NewRequestWithContext(deadline(t), method, "https://www.hither.test/", io.NopCloser(strings.NewReader(content)))
				if err != nil {
					t.Error(err)
					return
				}
				if content == "" {
					r.Body = nil
				}
				res, err := p.RoundTrip(r)
				body, err := whole(res, err)
				static := err == nil && strings.HasPrefix(body, "<!") // while it is files
				if err != nil || !static && (res.StatusCode != 200 || body != content+"done") && !(method == "POST" && res.StatusCode == 405) {
					t.Errorf("%s: %v %q, %v", method, res, body, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for round := range 3 {
		for i, o := range files {
			n := *h.network
			n.Origins = []deploy.Origin{*o}
			n.Origins[0].Gateway = h.network.Origin("us").Gateway
			if err := g.Reload(&n); err != nil {
				t.Fatalf("round %d, file %d: %v", round, i, err)
			}
			for want := answered.Load() + 20; answered.Load() < want && !t.Failed(); {
				if deadline(t).Err() != nil {
					t.Fatal("nobody is answered")
				}
			}
		}
	}
	close(stop)
	close(release)
	wg.Wait()
	if s := p.Status(); s.HandshakesTotal != 2 {
		t.Errorf("edges had to connect again: %+v", s)
	}
}

// Other instances, or another limit, leave the upstream as it is: scores, connections and who waits stay.
func TestChangeInPlace(t *testing.T) {
	a := behind(t, list("http://127.64.0.1:1", "http://127.64.0.2:1")+"limits: {total: 5}\n")
	before := a.up
	for _, test := range []struct {
		keys string
		ok   bool
		ids  string
	}{
		{list("http://127.64.0.2:1", "http://127.64.0.3:1") + "limits: {total: 6, waiting: 1}\n", true, "127.64.0.2:1 127.64.0.3:1"},
		{list("http://127.64.0.2:1", `url: "http://127.64.0.3:1", weight: 0`) + "limits: {total: 6, waiting: 1}\n", true, "127.64.0.2:1"},
		{list("http://127.64.0.4:1") + "limits: {total: 6}\nbalance: {algorithm: random}\n", false, "127.64.0.2:1"},
		{list("http://127.64.0.4:1") + "limits: {total: 6}\nretry: {percent: 1}\n", false, "127.64.0.2:1"},
		{list("http://127.64.0.4:1"), false, "127.64.0.2:1"},
		{"app: {static: {}}\nlimits: {total: 6}\n", false, "127.64.0.2:1"},
	} {
		ok, err := a.change(origin(t, test.keys))
		if got := strings.Join(ids(a), " "); ok != test.ok || err != nil || got != test.ids {
			t.Errorf("%s: %t, %v, instances %s", test.keys, ok, err, got)
		}
	}
	if l := a.up.Status().Limit; a.up != before || l.Limit != 6 || l.WaitingMost != 1 {
		t.Errorf("limit %+v", l)
	}
}

// A file of certificates with another content is taken with the next SIGHUP; one that cannot be used changes nothing.
func TestCertificatesThatChange(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	keys := list(fmt.Sprintf("url: %q, ca: %s", "https://127.64.0.1:1", first.file))
	a := behind(t, keys)
	was := a.instances()[0].TLS
	if ok, err := a.change(origin(t, keys)); !ok || err != nil || a.instances()[0].TLS != was {
		t.Errorf("the same file: %t, %v", ok, err)
	}
	pem, err := os.ReadFile(second.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "no certificate"} {
		if err := os.WriteFile(first.file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if ok, err := a.change(origin(t, keys)); ok || err == nil || !strings.Contains(err.Error(), first.file) || a.instances()[0].TLS != was {
			t.Errorf("%q: %t, %v", bad, ok, err)
		}
	}
	if err := os.WriteFile(first.file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := a.change(origin(t, keys)); !ok || err != nil || a.instances()[0].TLS == was {
		t.Errorf("another content: %t, %v", ok, err)
	}
	os.Remove(first.file)
	if _, err := newApplication(origin(t, keys), a.o, nil); err == nil || !strings.Contains(err.Error(), first.file) {
		t.Errorf("no file: %v", err)
	}
}

// names is a name server for instances.
type names struct {
	at    string
	mu    sync.Mutex
	zone  []string // records; none = NXDOMAIN for every name
	fails bool     // SERVFAIL
}

func newNames(t *testing.T, records ...string) *names {
	t.Helper()
	return serveNames(t, &names{zone: records})
}

func serveNames(t *testing.T, n *names) *names {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.64.0.53:0")
	if err != nil {
		t.Fatal(err)
	}
	n.at = pc.LocalAddr().String()
	servers := []*dns.Server{{PacketConn: pc, Handler: n}}
	if ln, err := net.Listen("tcp", n.at); err == nil { // else somebody has this port, and long answers cannot be had
		servers = append(servers, &dns.Server{Listener: ln, Handler: n})
	}
	for _, s := range servers {
		done := make(chan error, 1)
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() { done <- s.ActivateAndServe() }()
		<-up // one that is not up does not hear that it is to end
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
	return n
}

func (n *names) set(records ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zone = records
}

func (n *names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Rcode = dns.RcodeNameError
	if n.fails {
		m.Rcode = dns.RcodeServerFailure
	}
	for _, r := range n.zone {
		rr, err := dns.NewRR(r)
		if err != nil {
			panic(err)
		}
		if rr.Header().Name == q.Question[0].Name {
			m.Rcode = dns.RcodeSuccess
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	if w.LocalAddr().Network() == "udp" {
		m.Truncate(1232)
	}
	w.WriteMsg(m)
}

// looked is the key app for a look-up.
func looked(n *names, more string) string {
	return fmt.Sprintf("app: {discover: {servers: [%q], networks: [127.64.0.0/16], %s}}\n", n.at, more)
}

func TestInstancesFromDNS(t *testing.T) {
	n := newNames(t,
		"_http._tcp.app.test. 0 IN SRV 10 3 8001 one.app.test.", "_http._tcp.app.test. 0 IN SRV 10 0 8002 two.app.test.",
		"_http._tcp.app.test. 0 IN SRV 20 1 8003 two.app.test.", "_http._tcp.app.test. 0 IN SRV 20 1 8003 far.app.test.",
		"one.app.test. 0 IN A 127.64.1.1", "two.app.test. 0 IN A 127.64.1.2", "far.app.test. 0 IN A 127.65.1.1")
	a := behind(t, looked(n, "dns: _http._tcp.app.test"))
	a.warm(deadline(t))
	got := ""
	for _, i := range a.up.Status().Balance.Instances {
		got += fmt.Sprintf("%s group %d weight %d\n", i.ID, i.Group, i.Weight)
	}
	if want := "127.64.1.1:8001 group 10 weight 3\n127.64.1.2:8002 group 10 weight 1\n127.64.1.2:8003 group 20 weight 1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if p := strings.Join(a.problems(), "\n"); !strings.Contains(p, "127.65.1.1:8003 of far.app.test. is outside the allowed networks") {
		t.Errorf("problems %s", p)
	}

	// Another answer is used when the first one's time is over, without a restart.
	n.set("_http._tcp.app.test. 0 IN SRV 10 65535 8001 one.app.test.", "_http._tcp.app.test. 0 IN SRV 10 6553 8009 one.app.test.", "one.app.test. 0 IN A 127.64.1.1")
	until(t, "the new answer", func() bool { return strings.Join(ids(a), " ") == "127.64.1.1:8001 127.64.1.1:8009" })
	for _, i := range a.up.Status().Balance.Instances {
		if want := map[string]int{"127.64.1.1:8001": 1000, "127.64.1.1:8009": 99}[i.ID]; i.State != "gone" && i.Weight != want {
			t.Errorf("%s has weight %d, want %d", i.ID, i.Weight, want)
		}
	}
}

// Where a name leads nowhere, or nobody says where, clients are told so, and the operator is.
func TestInstancesFromDNSThatSaysNothing(t *testing.T) {
	echo := newInstance(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") })
	_, port, _ := net.SplitHostPort(echo.id())
	for _, test := range []struct {
		name    string
		fails   bool
		records []string
		problem string
	}{
		{"no such name", false, nil, "nothing that may be used is behind app.test, type A"},
		{"name servers fail", true, nil, "app.test cannot be looked up"},
		{"loopback", false, []string{"app.test. 60 IN A 127.0.0.1"}, "127.0.0.1:" + port + " of app.test is outside the allowed networks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := serveNames(t, &names{zone: test.records, fails: test.fails})
			keys := fmt.Sprintf("app: {discover: {servers: [%q], dns: app.test, type: A, port: %s}}\n", n.at, port)
			if test.fails { // there is no answer to wait for
				a := behind(t, keys)
				until(t, test.problem, func() bool { return strings.Contains(strings.Join(a.problems(), "\n"), test.problem) })
				tells(t, newServer(t, a), 503, "destination_unavailable")
				return
			}
			a := behind(t, keys)
			a.warm(deadline(t))
			if p := strings.Join(a.problems(), "\n"); !strings.Contains(p, test.problem) || !strings.Contains(p, "no instance takes requests") {
				t.Errorf("problems %s", p)
			}
			tells(t, newServer(t, a), 503, "destination_unavailable")
		})
	}
}

// From a list to a name and to another name: what was used stays until the name has an answer.
func TestFromAListToANameAndBack(t *testing.T) {
	n := newNames(t, "app.test. 60 IN A 127.64.1.1", "other.test. 60 IN A 127.64.1.2")
	silent := serveNames(t, &names{fails: true})
	a := behind(t, list("http://127.64.0.1:80"))
	up := a.up
	for _, step := range []struct {
		keys, ids string
	}{
		{looked(silent, "dns: app.test, type: A, port: 80"), "127.64.0.1:80"},
		{looked(n, "dns: app.test, type: A, port: 80"), "127.64.1.1:80"},
		{looked(silent, "dns: app.test, type: A, port: 80"), "127.64.1.1:80"},
		{looked(n, "dns: mistyped.test, type: A, port: 80"), "127.64.1.1:80"},
		{looked(n, "dns: mistyped.test, type: A, port: 80") + "limits: {wait: 1s}\n", "127.64.1.1:80"},           // read once more
		{strings.Replace(looked(n, "dns: other.test, type: A, port: 80"), "127.64.0.0/16", "10.0.0.0/8", 1), ""}, // to where nobody may go
		{looked(n, "dns: other.test, type: A, port: 80"), "127.64.1.2:80"},
		{looked(n, "dns: other.test, type: A, port: 81"), "127.64.1.2:81"},
		{list("http://127.64.0.1:80"), "127.64.0.1:80"},
	} {
		if ok, err := a.change(origin(t, step.keys)); !ok || err != nil || a.up != up {
			t.Fatalf("%s: %t, %v", step.keys, ok, err)
		}
		if strings.Contains(step.keys, silent.at) {
			until(t, "a look-up without an answer", func() bool { s, _ := a.looked(); return s.Error != "" })
		}
		if strings.Contains(step.keys, "mistyped") {
			until(t, "an answer that leads nowhere", func() bool {
				return strings.Contains(strings.Join(a.problems(), "\n"), "behind mistyped.test, type A; until there is, the servers from before are used")
			})
		}
		until(t, step.keys+step.ids, func() bool { return strings.Join(ids(a), " ") == step.ids })
	}
	// Another way to choose is another upstream, which begins with the servers that were found.
	if ok, err := a.change(origin(t, looked(n, "dns: app.test, type: A, port: 80"))); !ok || err != nil {
		t.Fatal(ok, err)
	}
	until(t, "found", func() bool { return strings.Join(ids(a), " ") == "127.64.1.1:80" })
	next, err := newApp(origin(t, looked(silent, "dns: app.test, type: A, port: 80")+"balance: {algorithm: random}\n"), a.o, a)
	if err != nil {
		t.Fatal(err)
	}
	defer next.close()
	if got := strings.Join(ids(next.backend.(*application)), " "); got != "127.64.1.1:80" {
		t.Errorf("it begins with %q", got)
	}
}

func TestWholeGatewayFromDNS(t *testing.T) {
	app := newInstance(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })
	_, port, _ := net.SplitHostPort(app.id())
	n := newNames(t, "app.test. 60 IN A 127.0.0.1")
	h := newHouse(t, deploy.LocalOptions{})
	us := h.network.Origin("us")
	us.App = origin(t, fmt.Sprintf("app: {discover: {servers: [%q], networks: [127.0.0.0/8], dns: app.test, type: A, port: %s}}\n", n.at, port)).App
	g, _ := h.run(t) // is ready when the name is known
	if res, body, err := fetch(t, h.edge(t, g), "/"); err != nil || res.StatusCode != 200 || body != "www.hither.test" {
		t.Errorf("%v %q, %v", res, body, err)
	}
	var x struct {
		App      string
		Discover *LookStatus
	}
	client := ops.Dial(h.state("origin-us"))
	if err := client.Get(deadline(t), "/v1/explain/origin?host=www.hither.test&target=/a", &x); err != nil {
		t.Fatal(err)
	}
	if x.App != "discover" || x.Discover == nil || !slices.Equal(x.Discover.Found, []string{"127.0.0.1:" + port}) {
		t.Errorf("%+v", x)
	}
}
