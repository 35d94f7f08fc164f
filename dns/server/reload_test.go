package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/dns/geo"
)

// A folder holds the files that testdata/reload.yaml names.
type folder struct {
	t    *testing.T
	dir  string
	file string // the network file
}

func newFolder(t *testing.T) *folder {
	f := &folder{t: t, dir: t.TempDir()}
	f.file = strings.NewReplacer("@ZONE@", f.path("zone"), "@DATABASE@", f.path("db")).Replace(testdata(t, "reload.yaml"))
	f.zone(0)
	f.places(0)
	return f
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// put replaces a file by renaming another, as careful writers do.
func (f *folder) put(name string, data []byte) {
	f.t.Helper()
	if err := errors.Join(os.WriteFile(f.path("new"), data, 0o600), os.Rename(f.path("new"), f.path(name))); err != nil {
		f.t.Fatal(err)
	}
}

// zone writes a zone file that tells which it is.
func (f *folder) zone(version int) { f.put("zone", fmt.Appendf(nil, "version 60 TXT %d\n", version)) }

var europe, asia = geo.Point{Lat: 50, Lon: 8}, geo.Point{Lat: 1, Lon: 104}

// places writes a database in which clients of 128.0.0.0/1 are in Europe, or with an odd version in Asia.
func (f *folder) places(version int) {
	if version%2 == 0 {
		f.put("db", database(asia, europe))
	} else {
		f.put("db", database(europe, asia))
	}
}

// reload takes the file, without what `hither` checks before.
func (f *folder) reload(h *house) error {
	n := parsed(f.t, f.file)
	n.DNS.Servers[0].Port, n.DNS.Servers[0].Metrics = h.network.DNS.Servers[0].Port, 0
	err := h.server.Reload(n)
	if err != nil {
		h.server.Refuse(err)
	}
	return err
}

// A clientele asks all the time, one question after the other on each connection, and knows what may be answered.
type clientele struct {
	mu     sync.Mutex
	oldest int // version that an answer to a question of now may have
	newest int // that any answer may have
	asked  int
	wrong  []error
}

func (c *clientele) allow(oldest, newest int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.oldest, c.newest = oldest, newest
}

func (c *clientele) begin() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.oldest
}

func (c *clientele) ask(ctx context.Context, over, addr string) {
	conn, err := dns.DialTimeout(over, addr, 5*time.Second)
	if err != nil {
		c.note(err)
		return
	}
	defer conn.Close()
	for ctx.Err() == nil {
		for _, q := range []*dns.Msg{versionQuestion(), placeQuestion()} {
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			oldest := c.begin()
			if err := conn.WriteMsg(q); err != nil {
				c.note(err)
				return
			}
			m, err := conn.ReadMsg()
			if err != nil {
				c.note(fmt.Errorf("a question over %s is lost: %w", over, err))
				return
			}
			c.judge(m, oldest)
		}
	}
}

func (c *clientele) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, err)
}

func (c *clientele) judge(m *dns.Msg, oldest int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if v, ok := versionOf(m); !ok || v >= 0 && (v < oldest || v > c.newest) {
		c.wrong = append(c.wrong, fmt.Errorf("allowed: %d to %d, answered: %v", oldest, c.newest, m.Answer))
	}
}

func versionQuestion() *dns.Msg {
	m := new(dns.Msg)
	return m.SetQuestion("version.hither.test.", dns.TypeTXT)
}

func placeQuestion() *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion("www.hither.test.", dns.TypeA)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IP{200, 1, 1, 0}}}
	return m
}

// versionOf is the zone's version that an answer has; -1 for one with a PoP.
func versionOf(m *dns.Msg) (v int, ok bool) {
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
		return 0, false
	}
	switch rr := m.Answer[0].(type) {
	case *dns.TXT:
		_, err := fmt.Sscan(rr.Txt[0], &v)
		return v, err == nil
	case *dns.A:
		return -1, popOf(m) != ""
	}
	return 0, false
}

func popOf(m *dns.Msg) string {
	if len(m.Answer) != 1 {
		return ""
	}
	return map[string]string{"127.53.1.1": "fra", "127.53.1.3": "sin"}[m.Answer[0].(*dns.A).A.String()]
}

// holds asks the server itself for what it must have now.
func (h *house) holds(t *testing.T, version int) {
	t.Helper()
	if v, ok := versionOf(h.server.ask(t, versionQuestion(), "192.0.2.1")); !ok || v != version {
		t.Fatalf("version %d is answered, want %d", v, version)
	}
	m := h.server.ask(t, placeQuestion(), "192.0.2.1")
	if want := []string{"fra", "sin"}[version%2]; popOf(m) != want || subnetOf(m).SourceScope != 1 {
		t.Fatalf("version %d: %v, want %s", version, m, want)
	}
}

func TestReload(t *testing.T) {
	f := newFolder(t)
	h := newHouse(t, f.file)
	h.holds(t, 0)
	c := new(clientele)
	c.allow(0, 0)
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	for _, over := range []string{"udp", "tcp", "udp", "tcp"} {
		loops.Go(func() { c.ask(ctx, over, h.addr) })
	}
	const good = 200
	for v := 1; v <= good; v++ {
		f.zone(v)
		f.places(v)
		c.allow(v-1, v)
		if err := f.reload(h); err != nil {
			t.Fatal(err)
		}
		c.allow(v, v)
		h.holds(t, v)
	}
	if n := h.server.Status().Nodes[0]; n.Revision != good+1 || n.Refused != nil {
		t.Errorf("%+v", n)
	}

	// What cannot be taken is refused, and said so; the answers stay.
	whole := database(europe, asia)
	bad := []struct {
		what string
		do   func()
		want string
	}{
		{"a mistake in the zone file", func() { f.put("zone", []byte("version 60 TXT 999\nwww 60 CNAME x\nx 60 A 192.0.2.256\n")) }, f.path("zone") + ":3: "},
		{"no zone file", func() { os.Remove(f.path("zone")) }, "no such file"},
		{"a folder", func() { os.Mkdir(f.path("zone"), 0o700) }, "is not a file"},
		{"a database cut in place", func() {
			os.Remove(f.path("zone"))
			f.zone(999)
			if err := os.Truncate(f.path("db"), int64(len(whole)/2)); err != nil {
				t.Error(err)
			}
		}, "dns.geo.database: geo: reading mmdb"},
		{"an empty one", func() { os.Truncate(f.path("db"), 0) }, "dns.geo.database: geo: reading mmdb"},
		{"another file in its place", func() { f.put("db", []byte(strings.Repeat("no database\n", 1000))) }, "dns.geo.database: geo: reading mmdb"},
		{"a database whose tree points beyond it", func() {
			wrong := append([]byte(nil), whole...)
			wrong[0] = 0xff
			f.put("db", wrong)
		}, "dns.geo.database: geo: reading mmdb"},
		{"no database", func() { os.Remove(f.path("db")) }, "no such file"},
	}
	for _, b := range bad {
		b.do()
		err := f.reload(h)
		if err == nil || !strings.Contains(err.Error(), b.want) {
			t.Errorf("%s: %v, want %q", b.what, err, b.want)
			continue
		}
		h.holds(t, good)
		n := h.server.Status().Nodes[0]
		if n.Revision != good+1 || n.Refused == nil || !strings.Contains(*n.Refused, b.want) || len(n.Problems) != 1 {
			t.Errorf("%s: status %+v", b.what, n)
		}
	}

	// Mended, it is taken.
	f.zone(good + 1)
	f.places(good + 1)
	c.allow(good, good+1)
	if err := f.reload(h); err != nil {
		t.Fatal(err)
	}
	h.holds(t, good+1)
	if n := h.server.Status().Nodes[0]; n.Refused != nil || len(n.Problems) != 0 {
		t.Errorf("%+v", n)
	}
	cancel()
	loops.Wait()
	for _, err := range c.wrong[:min(len(c.wrong), 5)] {
		t.Error(err)
	}
	if c.asked < 2000 {
		t.Errorf("%d questions only", c.asked)
	}
	t.Logf("%d questions", c.asked)
}

// What the sockets need waits for the next start, and the status names it.
func TestReloadSockets(t *testing.T) {
	h := newHouse(t, localFile(t))
	n := parsed(t, localFile(t))
	conf := &n.DNS.Servers[0]
	conf.Port, conf.Metrics = h.network.DNS.Servers[0].Port+1, 0
	conf.Addresses = append(conf.Addresses, addr("127.53.0.9"))
	if err := h.server.Reload(n); err != nil {
		t.Fatal(err)
	}
	want := "changed in the network file, in effect at the next start: addresses, port"
	if got := h.server.Status().Nodes[0].Problems; len(got) != 1 || got[0] != want {
		t.Errorf("%q", got)
	}
	if m := asksUDP(t, h.addr, "www.hither.test."); len(m.Answer) != 1 {
		t.Error(m)
	}
	gone := *n
	gone.DNS.Servers = nil
	if err := h.server.Reload(&gone); err == nil {
		t.Error("a file without this server was taken")
	}
}

// Probes go on over a reload; a PoP that is no more leaves nothing behind.
func TestReloadKeepsHealth(t *testing.T) {
	s := bare(t, localFile(t))
	fails := func(pop string) {
		for _, target := range s.world.Load().targets {
			if target.pop == pop {
				s.probed(target, errors.New("connection refused"))
			}
		}
	}
	fra := func() string {
		return popOf(s.ask(t, new(dns.Msg).SetQuestion("www.hither.test.", dns.TypeA), "127.0.0.1"))
	}
	for range 3 {
		fails("fra")
	}
	fails("iad")
	if fra() == "fra" {
		t.Fatal("fra is down")
	}
	again := func(change func(n *deploy.Network)) {
		t.Helper()
		n := parsed(t, localFile(t))
		change(n)
		if err := s.Reload(n); err != nil {
			t.Fatal(err)
		}
	}
	again(func(*deploy.Network) {})
	if fra() == "fra" {
		t.Error("a reload forgot that fra is down")
	}
	fails("iad")
	fails("iad")
	if !strings.Contains(strings.Join(s.Status().Nodes[0].Problems, "\n"), "PoP iad is down at 127.53.1.2:8443: connection refused") {
		t.Error("a reload began to count anew", s.Status().Nodes[0].Problems)
	}
	again(func(n *deploy.Network) { n.DNS.Probe.Fall = 5 })
	if fra() != "fra" {
		t.Error("other counts begin anew")
	}
	if !strings.Contains(page(s), `hither_pop_up{node="dns-ns1",pop="sin"} 1`) {
		t.Error("sin is not up")
	}
	again(func(n *deploy.Network) {
		n.PoPs = n.PoPs[:2]
		n.DNS.Unknown = nil
		n.DNS.Geo.Prefixes = nil
	})
	if strings.Contains(page(s), `pop="sin"} 1`) {
		t.Error("sin is gone, and still up")
	}
}

// A PoP that a network file adds is in no answer until its first probes succeed, unless no other is up either.
func TestReloadAddsPoP(t *testing.T) {
	s := bare(t, localFile(t))
	without := parsed(t, localFile(t))
	for i := range without.PoPs {
		if without.PoPs[i].Name == "fra" {
			without.PoPs = slices.Delete(without.PoPs, i, i+1)
			break
		}
	}
	without.DNS.Unknown, without.DNS.Geo.Prefixes = nil, nil
	seen := func(pop string, err error, times int) {
		for _, target := range s.world.Load().targets {
			for range times {
				if target.pop == pop {
					s.probed(target, err)
				}
			}
		}
	}
	fra := func() bool {
		return popOf(s.ask(t, new(dns.Msg).SetQuestion("www.hither.test.", dns.TypeA), "127.0.0.1")) == "fra"
	}
	if !fra() {
		t.Fatal("at the start what was never asked is up")
	}
	for _, n := range []*deploy.Network{without, parsed(t, localFile(t))} {
		if err := s.Reload(n); err != nil {
			t.Fatal(err)
		}
	}
	if fra() {
		t.Error("a PoP that was never seen is in answers")
	}
	if problems := strings.Join(s.Status().Nodes[0].Problems, "\n"); !strings.Contains(problems, "not seen up yet") {
		t.Error("status does not say why:", problems)
	}
	seen("fra", nil, 1)
	if fra() {
		t.Error("one probe is not enough")
	}
	seen("fra", nil, 1)
	if !fra() {
		t.Error("it was seen up, and is in no answer")
	}
	for _, n := range []*deploy.Network{without, parsed(t, localFile(t))} {
		seen("iad", errors.New("connection refused"), 3)
		seen("sin", errors.New("connection refused"), 3)
		if err := s.Reload(n); err != nil {
			t.Fatal(err)
		}
	}
	if !fra() {
		t.Error("where none is up all are")
	}
	slower := parsed(t, localFile(t))
	for _, pop := range []string{"fra", "iad", "sin"} {
		seen(pop, nil, 3)
	}
	slower.DNS.Probe.Interval *= 2
	if err := s.Reload(slower); err != nil {
		t.Fatal(err)
	}
	if problems := s.Status().Nodes[0].Problems; len(problems) > 0 {
		t.Error("an address that is asked less often from now on is none that is new:", problems)
	}
}

// Files taken at once, or after the end, leave nothing running.
func TestReloadAtOnce(t *testing.T) {
	h := newHouse(t, testdata(t, "alias.yaml"))
	var loops sync.WaitGroup
	for i := range 8 {
		n := parsed(t, []string{testdata(t, "alias.yaml"), strings.Replace(testdata(t, "alias.yaml"), "gone.example.net", "new.example.net", 1)}[i%2])
		loops.Go(func() {
			for range 10 {
				h.server.Reload(n)
				h.server.Status()
			}
		})
	}
	loops.Wait()
	w := h.server.world.Load()
	running := 0
	h.server.aliases.mu.Lock()
	for _, name := range w.aliases {
		if h.server.aliases.known[aliasKey{name, dns.TypeA}] != nil {
			running++
		}
	}
	if running != len(w.aliases) || len(h.server.aliases.known) != 2*running {
		t.Errorf("%d of %v are looked up, and %d in all", running, w.aliases, len(h.server.aliases.known))
	}
	h.server.aliases.mu.Unlock()
	h.stop(t)
	if err := h.server.Reload(parsed(t, testdata(t, "alias.yaml"))); err != nil {
		t.Error(err)
	}
}
