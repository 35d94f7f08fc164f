package member

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// A lone member is one whose hub never answers: what it hears is handed to it.
type lone struct {
	*Member

	mu      sync.Mutex // guards what follows
	orders  map[bus.Order]int
	flushed int
	calls   []bus.Call
}

func newLone(t testing.TB) *lone {
	t.Helper()
	dir := t.TempDir()
	a, err := fleet.OpenAuthority(filepath.Join(dir, "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(dir, "identity")
	if _, err := a.Issue(identity, fleet.RoleEdge, "fra", nil); err != nil {
		t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(identity)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	conn, err := bus.Dial(bus.Options{URLs: []string{"tls://127.0.0.1:1"}, Identity: id, Embedded: "us", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	l := &lone{orders: make(map[bus.Order]int)}
	l.Member, err = New(Options{
		Conn: conn, Identity: id, State: dir, Log: quiet,
		Purge: func(o bus.Order) bus.Done {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.orders[o]++
			return bus.Done{Error: strings.Repeat("<", 700)}
		},
		Flush: func(string) { l.flushed++ },
		Take:  func(int, []byte) error { return nil },
		Call: func(_ context.Context, c bus.Call) bus.Answer {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.calls = append(l.calls, c)
			return bus.Answer{Status: 200}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// refused is how many messages have been refused.
func (l *lone) refused() (n uint64) {
	for _, k := range l.Stats().Refused {
		n += k
	}
	return n
}

// seeds are messages, good ones and bad ones, for each subject.
func seeds(f *testing.F) {
	entry := bus.Encode(bus.Batch{Journal: "a", First: 1, Orders: []bus.Order{{Kind: "url", Value: "www.example.org/a"}, {Kind: "all"}}})
	for _, data := range [][]byte{
		nil, []byte("{}"), []byte(`{"v":1}`), []byte(`{"v":2,"journal":"a"}`), []byte("\xff\x00"),
		bus.Encode(bus.Head{Journal: bus.Position{Journal: "a", Sequence: 3}, Tables: 9, Target: 8}),
		bus.Encode(bus.Head{Journal: bus.Position{Journal: strings.Repeat("a", 65)}, Tables: 1 << 63, Target: 1 << 63}),
		[]byte(`{"v":1,"journal":{"sequence":1},"tables":99,"target":99}`),
		entry, entry[:len(entry)-3],
		bus.Encode(bus.Batch{Journal: "a", First: 1<<64 - 1, Orders: []bus.Order{{Kind: "url"}, {Kind: "all"}}}),
		bus.Encode(bus.Batch{Journal: "a", First: 1, Orders: []bus.Order{{Kind: "by moonlight"}}}),
		bus.Encode(bus.Target{Stable: 1, Hash: "x"}),
		bus.Encode(bus.Call{Method: "POST", Path: "/v1/purge?x=1", Body: []byte("{}")}),
		bus.Encode(bus.Call{Method: "GET", Path: "/v1/../debug/pprof"}),
		bus.Encode(bus.Revision{Number: 7, Hash: bus.HashOf([]byte("x")), File: []byte("x")}),
	} {
		for kind := range uint8(5) {
			f.Add(kind, data, uint64(1))
			f.Add(kind, data, uint64(0))
		}
	}
}

// FuzzHear has a member hear anything at each of its subjects. What cannot be right is counted and changes nothing; nothing that comes live
// alone has an order carried out where it does not fit; and what waits is bounded.
func FuzzHear(f *testing.F) {
	seeds(f)
	l := newLone(f)
	f.Fuzz(func(t *testing.T, kind uint8, data []byte, sequence uint64) {
		m := &bus.Message{Data: data, Sequence: sequence}
		refused := l.refused()
		grew := func() bool { return l.refused() == refused+1 }
		switch kind % 5 {
		case 0:
			l.revisions.mu.Lock()
			l.revisions.heard, l.revisions.unread = time.Time{}, false
			l.revisions.mu.Unlock()
			l.tables.stale, l.journal.spoken = false, false
			l.heard(m)
			if grew() && (!l.revisions.heard.IsZero() || l.revisions.unread || l.tables.stale || l.journal.spoken) {
				t.Error("a heartbeat that was refused had an effect")
			}
			var h bus.Head
			if good := bus.Decode(data, &h) == nil && h.Journal.Journal != "" && len(h.Journal.Journal) <= 64; good == grew() {
				t.Errorf("refused is %v", grew())
			}
		case 1:
			waiting := len(l.journal.waiting)
			l.journal.live(m)
			if sequence == 0 && (!grew() || len(l.journal.waiting) != waiting) {
				t.Error("an entry of no stream waits")
			}
			if len(l.journal.waiting) > mostWaiting || l.journal.bytes > mostWaitingBytes {
				t.Errorf("%d entries of %d bytes wait", len(l.journal.waiting), l.journal.bytes)
			}
			l.journal.turn(canceled()) // nothing is known of the journal: none of it is carried out
		case 2:
			m.Subject = bus.LiveTables + "drain.fra"
			l.tables.stale, l.tables.at = false, 0
			l.tables.live(m)
			if (sequence == 0) != grew() || l.tables.stale == grew() {
				t.Errorf("refused is %v, to be read %v", grew(), l.tables.stale)
			}
		case 3:
			m.Subject = bus.LiveTables + bus.TableTarget + "." + bus.TargetKey
			l.revisions.target, l.revisions.seq, l.revisions.unread = bus.Target{}, 0, false
			l.revisions.live(m)
			if good := bus.Decode(data, new(bus.Target)) == nil && sequence > 0; good != (l.revisions.seq > 0) || good == l.revisions.unread {
				t.Errorf("it is %v, and the target %d", good, l.revisions.seq)
			}
		case 4:
			l.calls = nil
			l.Member.calls.take(context.Background(), m)
			l.Member.calls.busy.Wait()
			if grew() == (len(l.calls) == 1) {
				t.Errorf("refused is %v, and %v were called", grew(), l.calls)
			}
			for _, c := range l.calls {
				if path, _, _ := strings.Cut(c.Path, "?"); !strings.HasPrefix(path, "/v1/") || strings.Contains(path, "..") || c.Method != "GET" && c.Method != "POST" {
					t.Errorf("%+v was called", c)
				}
			}
		}
		if len(l.orders) > 0 {
			t.Errorf("carried out: %v", l.orders)
		}
	})
}

// canceled is a context that has ended: with it nothing is asked of the hub.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// FuzzEntry carries out anything as the entry of a journal: its orders where it can be read, each once, and else none of them, a flush and a
// count. Where the node stands afterwards is behind it.
func FuzzEntry(f *testing.F) {
	seeds(f)
	l := newLone(f)
	f.Fuzz(func(t *testing.T, kind uint8, data []byte, sequence uint64) {
		if sequence == 0 {
			sequence = 1
		}
		clear(l.orders)
		l.flushed = 0
		refused := l.refused()
		j := l.journal
		e := decodeEntry(&bus.Message{Data: data, Sequence: sequence})
		from := place{Position: bus.Position{Journal: "a", Sequence: sequence - 1}, Next: uint64(kind)}
		if kind%3 == 0 {
			from.Next, from.Sum = 0, bus.HashOf(data)
		}
		reason, is := from.unlike(&e), from.isAt(&e)
		if reason == flushJournal && e.wrong != nil || is && from.Sum != "" && from.Sum != e.sum {
			t.Errorf("it is %q, and there %v", reason, is)
		}
		to := from.after(&e)
		if to.Sequence != sequence || to.Sum != bus.HashOf(data) || e.wrong == nil && to.Next <= e.batch.First {
			t.Errorf("behind it is %+v", to)
		}
		j.carryOut([]entry{e}, to)
		n := 0
		for _, k := range l.orders {
			n += k
		}
		want := len(e.batch.Orders)
		if e.wrong != nil {
			want = 0
		}
		if wrong := e.wrong != nil; n != want || l.flushed > 1 || wrong != (l.flushed == 1) || wrong != (l.refused() == refused+1) {
			t.Errorf("%q: %d orders carried out, wanted %d; %d flushes", e.wrong, n, want, l.flushed)
		}
		if l.Position() != to.Position {
			t.Errorf("the node stands at %+v", l.Position())
		}
	})
}

// FuzzPlace reads anything as the file that says how far a node came: a place in a journal that has a name, or an error. What is read can be
// written and read again.
func FuzzPlace(f *testing.F) {
	for _, s := range []string{"", "{}", `{"v":1}`, `{"v":1,"journal":"a","sequence":18446744073709551615,"next":18446744073709551615,"sum":"x"}`,
		`{"v":2,"journal":"a"}`, "\x00", strings.Repeat(" ", 5000) + "{}"} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, positionFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := loadPlace(dir)
		if err != nil {
			if p != (place{}) {
				t.Errorf("%v, and %+v", err, p)
			}
			return
		}
		if p.Journal == "" || len(p.Journal) > 64 {
			t.Errorf("it stands in %q", p.Journal)
		}
		if err := savePlace(dir, p); err != nil {
			t.Fatal(err)
		}
		if again, err := loadPlace(dir); len(bus.Encode(p)) < mostPosition && (err != nil || again != p) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

// FuzzRevision reads anything as a revision: a file is taken where its hash is the one that was meant, and never else.
func FuzzRevision(f *testing.F) {
	file := []byte("version: 1\n")
	for _, rev := range []bus.Revision{{Number: 7, Hash: bus.HashOf(file), File: file}, {Number: 8, Hash: bus.HashOf(file), File: file}, {Number: 7,
		Hash: "x", File: file}, {Number: 7, Hash: bus.HashOf(file), File: []byte("x")}} {
		f.Add(bus.Encode(rev))
	}
	f.Add([]byte(`{"v":2}`))
	want := which{7, bus.HashOf(file)}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := want.read(data); err == nil && string(got) != string(file) {
			t.Errorf("%q is taken", got)
		}
	})
}

// TestTables hands over values of tables: keys that cannot be are refused and counted, there are no more than may be, and however large values
// are, little is kept of them.
func TestTables(t *testing.T) {
	l := newLone(t)
	large := make([]byte, 1<<20)
	for i, c := range []struct {
		subject string
		value   []byte
		keys    int
		refused uint64
	}{
		{"table.drain.fra", []byte("a"), 1, 0}, {"table.drain.fra", []byte("b"), 1, 0}, {"table.drain.fra", nil, 0, 0}, {"table.drain.fra", nil, 0, 0},
		{"table.drain.fra", large, 1, 0},
		{"table.drain", []byte("x"), 1, 1}, {"secret.a.b", []byte("x"), 1, 2}, {"table.a." + strings.Repeat("x", mostName+1), []byte("x"), 1, 3},
	} {
		l.tables.tell(c.subject, c.value)
		if n := l.refused(); n != c.refused || len(l.tables.values) != c.keys {
			t.Errorf("number %d: %d refused, wanted %d; %d keys, wanted %d", i, n, c.refused, len(l.tables.values), c.keys)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range mostKeys {
		l.tables.tell(fmt.Sprintf("table.a.%d", i), append([]byte(nil), large[:10<<10]...))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := l.refused(); n != 4 || len(l.tables.values) != mostKeys {
		t.Errorf("%d refused, %d keys", n, len(l.tables.values))
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("%d keys are kept in %d MiB", mostKeys, grown>>20)
	}
}

// TestSayAll: a receipt that says of each order what was wrong with it is sent all the same, and a file with a thousand mistakes makes no
// report too large.
func TestSayAll(t *testing.T) {
	l := newLone(t)
	done := make([]bus.Done, mostAtOnce)
	for i := range done {
		done[i] = bus.Done{ID: uint64(i), Error: strings.Repeat("<", 700)}
	}
	if data := bus.Encode(bus.Receipt{Done: done}); len(data) <= bus.MostMessage {
		t.Fatalf("%d bytes are none too many", len(data))
	}
	if data := l.journal.word(done); len(data) > bus.MostMessage {
		t.Errorf("a receipt of %d bytes", len(data))
	}
	l.revisions.tried(which{number: 7}, fmt.Errorf("%s", strings.Repeat("f:1:1: é\n", 100_000)))
	if data := bus.Encode(l.report.make()); len(data) > mostReport {
		t.Errorf("a report of %d bytes", len(data))
	}
}
