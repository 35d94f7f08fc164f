package server

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
	"hither/dns/steer"
)

// overloaded is a fleet in which iad has half as many clients again as it can take.
func overloaded(t *testing.T, servers, clients int) *fleetSim {
	f := newFleetSim(t, servers, clients)
	f.size = map[string]float64{"iad": float64(clients) / 1.5, "fra": 5000, "sin": 5000}
	return f
}

// noisy is how much a measured load is off; smoothed over 10 s it is about 3 %.
func noisy() func() float64 {
	random := rand.New(rand.NewPCG(1, 2))
	return func() float64 { return 1 + (random.Float64()-0.5)*0.3 }
}

// A server that starts anew while a PoP sheds takes over what the others send on within seconds, and the clients who came back meanwhile go
// again; nobody else moves.
func TestStartsAnew(t *testing.T) {
	f, noise := overloaded(t, 3, 600), noisy()
	for range 600 {
		f.step(noise)
	}
	sent, before := len(f.clients)-f.at("iad"), f.moves
	f.start(0)
	for n := 1; len(f.shares("iad")) != 1; n++ {
		if f.step(noise); n > 5 {
			t.Fatalf("after %d s the shares are %v", n, f.shares("iad"))
		}
	}
	for range 900 {
		if f.step(noise); f.load["iad"] > 1 || len(f.shares("iad")) != 1 {
			t.Fatalf("second %d: a load of %.2f with shares %v", f.second, f.load["iad"], f.shares("iad"))
		}
	}
	t.Logf("load %.2f, %d sent on, %d moves since the start", f.load["iad"], len(f.clients)-f.at("iad"), f.moves-before)
	if n := f.moves - before; n > 2*sent/3 { // a third asks this server, and goes there and back
		t.Errorf("%d moves, with %d clients sent on", n, sent)
	}
	if now := len(f.clients) - f.at("iad"); now != sent {
		t.Errorf("%d are sent on, and were %d", now, sent)
	}
}

// Shares that differ, as after a server was cut off from the hub for long, come together by steps while the load is right, and then nobody moves.
func TestComesTogether(t *testing.T) {
	f, noise := overloaded(t, 3, 600), noisy()
	for range 600 {
		f.step(noise)
	}
	share := f.servers[1].told.shareOf("iad")
	f.servers[0].told.pops["iad"].share = steer.Share{}
	for n := 0; len(f.shares("iad")) != 1; n++ {
		if f.step(noise); n > 600 || f.load["iad"] > 1.1 {
			t.Fatalf("after %d s the load is %.2f and the shares are %v", n, f.load["iad"], f.shares("iad"))
		}
	}
	t.Logf("together at second %d: %v, and the others had %.2f", f.second, f.shares("iad"), share)
	for range 120 {
		f.step(noise)
	}
	before := f.moves
	for range 900 {
		f.step(noise)
	}
	if l := f.load["iad"]; f.moves != before || l < 0.7 || l > 0.92 || len(f.shares("iad")) != 1 {
		t.Errorf("%d moves afterwards, a load of %.2f, shares %v", f.moves-before, l, f.shares("iad"))
	}
}

// A server that says of its shares what it likes has the others send on no more than the load bears, nothing at all of a PoP that is not loaded, and
// where there are three nothing but what the others do.
func TestPeerLies(t *testing.T) {
	most, rises := bus.Shed{Part: 0.9}, bus.Shed{Part: 0.9, Way: 1}
	for _, c := range []struct {
		what    string
		servers int
		lie     map[string]bus.Shed
	}{
		{"of two, most", 2, map[string]bus.Shed{"iad": most, "fra": most, "sin": most}},
		{"of two, rising", 2, map[string]bus.Shed{"iad": rises, "fra": rises, "sin": rises}},
		{"of two, none", 2, map[string]bus.Shed{}},
		{"of three, most", 3, map[string]bus.Shed{"iad": most, "fra": most, "sin": most}},
		{"of three, none", 3, map[string]bus.Shed{}},
		{"nonsense", 2, map[string]bus.Shed{"iad": {Part: 7}, "fra": {Part: -1}, "sin": {Part: 0.5, Way: 9}, "mars": {Part: 0.5}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			f, noise := overloaded(t, c.servers, 300), noisy()
			for range 300 {
				f.step(noise)
			}
			f.lies = map[string]map[string]bus.Shed{f.servers[c.servers-1].o.Name: c.lie}
			share, before := f.servers[0].told.shareOf("iad"), f.moves
			check := func(least, most float64) {
				t.Helper()
				if l := f.load["iad"]; l < least || l > most {
					t.Fatalf("second %d: a load of %.2f", f.second, l)
				}
				for _, s := range f.servers {
					if s.told.shareOf("fra") != 0 || s.told.shareOf("sin") != 0 {
						t.Fatalf("second %d: clients are sent away from PoPs that have room", f.second)
					}
				}
			}
			for range 300 {
				f.step(noise)
				check(0.6, 1) // the band, and a step and noise beside it
			}
			if now := f.servers[0].told.shareOf("iad"); c.servers > 2 && (now != share || f.moves != before) {
				t.Errorf("the share was %v and is %v; %d moves", share, now, f.moves-before)
			}
			f.start(0)
			for range 10 {
				f.step(noise)
				if now := f.servers[0].told.shareOf("iad"); now > 1-0.5/1.1 || c.servers > 2 && now > share {
					t.Fatalf("a server that begins has a share of %.2f, and had %.2f", now, share)
				}
			}
			for range 300 {
				f.step(noise)
				check(0.5, 1.1) // as it would be if nobody told it anything
			}
			if l := f.load["iad"]; l < 0.6 || l > 0.95 {
				t.Errorf("at the end the load is %.2f", l)
			}
		})
	}
}

// A server says its shares when it has some of its own, and hears of those that the network has.
func TestPeers(t *testing.T) {
	f := overloaded(t, 2, 9)
	s, now := f.servers[0], f.now[0]
	said := func() *bus.Sheds {
		var r bus.Report
		s.FillReport(&r)
		return r.Sheds
	}
	hear := func(name string, sheds *bus.Sheds) {
		s.hearPeer(name, bus.Encode(bus.Report{State: "ready", Sheds: sheds}))
	}
	share := func() float64 { s.tick(); return s.told.shareOf("iad") }
	three := &bus.Sheds{PoPs: map[string]bus.Shed{"iad": {Part: 0.3, Way: 1}}}
	if said() != nil {
		t.Error("it has heard nobody, and says shares")
	}
	hear("ns1", three) // itself, as another process had it
	hear("ns9", three) // nobody's
	hear("ns2", nil)   // which has just begun as well
	if share() != 0 {
		t.Errorf("a share of %v", share())
	}
	hear("ns2", three)
	if share() != 0 {
		t.Errorf("without a load: a share of %v", share())
	}
	s.toldReport("iad", bus.Report{State: "ready", Load: 0.8})
	if share() != 0.3 || said() != nil {
		t.Errorf("a share of %v; it says %v", share(), said())
	}
	*now = now.Add(newTime)
	if got := said(); got == nil || len(got.PoPs) != 1 || got.PoPs["iad"] != three.PoPs["iad"] {
		t.Errorf("it says %+v", got)
	}
	hear("ns2", &bus.Sheds{})
	if s.tick(); s.told.shareOf("iad") == 0 {
		t.Error("another's word takes a share away at once")
	}
	// After a silence it begins anew.
	*now = now.Add(fresh + time.Second)
	s.tick()
	hear("ns2", &bus.Sheds{PoPs: map[string]bus.Shed{"iad": {Part: 0.4}}})
	s.toldReport("iad", bus.Report{State: "ready", Load: 0.8})
	if share() != 0.4 || said() != nil {
		t.Errorf("after a silence: a share of %v; it says %v", share(), said())
	}
	for range 50 {
		s.hearPeer("ns2", []byte("garbage"))
	}
	metrics := dnsMetrics(s)
	for _, want := range []string{
		`hither_dns_peers_total{name="ns2",node="dns-ns1",result="taken"} 4`, `hither_dns_peers_total{name="ns2",node="dns-ns1",result="garbage"}`,
		`hither_dns_peers_total{name="ns2",node="dns-ns1",result="flood"}`, `hither_dns_peers_total{name="other",node="dns-ns1",result="stranger"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
}
