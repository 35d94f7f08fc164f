package control

import (
	"context"
	"math"
	"net/http"
	"slices"
	"sort"
	"sync"
	"time"

	"hither/deploy"
	"hither/deploy/fleet/bus"
)

// This file follows what each PoP has done of the journal. A PoP's position says it all: it has done every entry up to there. So an order
// costs one small record, however many PoPs there are, and what receipts say beside that (when, and of how many objects) is kept apart,
// for the newest orders alone.

// Bounds of what is remembered. An order has some 150 bytes and its value; details have 12 bytes for each PoP that found
// something and 4 for each PoP of an entry: for 200 PoPs that all find something 7 MB.
const (
	mostTracked    = 16384    // orders
	mostTrackedAll = 16 << 20 // bytes of their values
	mostDetailed   = 2048     // orders of which it is kept what each PoP found, and when
	manyPoPs       = 1024     // PoPs, of which there are as many more as it is for fewer orders
	mostWaiting    = 4096     // waiters at one time
)

// awayAfter is how long a PoP may be silent before it counts as away: five reports.
const awayAfter = 10 * time.Second

// receipts are what PoPs say of the journal.
type receipts struct {
	c    *Control
	here chan struct{} // holds one when the journal is to be read anew

	mu      sync.Mutex // guards what follows
	file    *deploy.Network
	names   []string // of its PoPs, the network file in use
	pops    map[string]*popState
	at      bus.Position // the journal's last known entry
	entries []*entry     // in their order
	orders  int          // in entries
	bytes   int          // of their values
}

// A popState is what is known of one PoP.
type popState struct {
	index  uint16 // of this PoP alone, as long as the network file names it
	at     bus.Position
	heard  time.Time
	ahead  uint64 // claimed, in the journal that is known, and not known to be there
	since  time.Time
	warned bool
}

// An entry is one of the journal, with what became of it.
type entry struct {
	sequence uint64
	first    uint64
	at       time.Time
	orders   []bus.Order
	taken    []time.Time // nil where another control wrote it, or this one before it started
	objects  []int       // by order, over all PoPs
	bytes    int
	left     int // PoPs that have not come so far
	offered  bool
	waiters  []chan struct{}

	// Details; nil where they are not kept any more. Times are by [popState.index]: milliseconds from the entry's first taken order to the receipt, and
	// 0 where there was none.
	times  []float32
	found  [][]found  // by order: of the PoPs that found something, or failed
	told   [][]uint64 // by order: a bit for each of those, by [popState.index]
	faults map[fault]string
}

// tells notes that a PoP says something of an order, and reports whether it is the first time.
func (e *entry) tells(pop, order uint16) bool {
	if e.told == nil {
		e.told = make([][]uint64, len(e.orders))
	}
	bits := &e.told[order]
	for len(*bits) <= int(pop)/64 {
		*bits = append(*bits, 0)
	}
	one := uint64(1) << (pop % 64)
	first := (*bits)[pop/64]&one == 0
	(*bits)[pop/64] |= one
	return first
}

// untold forgets what a PoP said.
func (e *entry) untold(pop uint16) {
	for i := range e.found {
		e.found[i] = slices.DeleteFunc(e.found[i], func(f found) bool { return f.pop == pop })
	}
	for i := range e.told {
		if int(pop)/64 < len(e.told[i]) {
			e.told[i][pop/64] &^= 1 << (pop % 64)
		}
	}
}

// found is what a PoP found of an order.
type found struct {
	pop            uint16
	objects, fills uint32
}

// fault is where an order failed.
type fault struct{ pop, order uint16 }

func newReceipts(c *Control) *receipts {
	return &receipts{c: c, here: make(chan struct{}, 1), pops: make(map[string]*popState)}
}

// again has what the journal ends with read anew.
func (r *receipts) again() { wake(r.here) }

// run reads what the journal has, each time that the hub began to answer, until ctx ends.
func (r *receipts) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			r.mu.Lock()
			defer r.mu.Unlock()
			r.forget()
			return
		case <-r.here:
		}
		if err := r.read(ctx); err != nil && ctx.Err() == nil {
			r.c.faint.Warn("the journal cannot be read; what became of older purges is not known", "error", err)
			t := time.NewTimer(retryTime)
			select {
			case <-ctx.Done():
			case <-t.C:
				wake(r.here)
			}
			t.Stop()
		}
	}
}

// readBack bounds the entries that are read at start: those of the last orders, whatever they are.
const readBack = 1024

// read takes the last entries of the journal. Those that are known already are passed over.
func (r *receipts) read(ctx context.Context) error {
	at, err := hubJournal{r.c.o.Conn}.end(ctx)
	if err != nil {
		return err
	}
	r.reached(at)
	if at.Sequence == 0 {
		return nil
	}
	return r.c.o.Conn.Read(ctx, bus.StreamJournal, at.Sequence-min(at.Sequence-1, readBack), func(m *bus.Message) error {
		r.live(m)
		return nil
	})
}

// live takes an entry of the stream.
func (r *receipts) live(m *bus.Message) {
	var b bus.Batch
	err := bus.Decode(m.Data, &b)
	if err == nil {
		err = b.Check()
	}
	if err != nil || m.Sequence == 0 {
		r.c.stats.garbage.Add(1)
		r.c.faint.Warn("an entry of the journal cannot be read", "sequence", m.Sequence, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Journal == r.at.Journal {
		r.add(m.Sequence, &b, nil)
	}
}

// offered takes an entry that is about to be the journal's.
func (r *receipts) offered(at bus.Position, b *bus.Batch, taken []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.move(at.Journal)
	r.add(at.Sequence, b, taken)
}

// withdrawn takes an entry back that is not the journal's after all; see written.
func (r *receipts) withdrawn(at bus.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.entries); at.Journal == r.at.Journal && n > 0 && r.entries[n-1].sequence == at.Sequence && r.entries[n-1].offered {
		r.drop(n-1, n)
		r.at.Sequence = at.Sequence - 1
	}
}

// reached hears from the hub where the journal ends. What a PoP claims beyond that is no position.
func (r *receipts) reached(at bus.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	r.move(at.Journal)
	r.at.Sequence = max(r.at.Sequence, at.Sequence)
	for name, p := range r.pops {
		if p.ahead == 0 {
			continue
		}
		if p.ahead <= r.at.Sequence {
			r.advance(p, p.ahead, p.since, nil)
		} else {
			r.c.stats.beyond.Add(1)
			if !p.warned {
				p.warned = true
				r.c.o.Log.Warn("a PoP claims more than the journal has; that is passed over", "pop", name, "claims", p.ahead, "end", r.at)
			}
		}
		p.ahead = 0
	}
}

// move is to which journal all that follows belongs. Of another one before, all is forgotten: PoPs hold for stale what they have then.
// mu is held.
func (r *receipts) move(journal string) {
	if journal == r.at.Journal {
		return
	}
	r.forget()
	r.at = bus.Position{Journal: journal}
	for _, p := range r.pops {
		p.ahead = 0
	}
}

// forget drops all entries; who waits for one is told. mu is held.
func (r *receipts) forget() { r.drop(0, len(r.entries)) }

// drop forgets entries. mu is held.
func (r *receipts) drop(from, to int) {
	for _, e := range r.entries[from:to] {
		r.orders -= len(e.orders)
		r.bytes -= e.bytes
		e.tell()
	}
	r.entries = slices.Delete(r.entries, from, to)
}

// tell ends the waiting for an entry.
func (e *entry) tell() {
	for _, w := range e.waiters {
		close(w)
	}
	e.waiters = nil
}

// add puts an entry where it belongs. What stands there already stays, unless it was offered and another became the journal's. mu is held.
func (r *receipts) add(sequence uint64, b *bus.Batch, taken []time.Time) {
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].sequence >= sequence })
	r.at.Sequence = max(r.at.Sequence, sequence)
	if i < len(r.entries) && r.entries[i].sequence == sequence {
		if old := r.entries[i]; !old.offered || slices.Equal(old.orders, b.Orders) && old.at.Equal(b.At) {
			old.offered = taken != nil && old.offered
			return
		}
		r.drop(i, i+1)
	}
	if len(r.names) == 0 {
		r.refresh()
	}
	e := &entry{
		sequence: sequence, first: b.First, at: b.At, orders: b.Orders, taken: taken, offered: taken != nil, objects: make([]int, len(b.Orders)),
		times: make([]float32, len(r.names)), found: make([][]found, len(b.Orders)),
	}
	for _, o := range b.Orders {
		e.bytes += len(o.Value)
	}
	r.count(e)
	r.entries = slices.Insert(r.entries, i, e)
	for _, p := range r.pops {
		if p.ahead != 0 && p.ahead <= r.at.Sequence {
			r.advance(p, p.ahead, p.since, nil)
			p.ahead = 0
		}
	}
	r.orders += len(e.orders)
	r.bytes += e.bytes
	n := 0
	for r.orders > mostTracked && n < len(r.entries)-1 || r.bytes > mostTrackedAll && n < len(r.entries)-1 {
		r.orders -= len(r.entries[n].orders)
		r.bytes -= r.entries[n].bytes
		r.entries[n].tell()
		n++
	}
	clear(r.entries[:n])
	r.entries = r.entries[n:]
	detailed := 0
	for k := len(r.entries) - 1; k >= 0; k-- { // those above are new, and the first without details has none below it
		old := r.entries[k]
		if detailed += len(old.orders) * (1 + len(r.names)/manyPoPs); detailed > mostDetailed && k < len(r.entries)-1 {
			if old.times == nil {
				break
			}
			old.times, old.found, old.told, old.faults, old.taken = nil, nil, nil, nil, nil
		}
	}
}

// count learns how many PoPs have not come to an entry. mu is held.
func (r *receipts) count(e *entry) {
	e.left = 0
	for _, name := range r.names {
		if p := r.pops[name]; p.at.Journal != r.at.Journal || p.at.Sequence < e.sequence {
			e.left++
		}
	}
}

// refresh takes the PoPs of the network file in use. mu is held.
func (r *receipts) refresh() {
	network := r.c.o.Network()
	if network == nil || network == r.file {
		return
	}
	r.file = network
	if slices.EqualFunc(network.PoPs, r.names, popNamed) {
		return
	}
	r.names = r.names[:0:0]
	known := make(map[string]*popState, len(network.PoPs))
	used := make([]bool, len(network.PoPs))
	var fresh []*popState
	for i := range network.PoPs {
		name := network.PoPs[i].Name
		r.names = append(r.names, name)
		p := r.pops[name]
		if p == nil || int(p.index) >= len(used) {
			// Of one whose number is too high now, details are forgotten.
			was := p
			if p = new(popState); was != nil {
				*p = *was
			} else {
				p.heard = time.Now()
			}
			fresh = append(fresh, p)
		} else {
			used[p.index] = true
		}
		known[name] = p
	}
	next := 0
	for _, p := range fresh {
		for used[next] {
			next++
		}
		p.index, used[next] = uint16(next), true
		for _, e := range r.entries { // what stands there is of a PoP that is no more
			if next < len(e.times) {
				e.times[next] = 0
			}
			e.untold(p.index)
		}
	}
	r.pops = known
	for _, e := range r.entries {
		if r.count(e); e.left == 0 {
			e.tell()
		}
	}
}

// tracked is how many orders are remembered.
func (r *receipts) tracked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orders
}

// receipt takes what a PoP publishes after entries.
func (r *receipts) receipt(m *bus.Message) {
	var x bus.Receipt
	if err := bus.Decode(m.Data, &x); err != nil || len(x.Done) > 64*bus.MostOrders {
		r.garbage(m, err)
		return
	}
	r.c.stats.receipts.Add(1)
	r.heard(m, x.At, x.Done)
}

// report takes a PoP's position from its report.
func (r *receipts) report(m *bus.Message) {
	var x struct {
		Journal bus.Position `json:"journal"`
	}
	if err := bus.Decode(m.Data, &x); err != nil {
		r.garbage(m, err)
		return
	}
	r.heard(m, x.Journal, nil)
}

func (r *receipts) garbage(m *bus.Message, err error) {
	r.c.stats.garbage.Add(1)
	r.c.faint.Warn("what a node published cannot be read; it is passed over", "subject", m.Subject, "error", err)
}

// heard takes a PoP's word.
func (r *receipts) heard(m *bus.Message, at bus.Position, done []bus.Done) {
	_, name, _, ok := bus.SpeakerOf(m.Subject)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pops[name]
	if !ok || p == nil {
		r.refresh() // a PoP that is new
		if p = r.pops[name]; p == nil {
			r.c.stats.unknown.Add(1)
			return
		}
	}
	p.heard = now
	switch {
	case at.Journal == "":
		return // it has not heard of one yet
	case at.Journal != r.at.Journal:
		r.c.stats.foreign.Add(1)
		return
	case at.Sequence > r.at.Sequence:
		// An entry of another control, of which this one has not heard yet, or none at all: the next head tells.
		p.ahead, p.since = at.Sequence, now
		return
	}
	r.advance(p, at.Sequence, now, done)
}

// advance takes that a PoP has come to an entry. mu is held.
func (r *receipts) advance(p *popState, sequence uint64, now time.Time, done []bus.Done) {
	var e *entry
	for _, d := range done {
		if e == nil || d.ID-e.first >= uint64(len(e.orders)) {
			e = r.of(d.ID)
		}
		if e == nil || e.sequence > sequence || e.found == nil || !possible(d) {
			continue
		}
		if d.Objects == 0 && d.Fills == 0 && d.Error == "" {
			continue
		}
		// A receipt may come after the report that says as much, and be told twice: what is said first of an order counts.
		order := uint16(d.ID - e.first)
		if !e.tells(p.index, order) {
			continue
		}
		if d.Error != "" {
			if e.faults == nil {
				e.faults = make(map[fault]string)
			}
			e.faults[fault{p.index, order}] = d.Error
		}
		e.objects[order] += d.Objects
		e.found[order] = append(e.found[order], found{p.index, uint32(d.Objects), uint32(d.Fills)})
	}
	from := uint64(0)
	if p.at.Journal == r.at.Journal {
		from = p.at.Sequence
	}
	if sequence <= from && p.at.Journal == r.at.Journal {
		return
	}
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].sequence > from })
	for ; i < len(r.entries) && r.entries[i].sequence <= sequence; i++ {
		e := r.entries[i]
		if e.taken != nil && int(p.index) < len(e.times) {
			e.times[p.index] = max(float32(now.Sub(e.taken[0]))/float32(time.Millisecond), math.SmallestNonzeroFloat32)
		}
		if e.left--; e.left == 0 {
			e.tell()
		}
	}
	p.at = bus.Position{Journal: r.at.Journal, Sequence: sequence}
}

// possible says whether a PoP can mean that: what it found is summed up over all of them.
func possible(d bus.Done) bool {
	return d.Objects >= 0 && d.Objects <= math.MaxUint32 && d.Fills >= 0 && d.Fills <= math.MaxUint32 && len(d.Error) <= 1024
}

// of finds an order's entry, or nil. mu is held.
func (r *receipts) of(id uint64) *entry {
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].first > id }) - 1
	if i < 0 || id-r.entries[i].first >= uint64(len(r.entries[i].orders)) {
		return nil
	}
	return r.entries[i]
}

// wait returns when every PoP has done an order, or ctx ends, or it is known no more.
func (r *receipts) wait(ctx context.Context, id uint64) error {
	if r.c.stats.waiting.Add(1) > mostWaiting {
		r.c.stats.waiting.Add(-1)
		return refuse(http.StatusServiceUnavailable, "control: %d wait for purges already; purge %d is in the journal, and will be done: ask for it by its number", mostWaiting, id)
	}
	defer r.c.stats.waiting.Add(-1)
	r.mu.Lock()
	e := r.of(id)
	if e == nil || e.left == 0 {
		r.mu.Unlock()
		return nil
	}
	w := make(chan struct{})
	e.waiters = append(e.waiters, w)
	r.mu.Unlock()
	select {
	case <-w:
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		e.waiters = slices.DeleteFunc(e.waiters, func(x chan struct{}) bool { return x == w })
	}
	return nil
}

// end is the journal's last known entry.
func (r *receipts) end() bus.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}
