package steer

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"hither/dns/geo"
)

// drawPoint yields any place, and often one of a few where PoPs meet.
func drawPoint(t *rapid.T, label string) geo.Point {
	if rapid.Bool().Draw(t, label+" common") {
		base := rapid.SampledFrom([]geo.Point{{Lat: 50, Lon: 8}, {Lat: 39, Lon: -77}, {Lat: -17, Lon: 179.9}, {Lat: 90, Lon: 0}}).Draw(t, label)
		base.Lat -= rapid.SampledFrom([]float64{0, 0.1, 0.3, 0.6}).Draw(t, label+" off")
		return base
	}
	return geo.Point{Lat: rapid.Float64Range(-90, 90).Draw(t, label+" lat"), Lon: rapid.Float64Range(-180, 180).Draw(t, label+" lon")}
}

// condition draws what changes while a network file stays as it is.
func condition(t *rapid.T, p *PoP) {
	if p.V4 != Absent {
		p.V4 = State(rapid.IntRange(int(Down), int(Up)).Draw(t, "v4"))
	}
	if p.V6 != Absent {
		p.V6 = State(rapid.IntRange(int(Down), int(Up)).Draw(t, "v6"))
	}
	p.Draining = rapid.IntRange(0, 4).Draw(t, "drain") == 0
	p.Revoked = rapid.IntRange(0, 4).Draw(t, "revoked") == 0
	p.Load = rapid.Float64Range(-1, 2).Draw(t, "load")
	p.Shed = max(0, rapid.Float64Range(-1, 1).Draw(t, "shed"))
}

func drawPoPs(t *rapid.T) []PoP {
	pops := make([]PoP, rapid.OneOf(rapid.IntRange(0, 12), rapid.IntRange(60, 70)).Draw(t, "pops"))
	for i := range pops {
		p := &pops[i]
		p.Name = fmt.Sprintf("p%d", i)
		p.At = drawPoint(t, "pop")
		p.Weight = rapid.IntRange(0, 3).Draw(t, "weight")
		for _, j := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(pops)-1), 0, min(3, len(pops)), rapid.ID[int]).Draw(t, "fallback") {
			if j != i {
				p.Fallback = append(p.Fallback, fmt.Sprintf("p%d", j))
			}
		}
		p.V4, p.V6 = State(rapid.IntRange(0, 1).Draw(t, "has v4")), State(rapid.IntRange(0, 1).Draw(t, "has v6"))
		condition(t, p)
	}
	return pops
}

func drawClient(t *rapid.T) netip.Prefix {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "client")
	a := netip.AddrFrom4([4]byte(b[:4]))
	if rapid.Bool().Draw(t, "client v6") {
		a = netip.AddrFrom16([16]byte(b))
	}
	return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "source"))
}

func drawQuestion(t *rapid.T, pops []PoP) Question {
	q := Question{
		Client: drawClient(t), Family: rapid.SampledFrom([]int{4, 6}).Draw(t, "family"), Answers: rapid.IntRange(0, 4).Draw(t, "answers"),
	}
	switch kind := rapid.IntRange(0, 5).Draw(t, "place"); {
	case kind == 0:
	case kind == 1 && len(pops) > 0:
		q.Found = geo.Found{Source: geo.SourcePrefix, PoP: rapid.SampledFrom(pops).Draw(t, "named").Name}
	default:
		q.Found = geo.Found{Source: geo.SourceEmbedded, Point: drawPoint(t, "client")}
	}
	if rapid.Bool().Draw(t, "one of several sites") {
		q.Site = rapid.SliceOfN(rapid.Bool(), 0, len(pops)).Draw(t, "site")
	}
	return q
}

func prepare(t *rapid.T, pops []PoP) *Snapshot {
	s, err := New(pops, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What Explain tells of a question is what Pick answers, each time, and follows from the candidates that it lists.
func TestExplainAgreesWithPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pops := drawPoPs(t)
		q := drawQuestion(t, pops)
		s := prepare(t, pops)
		d := s.Explain(q)
		a := s.Pick(q, make([]int, 3, 8))
		if !slices.Equal(a.PoPs, d.PoPs) || a.Reason != d.Reason || a.AllDown != d.AllDown || a.HashBits != d.HashBits {
			t.Fatalf("picked %+v, explained %+v", a, d.Answer)
		}
		if b := prepare(t, pops).Pick(q, nil); !slices.Equal(a.PoPs, b.PoPs) || a.Reason != b.Reason || a.HashBits != b.HashBits {
			t.Fatalf("picked %+v, then %+v", a, b)
		}
		if len(d.Candidates) != len(pops) {
			t.Fatalf("%d candidates of %d PoPs", len(d.Candidates), len(pops))
		}
		var fit []int
		seen := make(map[int]bool)
		for i, c := range d.Candidates {
			seen[c.Index] = true
			if ranked := c.Struck != StrikeSite; ranked && c.Rank != i+1 || !ranked && c.Rank != 0 {
				t.Errorf("%s is the %d. candidate and has rank %d", c.PoP, i+1, c.Rank)
			}
			if c.Struck == "" {
				fit = append(fit, c.Index)
			}
		}
		if len(seen) != len(pops) {
			t.Errorf("a PoP is twice among %+v", d.Candidates)
		}
		if want := fit[:min(len(fit), max(q.Answers, 1))]; !slices.Equal(a.PoPs, want) {
			t.Errorf("picked %v of %v", a.PoPs, fit)
		}
		if (a.Reason == "") != (len(a.PoPs) == 0) || a.Reason != "" && !slices.Contains(Reasons(), a.Reason) || a.Reason.Text() == "" {
			t.Errorf("reason %q for %v", a.Reason, a.PoPs)
		}
	})
}

// Somebody answers as long as a PoP of the site has an address of the family and a weight; what is worse never answers for what
// is better.
func TestSomebodyAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pops := drawPoPs(t)
		q := drawQuestion(t, pops)
		d := prepare(t, pops).Explain(q)
		weighted := false
		for _, c := range d.Candidates {
			weighted = weighted || c.Struck != StrikeSite && c.Weight > 0
		}
		quality := func(c Candidate) int {
			switch {
			case c.Struck == StrikeSite || c.State == Absent || c.Weight == 0 && weighted:
				return 0
			case c.State != Up && (c.Draining || c.Revoked):
				return 1
			case c.State != Up:
				return 2
			case c.Revoked:
				return 3
			case c.Draining:
				return 4
			}
			return 5
		}
		best := 0
		for _, c := range d.Candidates {
			best = max(best, quality(c))
		}
		for _, c := range d.Candidates {
			// The two ways in which all are down: those that drain or are of a lost identity answer only where all do.
			if in := quality(c) == best && best > 0; in != (c.Struck == "") && c.Struck != StrikeShed {
				t.Errorf("%s is of quality %d, the best is %d, and it is struck out for %q", c.PoP, quality(c), best, c.Struck)
			}
		}
		if (len(d.PoPs) > 0) != (best > 0) || d.AllDown != (best == 1 || best == 2) {
			t.Errorf("answer %+v where the best is %d", d.Answer, best)
		}
	})
}

// Whatever happens to PoPs, their order stays.
func TestStrikingNeverReorders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pops := drawPoPs(t)
		q := drawQuestion(t, pops)
		order := func() (names []string) {
			for _, c := range prepare(t, pops).Explain(q).Candidates {
				names = append(names, fmt.Sprintf("%s %s %d", c.PoP, c.Reason, c.Rank))
			}
			return names
		}
		before := order()
		for i := range pops {
			condition(t, &pops[i])
		}
		if after := order(); !slices.Equal(before, after) {
			t.Errorf("was %v, is %v", before, after)
		}
	})
}

// The answer holds for all clients of the same place that share the bits which were hashed.
func TestScopeHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pops := drawPoPs(t)
		q := drawQuestion(t, pops)
		s := prepare(t, pops)
		a := s.Pick(q, nil)
		if most := map[bool]int{true: 24, false: 48}[q.Client.Addr().Unmap().Is4()]; a.HashBits > most || a.HashBits > q.Client.Bits() {
			t.Fatalf("%d bits of %v", a.HashBits, q.Client)
		}
		if q.Client.Bits() == 0 {
			return // nothing of the address was told
		}
		for range 20 {
			other := q
			other.Client = drawClient(t)
			if a.HashBits > 0 {
				// The same first bits, then others.
				x, y := q.Client.Addr().AsSlice(), rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "rest")
				for bit := a.HashBits; bit < len(x)*8; bit++ {
					x[bit/8] = x[bit/8]&^(0x80>>(bit%8)) | y[bit/8]&(0x80>>(bit%8))
				}
				b, _ := netip.AddrFromSlice(x)
				other.Client = netip.PrefixFrom(b, q.Client.Bits())
			}
			if b := s.Pick(other, nil); !slices.Equal(a.PoPs, b.PoPs) || a.Reason != b.Reason {
				t.Fatalf("%v gets %+v, %v gets %+v", q.Client, a, other.Client, b)
			}
		}
	})
}

// clients are n networks, /24 or /48, which differ in few bits: a poor hash would show.
func clients(n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		if i%2 == 1 {
			list[i] = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)}), 48)
		}
	}
	return list
}

// winners is the first PoP of each client at a place.
func winners(t testing.TB, pops []PoP, at geo.Point) []string {
	t.Helper()
	s, err := New(pops, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range clients(10000) {
		a := s.Pick(Question{Client: c, Found: geo.Found{Source: geo.SourceMMDB, Point: at}, Family: 4}, nil)
		names = append(names, s.PoP(a.PoPs[0]).Name)
	}
	return names
}

// about fails unless count lies within four standard deviations of a share of n, which one draw in 16,000 does.
func about(t *testing.T, what string, count, n int, share float64) {
	t.Helper()
	want := float64(n) * share
	if off := math.Abs(float64(count) - want); off > 4*math.Sqrt(want*(1-share))+1 {
		t.Errorf("%s: %d of %d, want about %.0f", what, count, n, want)
	}
}

func tally(names []string) map[string]int {
	m := make(map[string]int)
	for _, n := range names {
		m[n]++
	}
	return m
}

// Within a place each PoP has its weight's part of the clients, and a changed weight moves clients to or from that PoP alone, as
// many as its part changes by.
func TestWeights(t *testing.T) {
	pops := make([]PoP, 4)
	for i := range pops {
		pops[i] = PoP{Name: fmt.Sprintf("ams%d", i+1), At: geo.Point{Lat: 52.3, Lon: 4.8}, V4: Up, Weight: i + 1}
	}
	at := geo.Point{Lat: 52, Lon: 5}
	before := winners(t, pops, at)
	for name, n := range tally(before) {
		about(t, name, n, len(before), float64(name[3]-'0')/10)
	}
	pops[1].Weight = 6 // of 14 instead of 2 of 10
	after := winners(t, pops, at)
	moved := 0
	for i := range before {
		if before[i] != after[i] {
			moved++
			if after[i] != "ams2" {
				t.Fatalf("a client moved from %s to %s, whose weights did not change", before[i], after[i])
			}
		}
	}
	about(t, "moved", moved, len(before), 6.0/14-0.2)
	pops[1].V4 = Down
	for i, name := range winners(t, pops, at) {
		if after[i] != "ams2" && name != after[i] {
			t.Fatalf("a client moved from %s to %s as ams2 went down", after[i], name)
		}
	}
}

// A PoP sends on its share of the clients, the same ones as long as the share is the same, and more of them as it grows; whom it
// sends on does not depend on who was chosen by weight.
func TestSharesOfShedding(t *testing.T) {
	pops := []PoP{
		{Name: "ams1", At: geo.Point{Lat: 52.3, Lon: 4.8}, V4: Up, Weight: 1},
		{Name: "ams2", At: geo.Point{Lat: 52.3, Lon: 4.8}, V4: Up, Weight: 1},
		{Name: "fra", At: geo.Point{Lat: 50.11, Lon: 8.68}, V4: Up, Weight: 1},
	}
	at := geo.Point{Lat: 52, Lon: 5}
	all := winners(t, pops, at)
	n := tally(all)["ams1"]
	last := slices.Repeat([]bool{false}, len(all))
	for _, share := range []float64{0.01, 0.1, 0.3, 0.5, 0.9, 1} {
		pops[0].Shed = share
		sent := 0
		for i, name := range winners(t, pops, at) {
			away := all[i] != name
			if away {
				sent++
				if all[i] != "ams1" || name != "ams2" {
					t.Fatalf("a client of %s went to %s", all[i], name)
				}
			}
			if last[i] && !away {
				t.Fatalf("client %d came back as the share grew to %v", i, share)
			}
			last[i] = away
		}
		about(t, fmt.Sprintf("share %v", share), sent, n, share)
	}

	// Both PoPs of the place shed: what they send on goes past the place, none of it to the other.
	pops[0].Shed, pops[1].Shed = 0.2, 0.4
	for name, got := range tally(winners(t, pops, at)) {
		switch name {
		case "ams1":
			about(t, name, got, n, 0.8)
		case "ams2":
			about(t, name, got, len(all)-n, 0.6)
		case "fra":
			about(t, name, got, len(all), 0.3)
		}
	}
}

// A Snapshot keeps nothing of the caller's that may change.
func TestNewCopies(t *testing.T) {
	pops := []PoP{{Name: "a", V4: Up, Weight: 1, Fallback: []string{"c"}}, {Name: "b", At: geo.Point{Lat: 1}, V4: Up, Weight: 1}, {Name: "c", At: geo.Point{Lat: 9}, V4: Up, Weight: 1}}
	unknown := []string{"b"}
	s, err := New(pops, unknown)
	if err != nil {
		t.Fatal(err)
	}
	q := Question{Family: 4, Answers: 3, Found: geo.Found{Source: geo.SourceMMDB}}
	before := s.Explain(q)
	pops[0], unknown[0] = PoP{}, "a"
	if after := s.Explain(q); !reflect.DeepEqual(before, after) {
		t.Errorf("was %+v, is %+v", before, after)
	}
}
