package steer

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hither/dns/geo"
)

// three are PoPs near, not so near, and far from frankfurt.
func three(t testing.TB) *Snapshot {
	t.Helper()
	s, err := New([]PoP{
		{Name: "fra", At: geo.Point{Lat: 50.11, Lon: 8.68}, V4: Up, V6: Up, Weight: 1},
		{Name: "lhr", At: geo.Point{Lat: 51.47, Lon: -0.45}, V4: Up, V6: Up, Weight: 1},
		{Name: "iad", At: geo.Point{Lat: 38.95, Lon: -77.45}, V4: Up, V6: Up, Weight: 1},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// in says that all clients are at a place.
func in(p geo.Point) func(netip.Addr) geo.Found {
	return func(netip.Addr) geo.Found { return geo.Found{Source: geo.SourceMMDB, Point: p} }
}

var berlin = geo.Point{Lat: 52.52, Lon: 13.4}

// numbered is the /24 with a number.
func numbered(n int) netip.Prefix { return prefixOf(uint64(n), false) }

// A thief of iad's identity claims, for all the world, as little as light allows. It gets a twentieth of the prefixes in any minute and no
// more, whatever it makes up to be known; who moves away from it needs nobody's leave.
func TestPullIsBounded(t *testing.T) {
	const known = 2000
	now := timesStart
	var at []time.Time // when a prefix changed to iad
	away := 0
	x := NewTimes(three(t), in(berlin), 10*known, func(pop string, why Move) {
		switch {
		case why == MoveExplore:
		case pop == "iad" && why == MoveReport:
			at = append(at, now)
		case pop == "lhr" && why == MoveAway:
			away++
		default:
			t.Errorf("%s %s", pop, why)
		}
	})
	var honest, claims, invented []Sample
	for n := range known {
		honest = append(honest, Sample{numbered(n), 55, 5})
		claims = append(claims, Sample{numbered(n), 45, 1000})
		invented = append(invented, Sample{numbered(1<<20 + n), 45, 1000})
	}
	for i := range x.pops[:1] {
		if l := x.Report(i, honest, now); l.Taken != known {
			t.Fatalf("%+v", l)
		}
	}
	if away != known {
		t.Errorf("%d of %d clients of fra went to lhr, for which the map lets expect less than half", away, known)
	}
	away = 0
	claims = append(claims, invented...)
	x.Report(1, honest, now) // lhr is not better: all that is left is iad's word against theirs
	for range 400 {
		x.Report(2, claims, now)
		x.Sweep(now)
		x.View(now)
		now = now.Add(time.Second)
	}
	for i, first := range at {
		n := 0
		for _, later := range at[i:] {
			if later.Sub(first) < time.Minute {
				n++
			}
		}
		if n > known/20 {
			t.Fatalf("%d of %d prefixes changed to iad within a minute", n, known)
		}
	}
	if len(at) < known/20*6 || len(at) > known/20*7 {
		t.Errorf("%d changed in 400 s", len(at))
	}
}

// Where few prefixes are known one a minute may change.
func TestPullOfFew(t *testing.T) {
	now := timesStart
	var at []time.Time
	x := NewTimes(three(t), in(berlin), 0, func(pop string, why Move) {
		if why == MoveReport {
			at = append(at, now)
		}
	})
	for n := range 5 {
		x.Report(0, []Sample{{numbered(n), 22, 5}}, now)
		x.Report(1, []Sample{{numbered(n), 12, 5}}, now)
	}
	for range 6 * 60 {
		now = now.Add(time.Second)
		x.Sweep(now)
	}
	if len(at) != 5 {
		t.Fatalf("%d have moved", len(at))
	}
	for i := range at[1:] {
		if at[i+1].Sub(at[i]) < time.Minute {
			t.Errorf("moved at %v", at)
		}
	}
}

// A PoP that comes to be second has its clients by what the map says, and not by its own word.
func TestSecondIsNoPlaceToLie(t *testing.T) {
	x := NewTimes(three(t), in(berlin), 0, nil)
	x.Report(0, []Sample{{numbered(1), 20, 5}}, timesStart)
	x.Report(2, []Sample{{numbered(1), 45, 500}}, timesStart) // after fra, and before lhr if lhr had 90
	x.Report(1, []Sample{{numbered(1), 90, 5}}, timesStart)
	r := x.of(1)
	if !slices.Equal(r.list[:3], []int16{0, 1, 2}) {
		t.Errorf("%v", r.list)
	}
}

// Who tells of too many prefixes gives up its own.
func TestRoomIsShared(t *testing.T) {
	const most = 1000
	x := NewTimes(three(t), in(berlin), most, nil)
	flood := func(pop, from, n int) (l Learned) {
		for i := range n {
			one := x.Report(pop, []Sample{{numbered(from + i), 60, 5}}, timesStart)
			l.Taken += one.Taken
			l.Full += one.Full
		}
		return l
	}
	if l := flood(2, 0, 5*most); l.Taken != most || l.Full != 4*most {
		t.Errorf("alone: %+v", l)
	}
	if l := flood(0, 1<<20, most); l.Taken != most/2 || l.Full != most/2 {
		t.Errorf("of two: %+v", l)
	}
	if l := flood(1, 1<<21, most/5); l.Taken != most/5 || l.Full != 0 {
		t.Errorf("of three: %+v", l)
	}
	if x.Len() != most || len(x.records) != most {
		t.Errorf("%d prefixes, %d records", x.Len(), len(x.records))
	}
	brought := 0
	for i := range x.pops {
		brought += x.pops[i].brought
	}
	if brought != most {
		t.Errorf("%d were brought", brought)
	}
}

// A hundredth of the prefixes explores at a time, all of them once in a hundred slices, and all servers have the same at the same time.
func TestExploring(t *testing.T) {
	const known = 5000
	s := three(t)
	servers := []*Times{NewTimes(s, in(berlin), 0, nil), NewTimes(s, in(berlin), 0, nil)}
	for i, x := range servers {
		for n := range known {
			if i == 1 {
				n = known - 1 - n // heard in another order
			}
			x.Report(0, []Sample{{numbered(n), 20, 5}}, timesStart)
		}
	}
	explored := make(map[int]int)
	for slice := range exploreOf {
		now := timesStart.Add(time.Duration(slice) * exploreSlice)
		var first []int
		for i, x := range servers {
			v, changed := x.View(now)
			if !changed {
				t.Fatalf("slice %d: no other View", slice)
			}
			if _, changed := x.View(now.Add(exploreSlice - time.Second)); changed {
				t.Error("it changed within the slice")
			}
			var list []int
			for n := range known {
				a := s.With(v).Pick(Question{Client: numbered(n), Found: in(berlin)(netip.Addr{}), Family: 4}, nil)
				if a.Reason == ReasonExplore && a.PoPs[0] == 1 {
					list = append(list, n)
				} else if a.PoPs[0] != 0 {
					t.Fatalf("%d gets %+v", n, a)
				}
			}
			if i == 1 && !slices.Equal(first, list) {
				t.Errorf("slice %d: %v and %v", slice, first, list)
			}
			first = list
		}
		about(t, fmt.Sprintf("slice %d", slice), len(first), known, 0.01)
		for _, n := range first {
			explored[n]++
		}
	}
	for n := range known {
		if explored[n] != 1 {
			t.Errorf("%d explored %d times", n, explored[n])
		}
	}
	// The second is too far to try.
	far := NewTimes(s, in(geo.Point{Lat: 21, Lon: -158}), 0, nil)
	for n := range 500 {
		far.Report(2, []Sample{{numbered(n), 60, 5}}, timesStart)
	}
	if v, _ := far.View(timesStart); v.Len() != 0 {
		t.Errorf("%d explore a PoP that is 100 ms farther", v.Len())
	}
}

// A new network file may have other PoPs, in another order.
func TestUseOthers(t *testing.T) {
	x := NewTimes(three(t), in(berlin), 0, nil)
	x.Report(0, []Sample{{numbered(1), 90, 5}}, timesStart)
	x.Report(1, []Sample{{numbered(1), 12, 5}, {numbered(2), 12, 5}}, timesStart)
	next, err := New([]PoP{
		{Name: "ams", At: geo.Point{Lat: 52.3, Lon: 4.8}, V4: Up, Weight: 1},
		{Name: "fra", At: geo.Point{Lat: 50.11, Lon: 8.68}, V4: Up, Weight: 1},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	x.Use(next, in(berlin), timesStart)
	if x.Len() != 1 {
		t.Errorf("%d prefixes", x.Len())
	}
	v, _ := x.View(timesStart)
	a := next.With(v).Pick(Question{Client: numbered(1), Found: in(berlin)(netip.Addr{}), Family: 4, Answers: 9}, nil)
	if !slices.Equal(a.PoPs, []int{0, 1}) || a.Reason != ReasonRTT {
		t.Errorf("%+v", a)
	}
	x.Report(1, []Sample{{numbered(1), 12, 300}}, timesStart)
	if x.Sights(numbered(1), timesStart)[1].PoP != "fra" {
		t.Errorf("%+v", x.Sights(numbered(1), timesStart))
	}
}

// Whatever is measured: what Explain tells is what Pick answers, every PoP once, and an answer is the same for every address that its scope holds.
func TestScopeHoldsWithTimes(t *testing.T) {
	points := []geo.Point{berlin, {Lat: 40, Lon: -75}}
	rapid.Check(t, func(t *rapid.T) {
		pops := drawPoPs(t)
		place := func(a netip.Addr) geo.Found {
			if a.Is4() && a.As4()[1] >= 128 {
				return geo.Found{Source: geo.SourceMMDB, Point: points[1], Bits: 9}
			}
			f := geo.Found{Source: geo.SourceMMDB, Point: points[0], Bits: 9}
			if a.Is6() {
				f.Bits = 0
			}
			return f
		}
		s := prepare(t, pops)
		x := NewTimes(s, place, 50, nil)
		now := timesStart
		base := rapid.SampledFrom([]string{"10.0.0.0/24", "10.127.255.0/24", "10.128.0.0/24", "2001:db8::/48"}).Draw(t, "base")
		near := func(label string) netip.Prefix {
			k, six, _ := keyOf(netip.MustParsePrefix(base))
			return prefixOf(k^rapid.Uint64Range(0, 15).Draw(t, label)^rapid.SampledFrom([]uint64{0, 0, 1 << 8, 1 << 15}).Draw(t, label), six)
		}
		for range rapid.IntRange(0, 30).Draw(t, "reports") {
			if len(pops) > 0 {
				x.Report(rapid.IntRange(0, len(pops)-1).Draw(t, "by"), []Sample{{near("prefix"), rapid.Float64Range(1, 300).Draw(t, "ms"), 5}}, now)
			}
			now = now.Add(time.Second)
		}
		v, changed := x.View(now)
		if !changed {
			t.Fatal("no View")
		}
		s = s.With(v)
		q := drawQuestion(t, pops)
		q.Client = near("client")
		if rapid.Bool().Draw(t, "less told") {
			q.Client = netip.PrefixFrom(q.Client.Addr(), rapid.IntRange(10, q.Client.Bits()).Draw(t, "told")).Masked()
		}
		q.Found = place(q.Client.Addr())
		d, a := s.Explain(q), s.Pick(q, nil)
		if !slices.Equal(a.PoPs, d.PoPs) || a.Reason != d.Reason || a.TimeBits != d.TimeBits {
			t.Fatalf("picked %+v, explained %+v", a, d.Answer)
		}
		if len(d.Candidates) != len(pops) {
			t.Fatalf("%d candidates of %d PoPs", len(d.Candidates), len(pops))
		}
		scope := max(q.Found.Bits, a.HashBits, int(a.TimeBits))
		addr := q.Client.Addr().AsSlice()
		for range 50 {
			other := slices.Clone(addr)
			for bit := scope; bit < len(other)*8; bit++ {
				if bit >= 20 && rapid.Bool().Draw(t, "bit") { // near, where others are known
					other[bit/8] ^= 0x80 >> (bit % 8)
				}
			}
			b, _ := netip.AddrFromSlice(other)
			p := q
			p.Client = netip.PrefixFrom(b, q.Client.Bits()).Masked()
			p.Found = place(p.Client.Addr())
			if c := s.Pick(p, nil); !slices.Equal(a.PoPs, c.PoPs) || a.Reason != c.Reason {
				t.Fatalf("scope %d: %v gets %+v, %v gets %+v", scope, q.Client, a, p.Client, c)
			}
		}
	})
}

// full is a Times at its bound, in which one prefix of part has another order than the map.
func full(b testing.TB, part int) *Times {
	x := NewTimes(three(b), in(berlin), 0, nil)
	var list []Sample
	for n := range mostPrefixes {
		s := Sample{Prefix: numbered(n * 80), MS: 20, N: 5}
		if n%part == 0 {
			s.MS = 80
		}
		list = append(list, s)
	}
	x.Report(0, list, timesStart)
	return x
}

func BenchmarkFind(b *testing.B) {
	x := full(b, 1)
	v, _ := x.View(timesStart)
	clients := make([]netip.Prefix, 4096)
	for i := range clients {
		clients[i] = numbered(int(mix(uint64(i)) % (1 << 24)))
		if i%2 == 0 {
			clients[i] = numbered(int(mix(uint64(i))%mostPrefixes) * 80)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		v.find(clients[i%len(clients)])
		i++
	}
}

func BenchmarkPickInTime(b *testing.B) {
	x := full(b, 1)
	v, _ := x.View(timesStart)
	for name, s := range map[string]*Snapshot{"none": three(b), "times": three(b).With(v)} {
		b.Run(name, func(b *testing.B) {
			q := Question{Client: numbered(800), Found: in(berlin)(netip.Addr{}), Family: 4}
			var room [4]int
			b.ReportAllocs()
			for b.Loop() {
				s.Pick(q, room[:0])
			}
		})
	}
}

func BenchmarkReport(b *testing.B) {
	x := full(b, 10)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		x.Report(0, []Sample{{numbered(i % mostPrefixes * 80), 20, 5}}, timesStart)
		i++
	}
}

func BenchmarkView(b *testing.B) {
	x := full(b, 10)
	for b.Loop() {
		x.dirty = true
		x.View(timesStart)
	}
}

// BenchmarkMemory tells what a prefix costs: in Times, and in a View that has them all.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after, viewed runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := full(b, 1)
		runtime.GC()
		runtime.ReadMemStats(&after)
		v, _ := x.View(timesStart)
		runtime.GC()
		runtime.ReadMemStats(&viewed)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(x.Len()), "B/prefix")
		b.ReportMetric(float64(viewed.HeapAlloc-after.HeapAlloc)/float64(v.Len()), "B/viewed")
		runtime.KeepAlive(x)
	}
}
