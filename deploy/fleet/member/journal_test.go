package member_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/member"
)

// Entries have their effect in their order, and a receipt says so; an order that means nothing here stops nothing.
func TestLive(t *testing.T) {
	w := newWorld(t)
	receipts := make(chan bus.Receipt, 100)
	if _, err := w.control.Subscribe(bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReceipt), func(m *bus.Message) {
		var r bus.Receipt
		if err := bus.Decode(m.Data, &r); err != nil {
			t.Error(err)
		}
		receipts <- r
	}); err != nil {
		t.Fatal(err)
	}
	n := w.node(fleet.RoleEdge, "fra")
	n.start()
	n.there()
	n.put("a", 0)
	n.put("b", 0)
	w.order("a", "nobody")
	w.order("c")
	if err := n.member.Wait(w.ctx(), w.end()); err != nil {
		t.Fatal(err)
	}
	if n.has("a") || !n.has("b") {
		t.Error("not what was ordered is gone")
	}
	done := make(map[uint64]bus.Done)
	for at := (bus.Position{}); at != w.end(); {
		r := <-receipts
		at = r.At
		for _, d := range r.Done {
			done[d.ID] = d
		}
	}
	if len(done) != 3 || done[1].Objects != 1 || done[2].Error == "" || done[3].Error != "" {
		t.Errorf("receipts: %+v", done)
	}
	s := n.member.Stats()
	if s.Sequence != 2 || s.Purges[member.PurgeCount{Kind: "url", Result: "done"}] != 2 || s.Purges[member.PurgeCount{Kind: "url", Result: "error"}] != 1 || len(s.Flushes) != 0 {
		t.Errorf("%+v", s)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.member.Wait(ended, bus.Position{Journal: w.journal, Sequence: 3}); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait for what does not come: %v", err)
	}
}

// What was ordered while a node was away takes what it had kept, from where it stood, and nothing else is carried out again but what a second
// of the process before it had not written down.
func TestAway(t *testing.T) {
	w := newWorld(t)
	n := w.node(fleet.RoleEdge, "fra")
	n.start()
	n.there()
	w.order("early")
	n.there()
	n.put("a", 0)
	n.put("b", 0)
	n.kept = true
	n.stop()
	for i := range 1500 { // more than one answer of the hub holds
		w.order(fmt.Sprint("x", i))
	}
	w.order("a", "c")
	n.purged = nil
	n.start()
	n.there()
	purged, flushed, _ := n.seen()
	if n.has("a") || !n.has("b") || len(flushed) > 0 || len(purged) != 1502 || slices.Contains(purged, "early") {
		t.Errorf("a %v, b %v, flushed %v, %d orders", n.has("a"), n.has("b"), flushed, len(purged))
	}
}

// What is lost on its way is read from the stream, the last entry by the heartbeat alone, and what comes twice is carried out once.
func TestLost(t *testing.T) {
	w := newWorld(t)
	n := w.node(fleet.RoleEdge, "fra")
	var mu sync.Mutex
	drop := map[uint64]bool{3: true, 7: true, 10: true}
	n.hear = func(m *bus.Message, take func(*bus.Message)) {
		mu.Lock()
		defer mu.Unlock()
		if !drop[m.Sequence] {
			take(m)
			take(m) // and each twice
		}
	}
	n.start()
	n.there()
	want := []string{}
	for i := range 10 {
		want = append(want, fmt.Sprint("x", i))
		w.order(want[i])
	}
	n.there() // the last one by the heartbeat alone
	if purged, flushed, _ := n.seen(); !slices.Equal(purged, want) || len(flushed) > 0 {
		t.Errorf("purged %v, flushed %v", purged, flushed)
	}
	if n.member.Stats().Missed == 0 {
		t.Error("nothing was missed")
	}
}

// What makes it unknown what was purged makes all that is stored stale, once, and the journal goes on.
func TestFlush(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		do     func(w *world, n *node) // while the node is down
		after  bool                    // and not while it is up
	}{
		"history":  {"history", func(w *world, n *node) { w.order("y1"); w.order("y2"); forgetUpTo(w, w.last) }, true},
		"all gone": {"history", func(w *world, n *node) { w.order("y1"); forgetUpTo(w, w.last+1) }, true},
		"another":  {"journal", func(w *world, n *node) { w.restart(true); w.order("y1") }, true},
		"empty":    {"journal", func(w *world, n *node) { w.restart(true) }, true},
		"longer":   {"journal", func(w *world, n *node) { w.restart(true); w.order("y"); w.order("y"); w.order("y"); w.order("y") }, true},
		"live":     {"journal", func(w *world, n *node) { w.restart(true); w.order("y1") }, false},
		"renamed":  {"journal", func(w *world, n *node) { w.journal = "b"; w.next = 1; w.order("y1") }, false},
		"numbers":  {"journal", func(w *world, n *node) { w.next += 5; w.order("y1") }, false},
		"back": {"journal", func(w *world, n *node) {
			w.restart(true)
			w.journal = "a"
			w.order("y1")
		}, true},
		"grown again":               {"journal", func(w *world, n *node) { grownAgain(w) }, true},
		"grown again while cut off": {"journal", func(w *world, n *node) { grownAgain(w) }, false},
		"damaged": {"position", func(w *world, n *node) {
			if err := os.WriteFile(filepath.Join(n.state, member.PositionFile), []byte(`{"v":1,"jour`), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		"of a newer program": {"position", func(w *world, n *node) {
			if err := os.WriteFile(filepath.Join(n.state, member.PositionFile), []byte(`{"v":2,"journal":"a","sequence":3,"branch":"b"}`), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		"removed": {"position", func(w *world, n *node) {
			if err := os.Remove(filepath.Join(n.state, member.PositionFile)); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		"garbage": {"unreadable", func(w *world, n *node) { w.entry([]byte("garbage")) }, false},
		"newer":   {"unreadable", func(w *world, n *node) { w.entry([]byte(`{"v":2,"wonderful":true}`)) }, true},
		"nothing": {"unreadable", func(w *world, n *node) { w.entry(bus.Encode(bus.Batch{Journal: "a", First: w.next})) }, false},
		"a newer way": {"unreadable", func(w *world, n *node) {
			w.entry(bus.Encode(bus.Batch{Journal: "a", First: w.next, Orders: []bus.Order{{Kind: "colour"}}}))
			w.next++
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.node(fleet.RoleEdge, "fra")
			n.start()
			n.there()
			w.order("x1")
			w.order("x2")
			w.order("x3")
			n.there()
			n.put("a", 0)
			n.kept = true
			if c.after {
				n.stop()
			}
			c.do(w, n)
			if c.after {
				n.start()
			}
			n.there()
			if _, flushed, _ := n.seen(); len(flushed) != 1 {
				t.Errorf("flushed %q", flushed)
			}
			if s := n.member.Stats(); s.Flushes[c.reason] != 1 {
				t.Errorf("reasons %v", s.Flushes)
			}
			if p := n.member.Problems(); len(p) != 1 || !strings.Contains(p[0], "stale") {
				t.Errorf("problems %q", p)
			}
			if k := n.log.count("stale"); k != 1 {
				t.Errorf("it is logged %d times that all is stale", k)
			}
			if k := n.member.Stats().Refused["entry"]; (k > 0) != (c.reason == "unreadable") || n.log.count("kind=entry") > 1 {
				t.Errorf("%d entries are counted as refused, in %d lines", k, n.log.count("kind=entry"))
			}
			n.put("b", 0)
			n.put("c", 0)
			w.order("b")
			n.there()
			if _, flushed, _ := n.seen(); n.has("b") || !n.has("c") || len(flushed) != 1 {
				t.Errorf("afterwards: b %v, c %v, flushed %q", n.has("b"), n.has("c"), flushed)
			}
		})
	}
}

// What was done of one journal is not told as done of the next one, which may use the same numbers.
func TestReceiptsOfTwoJournals(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var wrong []bus.Receipt
	if _, err := w.control.Subscribe(bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReceipt), func(m *bus.Message) {
		var r bus.Receipt
		if err := bus.Decode(m.Data, &r); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if r.At.Journal == "b" && len(r.Done) > 0 && r.Done[0].ID <= 900 {
			wrong = append(wrong, r)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // several receipts in the time in which one is sent
		w.order(slices.Repeat([]string{"x"}, 300)...)
	}
	w.journal, w.next = "b", 1000
	w.order("y")
	n := w.node(fleet.RoleEdge, "fra")
	n.start()
	n.there()
	w.order("z")
	n.there()
	n.stop() // which sends the last one
	mu.Lock()
	defer mu.Unlock()
	for _, r := range wrong {
		t.Errorf("a receipt at %v tells of %d orders from number %d on", r.At, len(r.Done), r.Done[0].ID)
	}
}

// grownAgain has the hub lose the journal, as where somebody puts an old copy of its disk in place, and nobody notice before it is longer
// than it was: all numbers are as nodes expect them, and what they stand behind is another entry.
func grownAgain(w *world) {
	w.t.Helper()
	w.stop()
	if err := os.RemoveAll(filepath.Join(w.folder, "hub")); err != nil {
		w.t.Fatal(err)
	}
	addr := w.addr
	w.addr = netip.MustParseAddrPort("127.0.0.1:0") // where nobody comes in meanwhile
	w.start()
	w.last, w.next = 0, 1
	for _, url := range []string{"a", "y2", "y3", "y4"} {
		w.order(url)
	}
	w.stop()
	w.addr = addr
	w.start()
}

// forgetUpTo has the stream end its history before an entry.
func forgetUpTo(w *world, sequence uint64) {
	w.t.Helper()
	m, err := w.control.Request(w.ctx(), "$JS.API.STREAM.PURGE."+bus.StreamJournal, fmt.Appendf(nil, `{"seq":%d}`, sequence))
	if err != nil || strings.Contains(string(m.Data), `"error"`) {
		w.t.Fatalf("%v: %s", err, m.Data)
	}
}

// A node that has kept nothing begins with what there is to read of a short journal, and with a flush that worries nobody at the end of a long one.
func TestNew(t *testing.T) {
	w := newWorld(t)
	w.order("a")
	w.order("b")
	n := w.node(fleet.RoleEdge, "fra")
	n.put("a", 0) // stored before it first heard of the journal
	n.start()
	n.there()
	if _, flushed, _ := n.seen(); n.has("a") || len(flushed) > 0 {
		t.Errorf("a %v, flushed %q", n.has("a"), flushed)
	}
	forgetUpTo(w, 2)
	m := w.node(fleet.RoleEdge, "iad")
	m.put("a", 0)
	m.start()
	m.there()
	if _, flushed, _ := m.seen(); m.has("a") || len(flushed) != 1 || m.member.Stats().Flushes["start"] != 1 || len(m.member.Problems()) > 0 {
		t.Errorf("a %v, flushed %q, problems %q", m.has("a"), flushed, m.member.Problems())
	}
}

// What nobody may say has no effect, is counted, and keeps nothing else from its effect.
func TestGarbage(t *testing.T) {
	w := newWorld(t)
	n := w.node(fleet.RoleEdge, "fra")
	n.start()
	n.there()
	n.put("a", 0)
	forged := bus.Encode(bus.Batch{Journal: w.journal, First: w.next, Orders: []bus.Order{{Kind: "all"}}})
	other := bus.Encode(bus.Batch{Journal: "other", First: 1, Orders: []bus.Order{{Kind: "all"}}})
	for _, m := range []*bus.Message{
		{Data: forged}, {Data: []byte("x")}, {}, {Sequence: 1, Data: []byte("x")}, {Sequence: 1 << 63, Data: forged}, {Sequence: 1, Data: other}, {Sequence: 9},
	} {
		n.member.Live(m)
	}
	for _, data := range []string{"", "x", "{}", `{"v":1}`, `{"v":1,"journal":"a"}`, `{"v":1,"journal":{"journal":"","sequence":9}}`, `{"v":2}`} {
		if err := w.control.Publish(bus.LiveHead, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := w.control.Publish(bus.LiveTables+"x.y", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	w.order("b")
	n.there()
	purged, flushed, told := n.seen()
	if !slices.Equal(purged, []string{"b"}) || len(flushed)+len(told) > 0 || !n.has("a") {
		t.Errorf("purged %q, flushed %q, told %q", purged, flushed, told)
	}
	poll(t, "all are counted", func() bool { // each kind in its own time
		r := n.member.Stats().Refused
		return r["entry"] >= 3 && r["head"] == 7 && r["table"] == 7
	})
	for _, kind := range []string{"entry", "head", "table"} {
		if k := n.log.count("kind=" + kind); k != 1 {
			t.Errorf("of %s the log has %d lines", kind, k)
		}
	}
}

// While a purge takes its time no more than a bound waits, and what was dropped is read.
func TestSlow(t *testing.T) {
	w := newWorld(t)
	n := w.node(fleet.RoleEdge, "fra")
	begun, release := make(chan struct{}), make(chan struct{})
	n.options = func(o *member.Options) {
		purge := o.Purge
		o.Purge = func(order bus.Order) bus.Done {
			if order.Value == "slow" {
				close(begun)
				<-release
			}
			return purge(order)
		}
	}
	n.start()
	n.there()
	w.order("slow")
	<-begun
	const more = 2*member.MostWaiting + 10
	for i := range more {
		w.order(fmt.Sprint("x", i))
	}
	close(release)
	n.there()
	purged, flushed, _ := n.seen()
	if len(purged) != more+1 || len(flushed) > 0 {
		t.Errorf("%d orders, flushed %q", len(purged), flushed)
	}
}

// A node that starts without a hub knows nothing for as long, and takes what it has for stale where that was long.
func TestOffline(t *testing.T) {
	w := newWorld(t)
	n := w.node(fleet.RoleEdge, "fra")
	n.offline = true
	n.start()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.member.Wait(ctx, bus.Position{Journal: "a", Sequence: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	n.stop()
}
