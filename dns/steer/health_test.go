package steer

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const probeEvery = 2 * time.Second

var epoch = time.Date(2026, 11, 26, 6, 0, 0, 0, time.UTC)

// Probes as + and -, and below each the State after it: u up, d down, f flapping.
func TestRiseAndFall(t *testing.T) {
	for _, test := range []struct {
		what           string
		health         Health
		probes, states string
	}{
		{"good from the first", Health{}, "+++", "uuu"},
		{"taken as up until Fall failures", Health{}, "---", "uud"},
		{"a lost packet or two", Health{}, "--+--+--+", "uuuuuuuuu"},
		{"back after Rise successes", Health{}, "---++", "uuddu"},
		{"a lucky packet", Health{}, "---+-+-+--++", "uuddddddddd" + "u"},
		{"counts of one", Health{Rise: 1, Fall: 1}, "-+-+", "dudu"},
		{"other counts", Health{Rise: 3, Fall: 2}, "--+++--", "udddu" + "ud"},
		{"the fourth fall in a row is one too many", Health{Rise: 1, Fall: 1}, "-+-+-+-+-+", "dududu" + "dfdf"},
		{"no damping", Health{Rise: 1, Fall: 1, HalfLife: -1}, "-+-+-+-+-+-+", "dudududududu"},
		{"too short to damp", Health{Rise: 1, Fall: 1, MaxSuppress: 2 * time.Minute}, "-+-+-+-+-+-+", "dudududududu"},
	} {
		h := test.health
		now := epoch
		got := ""
		for i, probe := range test.probes {
			before := h.State()
			if changed := h.Observe(probe == '+', now); changed != (before != h.State()) {
				t.Errorf("%s: probe %d: changed is %v from %v to %v", test.what, i+1, changed, before, h.State())
			}
			got += h.State().String()[:1]
			now = now.Add(probeEvery)
		}
		if got != test.states {
			t.Errorf("%s:\n     %s\ngot  %s\nwant %s", test.what, test.probes, got, test.states)
		}
		if h.Up() != (h.State() == Up) {
			t.Errorf("%s: Up is %v in state %v", test.what, h.Up(), h.State())
		}
	}
}

func TestNeverProbed(t *testing.T) {
	if h := (&Health{}); !h.Up() {
		t.Errorf("before the first probe: %v", h.State())
	}
}

// fall and rise with the default counts; the time after the last probe is returned.
func bounce(h *Health, now time.Time) time.Time {
	for _, ok := range []bool{false, false, false, true, true} {
		h.Observe(ok, now)
		now = now.Add(probeEvery)
	}
	return now
}

// A PoP that restarts again and again is out until it was quiet for a while: 131 s by the formula, as its penalty of 3.39 halves
// every minute until it is below 0.75.
func TestFlappingUntilQuiet(t *testing.T) {
	var h Health
	now := epoch
	for range 3 {
		if now = bounce(&h, now); !h.Up() {
			t.Fatalf("three falls and rises: %v", h.State())
		}
	}
	if now = bounce(&h, now); h.State() != Flapping {
		t.Fatalf("four falls and rises in 40 s: %v", h.State())
	}
	fell := now.Add(-3 * probeEvery)
	for !h.Observe(true, now) {
		if now = now.Add(probeEvery); now.Sub(fell) > time.Hour {
			t.Fatal("never up again")
		}
	}
	if quiet := now.Sub(fell); quiet < 131*time.Second || quiet > 133*time.Second {
		t.Errorf("up again after %v", quiet)
	}

	// It is not forgiven at once: three falls more are again too many.
	now = bounce(&h, now)
	now = bounce(&h, now)
	if bounce(&h, now); h.State() != Flapping {
		t.Errorf("falls again three times: %v", h.State())
	}
}

// While it is flapping a fall prolongs that, though the penalty alone would not be enough by now.
func TestFallsWhileFlapping(t *testing.T) {
	var h Health
	now := epoch
	for range 4 {
		now = bounce(&h, now)
	}
	if bounce(&h, now.Add(time.Minute)); h.penalty > suppressAbove || h.State() != Flapping {
		t.Errorf("penalty %v: %v", h.penalty, h.State())
	}
}

// A clock that is set back adds nothing to the penalty, and takes nothing from it when it is right again.
func TestClockSetBack(t *testing.T) {
	var h Health
	now := epoch
	for range 3 {
		now = bounce(&h, now)
	}
	before := h.penalty
	h.Observe(true, now.Add(-time.Hour))
	h.Observe(true, now.Add(-2*probeEvery))
	if h.penalty != before {
		t.Errorf("penalty was %v, is %v", before, h.penalty)
	}
}

// Falls that are far apart are never flapping.
func TestRareFalls(t *testing.T) {
	var h Health
	now := epoch
	for i := range 100 {
		if now = bounce(&h, now); !h.Up() {
			t.Fatalf("fall %d: %v", i+1, h.State())
		}
		now = now.Add(50 * time.Second)
	}
}

// However long it flapped, and whatever clock tells the time, an address whose probes succeed is up again in MaxSuppress, and one whose
// probes fail is down after Fall of them.
func TestHealthRecovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Health{Rise: rapid.IntRange(0, 4).Draw(t, "rise"), Fall: rapid.IntRange(0, 4).Draw(t, "fall"), MaxSuppress: 4 * time.Minute}
		now, latest := epoch, epoch
		for _, ok := range rapid.SliceOfN(rapid.Bool(), 0, 200).Draw(t, "probes") {
			h.Observe(ok, now)
			now = now.Add(time.Duration(rapid.Int64Range(-1, 5).Draw(t, "seconds")) * time.Second)
			if now.After(latest) {
				latest = now
			}
		}
		now = latest
		quick := !h.flapping
		for range 4 {
			h.Observe(true, now)
		}
		if quick && !h.Up() {
			t.Fatalf("%v after successes only", h.State())
		}
		h.Observe(true, now.Add(4*time.Minute+time.Second))
		if !h.Up() {
			t.Fatalf("%v after four minutes of quiet", h.State())
		}
		for range 4 {
			h.Observe(false, now.Add(5*time.Minute))
		}
		if h.State() != Down {
			t.Errorf("%v after failures only", h.State())
		}
	})
}
