package ops

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"pgregory.net/rapid"
)

const mib = 1 << 20

// A process is a model: what it allocates while it works, what is live, and what one cycle takes.
type process struct {
	rate, live, cost float64 // bytes a second, bytes, seconds
}

// passed is what a cycle after that many bytes adds to the runtime's counts.
func (p process) passed(room float64) reading {
	return reading{live: p.live, cycles: 1, allocated: room, marking: p.cost, used: room/p.rate + p.cost}
}

// run runs a process for a number of cycles.
func (p process) run(at pace, cycles int) pace {
	for range cycles {
		at = at.after(p.passed(at.room(p.live)))
	}
	return at
}

// Marking takes its share at most, or as much as with as much room as is live; and where
// it takes less there is no more room than need be. Once the pace knows a process it stays.
func TestPaceProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.Custom(func(t *rapid.T) process {
			return process{
				rate: rapid.Float64Range(1e3, 1e10).Draw(t, "rate"),
				live: rapid.Float64Range(1e5, 1e11).Draw(t, "live"),
				cost: rapid.Float64Range(0, 10).Draw(t, "cost"),
			}
		})
		was, p := some.Draw(t, "before"), some.Draw(t, "process")
		at := p.run(was.run(pace{}, 6*paceCycles), 6*paceCycles)
		room := at.room(p.live)
		if room < leastRoom || room > max(leastRoom, p.live) {
			t.Fatalf("%v bytes of room with %v live", room, p.live)
		}
		share := p.cost / (room/p.rate + p.cost)
		if share > mostShare*1.001 && room < p.live*0.999 {
			t.Fatalf("marking takes %v, with %v bytes of room and %v live", share, room, p.live)
		}
		if share < mostShare*0.999 && room > leastRoom && room < p.live*0.999 {
			t.Fatalf("%v bytes of room, and marking takes %v only", room, share)
		}
		for range 3 {
			at = p.run(at, 1)
			if next := at.room(p.live); math.Abs(next-room) > room/1e6 {
				t.Fatalf("from %v to %v with nothing changed", room, next)
			}
		}
		// GOGC is whole percents.
		got := p.live * float64(at.percent(p.live)) / 100
		if p.live >= leastLive && math.Abs(got-room) > max(p.live/100, room/100) {
			t.Fatalf("GOGC=%d of %v is %v, not %v", at.percent(p.live), p.live, got, room)
		}
	})
}

func TestPaceCases(t *testing.T) {
	bodies := process{rate: 300 * mib, live: 260 * mib, cost: 0.002}  // with 20 MiB marking takes 2.9 %
	objects := process{rate: 100 * mib, live: 300 * mib, cost: 0.050} // with 161.7 MiB 3 %
	crowded := process{rate: 100 * mib, live: 2000 * mib, cost: 2}    // with 6 GiB
	fresh := process{rate: 100 * mib, live: 5 * mib, cost: 0.000_3}   // nothing stored
	// times is the pace after the same has passed several times.
	times := func(n int, at pace, passed reading) pace {
		for range n {
			at = at.after(passed)
		}
		return at
	}
	known := objects.run(pace{}, 50)
	for _, c := range []struct {
		name string
		at   pace
		live float64
		room float64 // MiB
	}{
		{"at the start", pace{}, 5 * mib, 20},
		{"nothing stored", fresh.run(pace{}, 50), fresh.live, 20},
		{"large bodies", bodies.run(pace{}, 50), bodies.live, 20},
		{"small objects", known, objects.live, 161.7},
		{"too many of them", crowded.run(pace{}, 50), crowded.live, 2000},
		{"they go", crowded.run(pace{}, 50), fresh.live, 20},
		{"and others come", bodies.run(crowded.run(pace{}, 50), 1), bodies.live, 20},
		{"they come back", crowded.run(bodies.run(pace{}, 50), 32), crowded.live, 2000},
		{"a cycle that costs nothing", times(1, known, reading{cycles: 1, allocated: 24 * mib, used: 1}), objects.live, 20},
		{"fifteen that are interrupted", process{bodies.rate, bodies.live, 1}.run(bodies.run(pace{}, 50), 15), bodies.live, 20},
		{"a clock that stands", times(paceCycles, known, reading{cycles: 1, allocated: 24 * mib, marking: 0.05}), objects.live, 161.7},
		{"one that goes back", times(paceCycles, known, reading{cycles: 1, allocated: 24 * mib, marking: 0.05, used: -9}), objects.live, 161.7},
		{"the other goes back", times(paceCycles, known, reading{cycles: 1, allocated: 24 * mib, marking: -5, used: 9}), objects.live, 161.7},
		{"no cycle", times(paceCycles, known, reading{allocated: 24 * mib, used: 1}), objects.live, 161.7},
		{"a cycle without need", times(paceCycles, known, reading{cycles: 1, allocated: mib, marking: 0.05, used: 1}), objects.live, 161.7},
	} {
		if got := c.at.room(c.live) / mib; !(math.Abs(got-c.room) < 0.1) {
			t.Errorf("%s: %.1f MiB of room, not %.1f", c.name, got, c.room)
		}
	}
	// With less than 4 MiB live the runtime counts as if there were as many.
	if got := (pace{}).percent(mib); got != 500 {
		t.Errorf("GOGC=%d with 1 MiB live", got)
	}
}

// gogc is the percentage in force.
func gogc() int {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64())
}

// Every cycle wakes it, and what is live decides.
func TestPaceCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	stop := PaceCollector()
	t.Cleanup(stop)
	// reaches collects until the percentage is so. A finalizer runs on a goroutine of its own.
	reaches := func(least, most int) {
		t.Helper()
		for range 1000 {
			if got := gogc(); got >= least && got <= most {
				return
			}
			runtime.GC()
		}
		t.Fatalf("GOGC=%d after many cycles, not %d to %d", gogc(), least, most)
	}
	reaches(250, 500)
	large := make([]byte, 300*mib) // never written, so it takes no memory
	reaches(1, 20)
	runtime.KeepAlive(large)
	reaches(250, 500)
	stop()
	stop()
	if got := gogc(); got != 100 {
		t.Errorf("GOGC=%d when it was stopped", got)
	}
	runtime.GC()
	runtime.GC()
	if got := gogc(); got != 100 {
		t.Errorf("GOGC=%d some cycles later", got)
	}
}

func TestPaceCollectorLeavesGOGC(t *testing.T) {
	t.Setenv("GOGC", "70")
	before := debug.SetGCPercent(70)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	stop := PaceCollector()
	runtime.GC()
	if got := gogc(); got != 70 {
		t.Errorf("GOGC=%d, and the environment says 70", got)
	}
	stop()
	if got := gogc(); got != 70 {
		t.Errorf("GOGC=%d when it was stopped", got)
	}
}
