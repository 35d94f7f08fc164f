package control_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// A load is purges of many edges at a steady rate.
type load struct {
	edges int
	rate  int           // purges a second
	list  int           // purges that are given together
	time  time.Duration // for which they are given
}

// soaks says whether the long versions of the tests are meant: HITHER_SOAK=1.
func soaks() bool { return os.Getenv("HITHER_SOAK") != "" }

// TestFleetPurges gives a thousand purges a second to two hundred edges for a minute and looks each up at each edge once its receipt says that
// it is done. Without HITHER_SOAK it is a small one.
func TestFleetPurges(t *testing.T) {
	l := load{edges: 20, rate: 200, list: 10, time: 5 * time.Second}
	if soaks() {
		l = load{edges: 200, rate: 1000, list: 50, time: time.Minute}
		if n, err := strconv.Atoi(os.Getenv("HITHER_RATE")); err == nil && n > 0 { // for a look on a busy machine
			l.rate, l.time = n, 10*time.Second
		}
	}
	c := newCrowd(t, l.edges)
	c.begin()
	s := newStock(c)
	s.run(l)
	for _, fault := range s.faults {
		t.Error(fault)
	}
	s.print(l)
}

// TestFleetPurgesPlanted has one edge of many drop one order, though it says that it is done: the checker finds it.
func TestFleetPurgesPlanted(t *testing.T) {
	c := newCrowd(t, 5)
	var once sync.Once
	c.edges[3].drop = func(o bus.Order) (drops bool) {
		if o.Kind == "url" && !o.Soft {
			once.Do(func() { drops = true })
		}
		return drops
	}
	c.begin()
	s := newStock(c)
	s.run(load{edges: 5, rate: 200, list: 10, time: 500 * time.Millisecond})
	if s.lost != 1 || !strings.Contains(strings.Join(s.faults, "\n"), "p3 still has") {
		t.Errorf("an edge dropped an order, and the checker counts %d lost: %v", s.lost, s.faults)
	}
}

// A unit is what one purge names: some paths which are all stored at every edge when it is given.
type unit struct {
	order bus.Order
	paths []string
	tag   string
}

// A stock is a thousand objects at each edge, in units of which each has at most one purge under way.
type stock struct {
	c *crowd

	mu     sync.Mutex // guards what follows
	free   []*unit
	turn   int // purges taken so far
	given  int
	lost   int // looked up after the receipt, and still found fresh
	looks  int
	ids    []uint64
	times  []float64 // from the call to its answer, in milliseconds; one for each list
	pops   []float64 // p99 over the PoPs, by order, as the control says it
	faults []string

	heap     [2]uint64 // before and after, collected
	spent    time.Duration
	took     time.Duration
	stragged time.Duration // by which the last list was given late
}

// What 1,000 objects are: 920 of a URL each, 50 of a tag each, and six prefixes with five each.
const (
	stockURLs     = 920
	stockTags     = 50
	stockPrefixes = 6
)

func newStock(c *crowd) *stock {
	s := &stock{c: c}
	add := func(kind, value string, tag string, paths ...string) {
		s.free = append(s.free, &unit{order: bus.Order{Kind: kind, Value: value}, tag: tag, paths: paths})
	}
	for i := range stockURLs {
		path := fmt.Sprintf("/u/%d", i)
		add("url", "www.example.org"+path, "", path)
	}
	// One behind the other, so that they are given together: each pass through a store that they need is one for all of them.
	for i := range stockTags {
		tag := fmt.Sprintf("t%d", i)
		add("tag", tag, tag, fmt.Sprintf("/t/%d", i))
	}
	for i := range stockPrefixes {
		var paths []string
		for k := range 5 {
			paths = append(paths, fmt.Sprintf("/p/%d/%d", i, k))
		}
		add("prefix", fmt.Sprintf("www.example.org/p/%d/", i), "", paths...)
	}
	for _, e := range c.edges {
		for _, u := range s.free {
			s.store(e, u)
		}
	}
	return s
}

func (s *stock) store(e *edge, u *unit) {
	for _, path := range u.paths {
		if u.tag == "" {
			e.put(path)
		} else if err := e.fill(path, u.tag); err != nil {
			s.fault("%s: fill %s: %v", e.name, path, err)
		}
	}
}

// fault notes what went wrong; the first ones are enough.
func (s *stock) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 20 {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

// run gives purges for as long as the load says, and returns when all are checked.
func (s *stock) run(l load) {
	s.heap[0] = heap()
	spent, began := processor(), time.Now()
	pause := time.Second * time.Duration(l.list) / time.Duration(l.rate)
	var checking sync.WaitGroup
	total := int(l.time / pause)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for given := 0; given < total; <-tick.C {
		for ; given < total && time.Since(began) >= time.Duration(given)*pause; given++ { // those of ticks that were missed too
			s.stragged = time.Since(began) - time.Duration(given)*pause
			list := s.take(l.list)
			checking.Go(func() { s.purge(list) })
		}
	}
	checking.Wait()
	s.took, s.spent = time.Since(began), processor()-spent
	s.heap[1] = heap()
	s.check()
}

// take takes units that no purge is under way for; every tenth is purged softly.
func (s *stock) take(n int) (list []*unit) {
	s.c.until("objects are free to be purged", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.free) < n {
			return false
		}
		list = slices.Clone(s.free[:n])
		s.free = slices.Delete(s.free, 0, n)
		for _, u := range list {
			u.order.Soft = s.turn%10 == 9
			s.turn++
		}
		s.given += n
		return true
	})
	return list
}

// purge purges units, looks them up at every edge when all receipts are here, and stores them again.
func (s *stock) purge(list []*unit) {
	call := control.PurgeCall{Wait: true, Timeout: 60}
	for _, u := range list {
		call.Orders = append(call.Orders, u.order)
	}
	var doc control.Purges
	began := time.Now()
	err := s.c.try("purge", call, &doc)
	took := float64(time.Since(began)) / float64(time.Millisecond)
	if err != nil || len(doc.Purges) != len(list) || !doc.Complete {
		s.fault("a purge of %d: %d are told of, complete: %v, %v", len(list), len(doc.Purges), doc.Complete, err)
		return
	}
	lost, looks := 0, 0
	for _, e := range s.c.edges {
		for _, u := range list {
			for _, path := range u.paths {
				looks++
				if look := e.look(path); look.Fresh() || !u.order.Soft && look.Object != nil {
					lost++
					s.fault("%s still has %s after the receipt for %+v", e.name, path, u.order)
				}
			}
			s.store(e, u)
		}
	}
	for _, p := range doc.Purges {
		if p.Done != len(s.c.edges) || !p.Complete {
			s.fault("purge %d: %d of %d PoPs have done it", p.ID, p.Done, len(s.c.edges))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost += lost
	s.looks += looks
	s.times = append(s.times, took)
	for _, p := range doc.Purges {
		s.ids, s.pops = append(s.ids, p.ID), append(s.pops, p.P99)
	}
	s.free = append(s.free, list...)
}

// check looks at what must hold of all together.
func (s *stock) check() {
	slices.Sort(s.ids)
	for i, id := range s.ids {
		if id != s.ids[0]+uint64(i) {
			s.fault("the numbers have a gap or a double at %d: %d", i, id)
			break
		}
	}
	if len(s.ids) != s.given {
		s.fault("%d purges were given, and %d have numbers", s.given, len(s.ids))
	}
	// Each purge names what is there: one that finds less came twice, or the store had lost something.
	if found := s.c.found.Load(); found != int64(s.looks) {
		s.fault("purges found %d objects, and %d were there", found, s.looks)
	}
	for _, e := range s.c.edges {
		if n := s.stored(e); n < stockURLs {
			s.fault("%s has %d objects of %d: its store is too small, or a purge took what it does not name", e.name, n, stockURLs)
		}
	}
}

// stored counts what an edge has fresh.
func (s *stock) stored(e *edge) (n int) {
	for _, u := range s.free {
		for _, path := range u.paths {
			if e.look(path).Fresh() {
				n++
			}
		}
	}
	return n
}

// print says how it went.
func (s *stock) print(l load) {
	at := func(x []float64, part float64) float64 {
		if len(x) == 0 {
			return 0
		}
		slices.Sort(x)
		return x[min(int(part*float64(len(x))), len(x)-1)]
	}
	s.c.t.Logf(`
edges                  %d, each with 1,000 objects
purges                 %d in %v: %.0f a second (%d were meant)
receipts               %d complete of %d
lost                   %d of %d look-ups
call to answer         p50 %.0f ms, p99 %.0f ms (lists of %d)
slowest PoPs           p99 over PoPs: p50 %.0f ms, p99 %.0f ms
processors             %.2f of %d, load %s
heap                   %.0f MiB before, %.0f MiB after`,
		l.edges, s.given, s.took.Round(time.Millisecond), float64(s.given)/s.took.Seconds(), l.rate,
		len(s.ids), s.given, s.lost, s.looks, at(s.times, .5), at(s.times, .99), l.list, at(s.pops, .5), at(s.pops, .99),
		s.spent.Seconds()/s.took.Seconds(), runtime.GOMAXPROCS(0), machineLoad(), float64(s.heap[0])/(1<<20), float64(s.heap[1])/(1<<20))
}

// heap is what is in use after a collection, in bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// processor is the time that this process has had of processors.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// machineLoad is how many wait for the machine's processors, by whom ever: figures of a busy one tell little.
func machineLoad() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
