package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// A lossy store loses answers of the hub: some of entries that it then has, some of such that it never gets, and some of
// such that it gets later, when the writer has offered them again.
type lossy struct {
	hubJournal
	t    *testing.T
	odds *rand.Rand // of the writer's goroutine
	late sync.WaitGroup
	lost int
}

func (l *lossy) append(ctx context.Context, data []byte, last uint64) error {
	switch l.odds.IntN(6) {
	case 0:
		l.hubJournal.append(ctx, data, last)
	case 1:
	case 2:
		l.late.Go(func() { l.hubJournal.append(context.WithoutCancel(ctx), data, last) })
	default:
		return l.hubJournal.append(ctx, data, last)
	}
	l.lost++
	return errors.New("the answer is lost")
}

// silent is told of nothing.
type silent struct{}

func (silent) offered(bus.Position, *bus.Batch, []time.Time) {}
func (silent) withdrawn(bus.Position)                        {}

// writer runs a journal's writer over a store.
func (w *world) writer(store journalStore) (j *journal, stop func()) {
	w.t.Helper()
	j = newJournal(store, slog.New(slog.DiscardHandler), time.Now, silent{}, new(counters))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); j.run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	w.t.Cleanup(stop)
	return j, stop
}

// write gives n orders of a name one by one, from several goroutines, and returns the number that each was told.
func write(t *testing.T, ctx context.Context, j *journal, name string, n int) map[string]uint64 {
	told := make(map[string]uint64)
	var mu sync.Mutex
	var writing sync.WaitGroup
	for i := range n {
		writing.Go(func() {
			value := fmt.Sprintf("%s-%d", name, i)
			ids, _, err := j.write(ctx, []bus.Order{{Kind: "tag", Value: value}})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || len(ids) != 1 {
				if refusal := (*Refusal)(nil); !errors.As(err, &refusal) || refusal.Status != 503 {
					t.Errorf("%s: %v, %v", value, ids, err)
				}
				return
			}
			told[value] = ids[0]
		})
	}
	writing.Wait()
	return told
}

// has checks that each order stands in the journal at the number that was told, and no order twice.
func (w *world) has(values []string, told map[string]uint64) {
	w.t.Helper()
	for value, id := range told {
		if id == 0 || id > uint64(len(values)) || values[id-1] != value {
			w.t.Errorf("%s was told the number %d, and stands at %d", value, id, slices.Index(values, value)+1)
		}
	}
	slices.Sort(values)
	if n := len(slices.Compact(slices.Clone(values))); n != len(values) {
		w.t.Errorf("of %d orders %d stand there twice", n, len(values)-n)
	}
}

// TestLostAnswers loses the hub's answers: an order has one number all the same.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn := w.inProcess()
	if err := hub.Ensure(w.ctx(), conn, 1); err != nil {
		t.Fatal(err)
	}
	store := &lossy{hubJournal: hubJournal{conn}, t: t, odds: rand.New(rand.NewPCG(1, 2))}
	j, stop := w.writer(store)
	// Somebody waits for the writer's pauses instead of it.
	hurry, cancel := context.WithCancel(t.Context())
	var hurrying sync.WaitGroup
	hurrying.Go(func() {
		for hurry.Err() == nil {
			select {
			case j.here <- struct{}{}:
			case <-hurry.Done():
			}
		}
	})
	told := make(map[string]uint64)
	for round := range 20 {
		for value, id := range write(t, w.ctx(), j, fmt.Sprint("r", round), 10) {
			told[value] = id
		}
	}
	stop()
	cancel()
	hurrying.Wait()
	store.late.Wait()
	values := w.journal(conn)
	if len(told) != 200 || len(values) != 200 || store.lost == 0 {
		t.Errorf("%d orders were told of, %d are there, %d answers were lost", len(told), len(values), store.lost)
	}
	w.has(values, told)
	t.Logf("%d answers were lost", store.lost)
}

// TestTwoWriters has two controls write at the same time, as nobody should: no number is given twice.
func TestTwoWriters(t *testing.T) {
	w := newWorld(t)
	conn := w.inProcess()
	if err := hub.Ensure(w.ctx(), conn, 1); err != nil {
		t.Fatal(err)
	}
	a, _ := w.writer(hubJournal{conn})
	b, _ := w.writer(hubJournal{w.inProcess()})
	told := make(map[string]uint64)
	var mu sync.Mutex
	var both sync.WaitGroup
	for name, j := range map[string]*journal{"a": a, "b": b} {
		both.Go(func() {
			for round := range 10 {
				one := write(t, w.ctx(), j, fmt.Sprint(name, round), 5)
				mu.Lock()
				for value, id := range one {
					told[value] = id
				}
				mu.Unlock()
			}
		})
	}
	both.Wait()
	values := w.journal(conn)
	if len(told) != 100 || len(values) != 100 {
		t.Errorf("%d orders were told of, %d are there", len(told), len(values))
	}
	w.has(values, told)
}

// TestControlKilled ends controls, and then the hub, in the middle of writing: what was told is there, once, and numbers go on.
func TestControlKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := make(map[string]uint64)
	for round := range 4 {
		c, stop := w.control()
		var writing sync.WaitGroup
		var some map[string]uint64
		giveUp, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		writing.Go(func() { some = write(t, giveUp, c.journal, fmt.Sprint("r", round), 300) })
		w.until("something is written", func() bool { return c.Stats().Entries > 0 })
		if round%2 == 1 {
			w.hub.Close()
		}
		stop()
		writing.Wait()
		cancel()
		if round%2 == 1 {
			w.startHub()
		}
		for value, id := range some {
			told[value] = id
		}
	}
	c, _ := w.control()
	for value, id := range write(t, w.ctx(), c.journal, "last", 20) {
		told[value] = id
	}
	values := w.journal(w.inProcess())
	if len(told) < 24 {
		t.Errorf("%d orders were told of", len(told))
	}
	w.has(values, told)
}

// stuck is a hub that takes nothing until it is let.
type stuck struct {
	hubJournal
	let chan struct{}
}

func (s *stuck) append(ctx context.Context, data []byte, last uint64) error {
	select {
	case <-s.let:
		return s.hubJournal.append(ctx, data, last)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestQueue fills the queue: what is above it is refused at once, whoever waits may leave, and what waits is written in few entries.
func TestQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn := w.inProcess()
	if err := hub.Ensure(w.ctx(), conn, 1); err != nil {
		t.Fatal(err)
	}
	store := &stuck{hubJournal{conn}, make(chan struct{})}
	j, _ := w.writer(store)
	queued := func() int { j.mu.Lock(); defer j.mu.Unlock(); return len(j.queue) }
	var writing sync.WaitGroup
	give := func(n int) {
		orders := slices.Repeat([]bus.Order{{Kind: "all"}}, n)
		writing.Go(func() {
			if ids, _, err := j.write(w.ctx(), orders); err != nil || len(ids) != n || ids[n-1] != ids[0]+uint64(n-1) {
				t.Errorf("%d orders: %v, %v", n, len(ids), err)
			}
		})
	}
	give(1)
	w.until("the first is on its way", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.doubts })
	for range mostQueued / bus.MostOrders {
		give(bus.MostOrders)
	}
	w.until("the queue is full", func() bool { return queued() == mostQueued })
	_, _, err := j.write(w.ctx(), []bus.Order{{Kind: "all"}})
	if refusal := (*Refusal)(nil); !errors.As(err, &refusal) || refusal.Status != 503 || !strings.Contains(err.Error(), "tell it again") {
		t.Errorf("above the queue: %v", err)
	}
	close(store.let)
	writing.Wait()
	left, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := j.write(left, []bus.Order{{Kind: "all"}}); err == nil {
		t.Error("whoever has gone was told a number")
	}
	if n := j.stats.entries.Load(); n != 1+mostQueued/bus.MostOrders && n != 2+mostQueued/bus.MostOrders {
		t.Errorf("%d entries", n)
	}
	// The largest orders still make entries that a message can have, however JSON writes them.
	large := slices.Repeat([]bus.Order{{Kind: "tag", Value: strings.Repeat("<", bus.MostOrderBytes)}}, 64)
	if ids, _, err := j.write(w.ctx(), large); err != nil || len(ids) != 64 {
		t.Errorf("large orders: %d, %v", len(ids), err)
	}
	w.journal(conn)
}

// TestNewJournal has the hub lose its disk: another journal begins, and what was known of the old one is forgotten.
func TestNewJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _ := w.control()
	op := w.dial(fleet.RoleOperator, "main")
	for range 3 {
		w.ask(op, "purge", PurgeCall{Order: bus.Order{Kind: "all"}}, nil)
	}
	was := c.receipts.end()
	if _, err := c.o.Conn.Request(w.ctx(), "$JS.API.STREAM.DELETE."+bus.StreamJournal, nil); err != nil {
		t.Fatal(err)
	}
	if err := hub.Ensure(w.ctx(), c.o.Conn, 1); err != nil {
		t.Fatal(err)
	}
	var p Purge
	if a := w.ask(op, "purge", PurgeCall{Order: bus.Order{Kind: "all"}}, &p); a.Status != 200 || p.ID != 1 {
		t.Errorf("%+v, %+v", a, p)
	}
	if is := c.receipts.end(); is.Journal == was.Journal || is.Sequence != 1 || c.Stats().Tracked != 1 {
		t.Errorf("%v after %v, %+v", is, was, c.Stats())
	}
	// One that is cut short, or has an entry that nobody can read at its end: numbers are never given again.
	if _, err := c.o.Conn.Append(w.ctx(), bus.SubjectJournal, []byte("{garbage"), bus.ExpectLast(1)); err != nil {
		t.Fatal(err)
	}
	if a := w.ask(op, "purge", PurgeCall{Order: bus.Order{Kind: "all"}}, &p); a.Status != 200 || p.ID != 2*bus.MostOrders+1 {
		t.Errorf("%+v, %+v", a, p)
	}
}
