package ops

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"syscall"
	"time"
)

// What a process may allocate between two cycles of the garbage collector is its room. Go's
// own rule (GOGC=100) is as much again as is live, which is right where all that is live has
// to be looked at. Most of an edge's heap are bodies, which have no pointers: there a cycle
// costs little, and the room much.
const (
	// leastRoom also holds where less is live: a fresh edge, with a heap of 5 MiB, would collect
	// after each 5. With 256 MiB of large bodies marking takes 1 to 1.5 ms of processor time,
	// and what passes them on 50 ms and more for each 20 MiB that it allocates.
	leastRoom = 20 << 20
	// mostShare is what marking should take of the process's processor time.
	mostShare = 0.03
	// paceCycles is how many cycles are remembered. The clock that says what one took runs on
	// when the kernel gives the processor to others, which makes some seem to take ten times as
	// much: the least of them is what a cycle takes when it is let.
	paceCycles = 16
	// leastLive is the least that a percentage is of: the runtime lets no heap be smaller
	// than that percentage of 4 MiB.
	leastLive = 4 << 20
)

// PaceCollector chooses from now on, after each cycle of the garbage collector, how many bytes
// the process may allocate until the next one: as few as keep marking at about 3 % of its
// processor time, but at least 20 MiB, and (above that) at most as many as are live, which is
// what Go does by itself. The limit of [LimitMemory] stays in force and wins. The choice is
// the metric go_gc_gogc_percent.
//
// With the variable GOGC in the process's environment it does nothing, for whoever set that
// knows better. It is for the one process, so it is called once; stop gives the runtime back
// what it had. stop may be called more than once and by anyone.
func PaceCollector() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	p := &pacer{last: read()}
	p.before = debug.SetGCPercent(p.pace.percent(p.last.live))
	p.arm()
	return p.stop
}

// A pacer is woken by each cycle and sets the percentage for the next one.
type pacer struct {
	before int // what stop sets

	mu      sync.Mutex
	stopped bool
	pace    pace
	last    reading
}

// A sentinel is reachable from nothing, so that each cycle finds it, and then its finalizer
// runs. It is as small as something with a pointer can be, and such memory is swept first; a
// cleanup (runtime.AddCleanup) runs when all is swept, which on a busy machine is shortly
// before the next cycle. A ticker would wake a process that does nothing, and come late in
// one that fills its cache.
type sentinel struct{ p *pacer }

func (p *pacer) arm() { runtime.SetFinalizer(&sentinel{p}, (*sentinel).found) }

func (s *sentinel) found() {
	if s.p.cycle() {
		s.p.arm()
	}
}

// cycle learns from the cycle that has ended, and reports whether to go on.
func (p *pacer) cycle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	now := read()
	p.pace = p.pace.after(now.since(p.last))
	p.last = now
	debug.SetGCPercent(p.pace.percent(now.live))
	return true
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.stopped = true
		debug.SetGCPercent(p.before)
	}
}

// A pace is how many bytes should have been allocated between the last cycles, for each to
// take mostShare. The zero pace knows of none that took anything.
type pace [paceCycles]float64

// after returns the pace with what has passed. What a cycle takes hangs on what is live and
// not on the room before it, and what a second of work allocates on the work: so the room
// that was given is hardly in the sum, and nothing swings. There is nothing to learn where no
// cycle has passed, no time or less than none, or too little was allocated for the room to
// have been the reason: the runtime collects every two minutes, and near its memory limit.
func (p pace) after(passed reading) pace {
	if passed.cycles > 0 && passed.used > 0 && passed.marking >= 0 && passed.allocated >= leastRoom/2 {
		cost, rate := passed.marking/passed.cycles, passed.allocated/passed.used
		copy(p[:], p[1:])
		p[len(p)-1] = cost * rate / mostShare
	}
	return p
}

// room is what may be allocated until the next cycle, in bytes.
func (p pace) room(live float64) float64 {
	return max(leastRoom, min(slices.Min(p[:]), live))
}

// percent is the room as GOGC.
func (p pace) percent(live float64) int {
	return max(1, int(math.Round(100*p.room(live)/max(live, leastLive))))
}

// A reading is what the runtime had counted when its last cycle ended, and the kernel until now.
type reading struct {
	live      float64 // bytes that were live, with stacks and globals: what the percentage is of
	cycles    float64
	allocated float64 // bytes
	marking   float64 // seconds on processors
	used      float64 // processor seconds of the process, with marking
}

// since returns what has passed between two readings.
func (r reading) since(before reading) reading {
	r.cycles -= before.cycles
	r.allocated -= before.allocated
	r.marking -= before.marking
	r.used -= before.used
	return r
}

// read reads. Marking is with what processors did that had nothing else to do: a cycle that
// they did the most of would seem to be free. It is without pauses, which are short: what
// makes them seem long is waiting for threads that the kernel has stopped. The processor time
// is the kernel's, as the runtime takes for work what it waited for the kernel.
func read() reading {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/cpu/classes/gc/mark/assist:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
	}
	metrics.Read(s)
	count := func(i int) float64 { return float64(s[i].Value.Uint64()) }
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used) // fails for a wrong argument only
	return reading{
		live: count(0) + count(1) + count(2), cycles: count(3), allocated: count(4),
		marking: s[5].Value.Float64() + s[6].Value.Float64() + s[7].Value.Float64(),
		used:    time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds(),
	}
}
