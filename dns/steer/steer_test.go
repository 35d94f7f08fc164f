package steer

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"hither/dns/geo"
)

func TestMistakesAreToldAtOnce(t *testing.T) {
	_, err := New([]PoP{
		{Name: "fra", Fallback: []string{"fra", "gone", "iad", "iad"}},
		{Name: "iad", Weight: -1},
		{Name: "fra"},
		{},
		{Name: "sin", At: geo.Point{Lat: 91}},
		{Name: "nan", At: geo.Point{Lon: math.NaN()}},
	}, []string{"sin", "sin", "nowhere"})
	if err == nil {
		t.Fatal("no error")
	}
	want := `steer: PoP "iad": weight -1 is negative
steer: PoP "fra": named twice
steer: PoP 3: no name
steer: PoP "sin": no place on Earth: latitude 91, longitude 0
steer: PoP "nan": no place on Earth: latitude 0, longitude NaN
steer: fallback of PoP "fra": names itself
steer: fallback of PoP "fra": no PoP "gone"
steer: fallback of PoP "fra": names "iad" twice
steer: order for unknown places: names "sin" twice
steer: order for unknown places: no PoP "nowhere"`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestNoPoPs(t *testing.T) {
	empty, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Snapshot{nil, {}, empty} {
		q := Question{Family: 4, Found: geo.Found{Source: geo.SourceMMDB}}
		if a, d := s.Pick(q, nil), s.Explain(q); len(a.PoPs) != 0 || a.AllDown || a.Reason != "" || len(d.Candidates) != 0 {
			t.Errorf("%+v, %+v", a, d)
		}
		if _, ok := s.Index("fra"); ok || s.Len() != 0 {
			t.Errorf("%d PoPs", s.Len())
		}
	}
}

func TestShedIsTakenWithinItsBounds(t *testing.T) {
	for shed, want := range map[float64]float64{-1: 0, 7: 1, math.Inf(1): 1, math.Inf(-1): 0, math.NaN(): 0} {
		s, err := New([]PoP{{Name: "a", Shed: shed}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.PoP(0).Shed; got != want {
			t.Errorf("shed %v is taken as %v", shed, got)
		}
	}
}

func TestKey(t *testing.T) {
	for _, test := range []struct {
		client string
		key    uint64
		bits   int
	}{
		{"192.0.2.77/32", 0xc0000200, 24},
		{"192.0.2.0/24", 0xc0000200, 24},
		{"192.0.255.0/20", 0xc000f000, 20},
		{"192.0.2.77/0", 0, 0},
		{"::ffff:192.0.2.77/128", 0xc0000200, 24},
		{"::ffff:192.0.2.77/112", 0xc0000000, 16},
		{"::ffff:192.0.2.77/64", 0, 0},
		{"2001:db8:1:2::3/128", 0x20010db800010000, 48},
		{"2001:db8:1:2::3/32", 0x20010db800000000, 32},
		{"2001:db8::/0", 0, 0},
	} {
		if k, bits := key(netip.MustParsePrefix(test.client)); k != test.key || bits != test.bits {
			t.Errorf("%s: %#x, %d bits; want %#x, %d", test.client, k, bits, test.key, test.bits)
		}
	}
	if k, bits := key(netip.Prefix{}); k != 0 || bits != 0 {
		t.Errorf("no prefix: %#x, %d bits", k, bits)
	}
}

func TestWordsAreOneOfAKind(t *testing.T) {
	seen := make(map[Reason]bool)
	for _, r := range Reasons() {
		if seen[r] || r.Text() == "" || strings.ContainsAny(string(r), " _") {
			t.Errorf("reason %q: %q", r, r.Text())
		}
		seen[r] = true
	}
	if max(Absent, Down, Flapping, Up) != Up || max(Down, Flapping) != Flapping || max(Absent, Down) != Down {
		t.Error("states are not in order")
	}
}

// fleet is n PoPs around the world.
func fleet(n int) []PoP {
	pops := make([]PoP, n)
	for i := range pops {
		pops[i] = PoP{
			Name: fmt.Sprintf("pop%d", i), V4: Up, V6: Up, Weight: 1,
			At: geo.Point{Lat: float64(i*37%120 - 60), Lon: float64(i*97%360 - 180)},
		}
	}
	return pops
}

// The path of a question allocates nothing, whatever is in its way.
func TestPickAllocatesNothing(t *testing.T) {
	pops := fleet(64)
	for i := range 8 {
		pops[i].At = geo.Point{Lat: 50, Lon: 8}
		pops[i].Shed = 0.1
	}
	pops[0].V4, pops[1].Draining, pops[2].Fallback = Down, true, []string{"pop9"}
	s, err := New(pops, nil)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]int, 0, 4)
	for name, f := range map[string]geo.Found{
		"place": {Source: geo.SourceMMDB, Point: geo.Point{Lat: 50, Lon: 8}}, "prefix": {Source: geo.SourcePrefix, PoP: "pop2"}, "unknown": {},
	} {
		q := Question{Client: netip.MustParsePrefix("2001:db8::/48"), Found: f, Family: 4, Answers: 4}
		if n := testing.AllocsPerRun(100, func() { s.Pick(q, dst) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, bench := range []struct {
		name   string
		change func([]PoP)
	}{
		{"20 PoPs", func([]PoP) {}},
		{"nearest down", func(p []PoP) { p[3].V4 = Down }},
		{"place of four, one sheds", func(p []PoP) {
			for i := range 4 {
				p[i].At = geo.Point{Lat: 50, Lon: 8}
			}
			p[0].Shed = 0.5
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			pops := fleet(20)
			bench.change(pops)
			s, err := New(pops, nil)
			if err != nil {
				b.Fatal(err)
			}
			networks := clients(1024)
			q := Question{Found: geo.Found{Source: geo.SourceMMDB, Point: geo.Point{Lat: 50.1, Lon: 8.7}}, Family: 4}
			dst := make([]int, 0, 1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				q.Client = networks[i%len(networks)]
				s.Pick(q, dst)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	pops := fleet(20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(pops, nil); err != nil {
			b.Fatal(err)
		}
	}
}
