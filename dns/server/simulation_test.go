package server

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	dto "github.com/prometheus/client_model/go"

	"hither/deploy/fleet/bus"
)

const simulatedTTL = 5 // seconds

// A fleet is DNS servers and clients in a time of its own: each client asks one server when its answer is TTL seconds old, edges report
// every two seconds to all servers, and a load is smoothed over ten. A step is a second.
type fleetSim struct {
	t       *testing.T
	file    string
	servers []*Server
	now     []*time.Time
	clients []simClient
	size    map[string]float64 // how many clients are a PoP's full load
	rtt     map[string]float64 // of all clients to a PoP
	load    map[string]float64
	lies    map[string]map[string]bus.Shed // what a server says of its shares in place of the truth
	second  int
	moves   int // clients that went from one PoP to another
}

type simClient struct {
	prefix netip.Prefix
	server int
	pop    string
	moved  int
}

func newFleetSim(t *testing.T, servers, clients int) *fleetSim {
	f := &fleetSim{t: t, load: make(map[string]float64)}
	file := localFile(t)
	for _, change := range []struct{ from, to string }{{"ttl: 30s", fmt.Sprintf("ttl: %ds", simulatedTTL)}, {"198.51.0.0/20: {", "10.0.0.0/8: {"}} {
		if !strings.Contains(file, change.from) {
			t.Fatalf("no %s in the network file", change.from)
		}
		file = strings.Replace(file, change.from, change.to, 1)
	}
	var all []string
	for i := range servers {
		all = append(all, fmt.Sprintf("{name: ns%d, addresses: [192.0.2.%d]}", i+1, i+1))
	}
	f.file = regexp.MustCompile(`(?m)^  servers: \[.*\]`).ReplaceAllLiteralString(file, "  servers: ["+strings.Join(all, ", ")+"]")
	f.servers, f.now = make([]*Server, servers), make([]*time.Time, servers)
	for i := range servers {
		f.start(i)
	}
	for i := range clients {
		f.clients = append(f.clients, simClient{prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24), server: i / simulatedTTL % servers})
	}
	return f
}

// start starts a server, or starts it anew.
func (f *fleetSim) start(i int) {
	f.t.Helper()
	s, now := clocked(f.t, f.file)
	if f.now[i] != nil {
		*now = *f.now[i]
	}
	s.o.Name, s.told = fmt.Sprintf("ns%d", i+1), nil
	s.take(s.world.Load(), func() {})
	f.servers[i], f.now[i] = s, now
}

// shares are those of a PoP at all servers.
func (f *fleetSim) shares(pop string) map[float64]bool {
	all := make(map[float64]bool)
	for _, s := range f.servers {
		all[s.told.shareOf(pop)] = true
	}
	return all
}

// step is one second. noise is how much a measured load is off.
func (f *fleetSim) step(noise func() float64) {
	f.t.Helper()
	f.second++
	for i, s := range f.servers {
		*f.now[i] = f.now[i].Add(time.Second)
		s.tick()
	}
	at := make(map[string]float64)
	prefixes := make(map[string][]bus.PrefixRTT)
	for i := range f.clients {
		c := &f.clients[i]
		if i%simulatedTTL == f.second%simulatedTTL {
			before := c.pop
			if c.pop = f.ask(c); before != "" && before != c.pop {
				c.moved++
				f.moves++
			}
		}
		at[c.pop]++
		if ms := f.rtt[c.pop]; ms > 0 {
			prefixes[c.pop] = append(prefixes[c.pop], bus.PrefixRTT{Prefix: c.prefix, MS: ms, Samples: 2})
		}
	}
	for _, pop := range slices.Sorted(maps.Keys(f.size)) { // noise is drawn in that order, so that a seed is a run
		f.load[pop] += (at[pop]/f.size[pop]*noise() - f.load[pop]) * (1 - math.Exp(-0.1))
	}
	if f.second%2 != 0 {
		return
	}
	for _, s := range f.servers {
		for pop := range f.size {
			s.toldReport(pop, bus.Report{State: "ready", Load: f.load[pop]})
		}
		for pop, list := range prefixes {
			for part := range slices.Chunk(list, bus.MostPrefixes) {
				s.toldRTT(pop, part)
			}
		}
		for i, peer := range f.servers {
			r := bus.Report{State: "ready", Sheds: peer.told.sheds(*f.now[i])}
			if lie := f.lies[peer.o.Name]; lie != nil {
				r.Sheds = &bus.Sheds{PoPs: lie}
			}
			s.hearPeer(peer.o.Name, bus.Encode(r))
		}
	}
}

// ask is what a client's resolver does.
func (f *fleetSim) ask(c *simClient) string {
	f.t.Helper()
	s := f.servers[c.server]
	w := s.world.Load()
	m := wireAnswer(f.t, s, "www.hither.test.", dns.TypeA, c.prefix, addr("192.0.2.1"))
	if len(m.Answer) != 1 {
		f.t.Fatalf("%v", m)
	}
	got, _ := netip.AddrFromSlice(m.Answer[0].(*dns.A).A.To4())
	for i := range w.pops.list {
		if slices.Contains(w.pops.list[i].v4, got) {
			return w.pops.list[i].name
		}
	}
	f.t.Fatalf("%s is of no PoP", got)
	return ""
}

func (f *fleetSim) at(pop string) (n int) {
	for i := range f.clients {
		if f.clients[i].pop == pop {
			n++
		}
	}
	return n
}

// moved is what hither_dns_moves_total says of a server.
func movesOf(s *Server, pop, reason string) int {
	var m dto.Metric
	s.count.moves.WithLabelValues(pop, reason).Write(&m)
	return int(m.GetCounter().GetValue())
}

func exact() float64 { return 1 }

// iad is next door to clients in New York by the map, and behind a slow path: it loses them within three TTLs and ten seconds, by nothing
// but its own word; they come back only to explore, and nothing flaps for hours.
func TestFartherInTime(t *testing.T) {
	f := newFleetSim(t, 2, 60)
	f.rtt = map[string]float64{"iad": 40, "fra": 90, "sin": 240}
	for range 60 {
		f.step(exact)
	}
	if n := f.at("iad"); n != len(f.clients) || f.moves > 0 {
		t.Fatalf("%d of %d clients are at iad, by a good path", n, len(f.clients))
	}
	f.rtt["iad"] = 200
	lost := 0
	for lost = 1; f.at("iad") > 0 && lost < 1000; lost++ {
		f.step(exact)
	}
	t.Logf("iad lost its clients in %d s", lost)
	if lost > 3*simulatedTTL+10 {
		t.Errorf("iad has lost its clients after %d s", lost)
	}
	if n := f.at("fra"); n != len(f.clients) {
		t.Errorf("%d of %d are at fra", n, len(f.clients))
	}
	for range quietSeconds {
		f.step(exact)
	}
	for i, s := range f.servers {
		if away, back := movesOf(s, "fra", "away"), movesOf(s, "iad", "away")+movesOf(s, "iad", "report")+movesOf(s, "iad", "aged"); away != len(f.clients) || back != 0 {
			t.Errorf("server %d: %d prefixes moved away from iad, %d came back", i, away, back)
		}
	}
	explored := movesOf(f.servers[0], "iad", "explore")
	if most := 1 + 2*explored; f.moves > len(f.clients)*most || explored == 0 || explored > 2*len(f.clients) {
		t.Errorf("%d moves of clients, %d of them to explore", f.moves, explored)
	}
	for i := range f.clients {
		if n := f.clients[i].moved; n > 1+2*2 { // once, and at most twice in two hours there and back
			t.Errorf("client %d moved %d times", i, n)
		}
	}
}

// iad has half as many clients again as it can take. It sends on what it must, on all servers the same clients, and then nobody moves, though
// loads are measured with noise; when a third of the clients leave for good, it has the rest back.
func TestOverload(t *testing.T) {
	noise := noisy()
	f := overloaded(t, 3, 1500/overloadScale)
	for range 900 {
		f.step(noise)
		if shares := f.shares("iad"); len(shares) != 1 {
			t.Fatalf("second %d: servers have shares %v", f.second, shares)
		}
	}
	share := f.servers[0].told.shareOf("iad")
	t.Logf("load %.2f, share %.2f, %d moves", f.load["iad"], share, f.moves)
	if l := f.load["iad"]; l < 0.7 || l > 0.92 {
		t.Errorf("after 15 minutes the load is %.2f", l)
	}
	sent := len(f.clients) - f.at("iad")
	if sent < 500/overloadScale || sent > 800/overloadScale || f.at("sin") > 0 { // at load 1 it would be 500, at 0.7 800
		t.Errorf("%d of %d are sent on, %d as far as sin", sent, len(f.clients), f.at("sin"))
	}
	if f.moves > sent+sent/20 {
		t.Errorf("%d moves to send %d on", f.moves, sent)
	}
	before := f.moves
	for range 900 {
		f.step(noise)
	}
	if f.moves != before {
		t.Errorf("%d moves while nothing changed", f.moves-before)
	}
	f.clients = f.clients[:600/overloadScale]
	for range 900 {
		f.step(noise)
	}
	if n, back := f.at("iad"), f.moves-before; n != len(f.clients) || back > len(f.clients) {
		t.Errorf("%d of %d are at iad, with %d moves", n, len(f.clients), back)
	}
}
