package control

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// TestBadReceipts has nodes say what is not so: it has no effect, is counted, and logged once.
func TestBadReceipts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lines record
	var network atomic.Pointer[deploy.Network]
	network.Store(w.network)
	c, _ := w.control(lines.in, func(c *Control) { c.o.Network = network.Load })
	op := w.dial(fleet.RoleOperator, "main")
	var p Purge
	w.ask(op, "purge", PurgeCall{Order: bus.Order{Kind: "url", Value: "www.hither.test/a"}}, &p)
	w.ask(op, "purge", PurgeCall{Order: bus.Order{Kind: "tag", Value: "b"}}, &p)
	end := c.receipts.end()
	fra, unknown, ns := w.dial(fleet.RoleEdge, "fra"), w.dial(fleet.RoleEdge, "nowhere"), w.dial(fleet.RoleDNS, "ns1")
	say := func(conn *bus.Conn, kind string, data []byte) {
		t.Helper()
		if err := conn.Publish(bus.UpSubject(conn.Peer().Role, conn.Peer().Name, kind), data); err != nil {
			t.Fatal(err)
		}
	}
	counted := func(what string, want Stats) {
		t.Helper()
		w.until(what, func() bool {
			s := c.Stats()
			return s.Garbage == want.Garbage && s.Foreign == want.Foreign && s.Unknown == want.Unknown && s.Impossible == want.Impossible
		})
	}
	for _, garbage := range []string{"", "x", "{}", `{"v":1,"at":"x"}`, `{"v":2}`, `{"v":1,"done":[{"id":-1}]}`, "\xff\x00"} {
		say(fra, bus.UpReceipt, []byte(garbage))
	}
	counted("garbage", Stats{Garbage: 7})
	say(fra, bus.UpReport, []byte("x"))
	counted("a report that is none", Stats{Garbage: 8})
	say(fra, bus.UpReceipt, bus.Encode(bus.Receipt{At: bus.Position{Journal: "another", Sequence: 2}}))
	say(unknown, bus.UpReceipt, bus.Encode(bus.Receipt{At: end}))
	counted("another journal, another node", Stats{Garbage: 8, Foreign: 1, Unknown: 1})
	say(ns, bus.UpReport, []byte("x"))
	say(ns, bus.UpReport, []byte(`{"v":2,"state":"ready"}`))
	counted("a name server's that are none", Stats{Garbage: 10, Foreign: 1, Unknown: 1})
	for _, impossible := range []string{
		`{"v":1,"state":"ready","requests":-1}`, `{"v":1,"state":"ready","errors":9007199254740993}`, `{"v":1,"state":"ready","load":1e7}`, `{"v":1,"state":"king"}`,
		`{"v":1,"state":"ready","revision":-1}`, `{"v":1,"state":"ready","hash":"` + strings.Repeat("x", 65) + `"}`,
	} {
		say(fra, bus.UpReport, []byte(impossible))
	}
	say(ns, bus.UpReport, []byte(`{"v":1,"state":"ready","active":-1}`))
	counted("what no node can mean", Stats{Garbage: 10, Foreign: 1, Unknown: 1, Impossible: 7})
	for _, line := range []string{"what a node published cannot be read", "a report is passed over"} {
		if n := lines.count(line); n != 1 {
			t.Errorf("%q is logged %d times", line, n)
		}
	}
	say(fra, bus.UpReport, bus.Encode(bus.Report{})) // it knows no journal yet
	for range 3 {
		say(fra, bus.UpReceipt, bus.Encode(bus.Receipt{At: bus.Position{Journal: end.Journal, Sequence: 1 << 62}}))
	}
	w.until("a claim beyond the end is refused", func() bool { return c.Stats().Beyond > 0 })
	before := c.Stats().Beyond
	say(fra, bus.UpReceipt, bus.Encode(bus.Receipt{At: bus.Position{Journal: end.Journal, Sequence: 1 << 61}}))
	w.until("and again", func() bool { return c.Stats().Beyond > before })
	if n := lines.count("a PoP claims more than the journal has"); n != 1 {
		t.Errorf("that is logged %d times", n)
	}
	if p, err := c.receipts.status(2); err != nil || p.PoPs[0].State != Pending || p.Objects != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	// Of orders that are none, or not yet reached, nothing is taken; of one, what is said first.
	say(fra, bus.UpReceipt, bus.Encode(bus.Receipt{At: bus.Position{Journal: end.Journal, Sequence: 1}, Done: []bus.Done{
		{ID: 0, Objects: 7}, {ID: 1 << 60, Objects: 7}, {ID: 2, Objects: 7}, {ID: 1, Objects: -7}, {ID: 1, Objects: 3, Error: "no site has it"}, {ID: 1, Objects: 9},
	}}))
	w.until("a good receipt", func() bool { p, _ := c.receipts.status(1); return p.PoPs[0].State == Failed })
	one, _ := c.receipts.status(1)
	two, _ := c.receipts.status(2)
	if one.Objects != 3 || *one.PoPs[0].Objects != 3 || one.PoPs[0].Error != "no site has it" || one.PoPs[0].MS == nil || two.PoPs[0].State != Pending || two.Objects != 0 {
		t.Errorf("%+v, %+v", one, two)
	}
	// A PoP does not go back.
	say(fra, bus.UpReceipt, bus.Encode(bus.Receipt{At: end}))
	w.until("the end", func() bool { p, _ := c.receipts.status(2); return p.PoPs[0].State == Done })
	say(fra, bus.UpReceipt, bus.Encode(bus.Receipt{At: bus.Position{Journal: end.Journal, Sequence: 1}}))
	read := c.Stats().Receipts
	say(fra, bus.UpReceipt, bus.Encode(bus.Receipt{At: end}))
	w.until("both are read", func() bool { return c.Stats().Receipts > read })
	if p, _ := c.receipts.status(2); p.PoPs[0].State != Done {
		t.Errorf("%+v", p)
	}
	// A PoP that does not serve the site has nothing of it.
	elsewhere := *w.network
	elsewhere.PoPs = append([]deploy.PoP{}, elsewhere.PoPs...)
	elsewhere.PoPs[0].Trust = "other"
	network.Store(&elsewhere)
	if p, _ := c.receipts.status(1); p.PoPs[0].State != Done || p.PoPs[0].Error != "" {
		t.Errorf("%+v", p)
	}
}

// many is a network of n PoPs.
func many(n int) *deploy.Network {
	network := &deploy.Network{}
	for i := range n {
		network.PoPs = append(network.PoPs, deploy.PoP{Name: fmt.Sprintf("p%03d", i)})
	}
	return network
}

// flood has a journal of entries of some orders each, of which every PoP gives a receipt, with a found object in each order.
type flood struct {
	c        *Control
	subjects []string
	entry    uint64
	next     uint64
}

func newFlood(pops int) *flood {
	network := many(pops)
	c := &Control{o: Options{Network: func() *deploy.Network { return network }, Log: slog.New(slog.DiscardHandler)}}
	c.receipts = newReceipts(c)
	f := &flood{c: c, next: 1}
	for i := range network.PoPs {
		f.subjects = append(f.subjects, bus.UpSubject("edge", network.PoPs[i].Name, bus.UpReceipt))
	}
	return f
}

// step writes one entry and takes its receipts, but for those of the last away PoPs.
func (f *flood) step(orders, away int) {
	f.entry++
	at := bus.Position{Journal: "j", Sequence: f.entry}
	b := &bus.Batch{Journal: "j", First: f.next}
	taken := make([]time.Time, orders)
	r := bus.Receipt{At: at}
	for i := range orders {
		id := f.next + uint64(i)
		b.Orders = append(b.Orders, bus.Order{Kind: "url", Value: fmt.Sprint("www.example.org/a/path/of/some/length/", id)})
		r.Done = append(r.Done, bus.Done{ID: id, Objects: 1, MS: 0.123})
		taken[i] = time.Now()
	}
	f.next += uint64(orders)
	f.c.receipts.offered(at, b, taken)
	data := bus.Encode(r)
	for _, s := range f.subjects[:len(f.subjects)-away] {
		f.c.receipts.receipt(&bus.Message{Subject: s, Data: data})
	}
}

// TestReceiptsBounded tracks more than is remembered, with a PoP that is away all the time.
func TestReceiptsBounded(t *testing.T) {
	t.Parallel()
	f := newFlood(8)
	for range 2500 {
		f.step(10, 1)
	}
	r := f.c.receipts
	if n := r.tracked(); n > mostTracked || n < mostTracked-bus.MostOrders {
		t.Errorf("%d orders are tracked", n)
	}
	detailed := 0
	for _, e := range r.entries {
		if e.times != nil || e.found != nil {
			detailed += len(e.orders)
		}
	}
	if detailed > mostDetailed+10 {
		t.Errorf("%d orders have details", detailed)
	}
	old, err := r.status(f.next - 10000)
	if err != nil || old.Complete || old.PoPs[0].State != Done || old.PoPs[0].MS != nil || old.PoPs[7].State == Done || old.Objects != 7 {
		t.Errorf("%+v, %v", old, err)
	}
	if young, err := r.status(f.next - 1); err != nil || young.PoPs[0].MS == nil || *young.PoPs[0].Objects != 1 {
		t.Errorf("%+v, %v", young, err)
	}
	if _, err := r.status(1); err == nil {
		t.Error("the first order is remembered")
	}
}

// BenchmarkReceipts is a second of 1,000 purges at 200 PoPs, as 50 entries of 20, with all their receipts. It says too how much memory is
// held in the end.
func BenchmarkReceipts(b *testing.B) {
	f := newFlood(200)
	b.ReportAllocs()
	for b.Loop() {
		for range 50 {
			f.step(20, 0)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-held")
	runtime.KeepAlive(f)
}

// TestAskedWrong has an operator ask for what means nothing, or more than is known here: it is answered, counted and logged once, and nothing is
// written.
func TestAskedWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lines record
	c, _ := w.control(lines.in)
	op := w.dial(fleet.RoleOperator, "main")
	refused := int64(0)
	for _, x := range [][2]string{
		{"king", "{}"}, {"purge", "\xff\x00"}, {"purge", `{"kind":"all","planet":"mars"}`}, {"purge", `{"kind":"all"} x`},
		{"token-add", `{"name":"cms","paths":["/a"]}`}, {"warm", `{"urls":[],"slowly":true}`},
		{"revoke", `{"node":"edge-fra","for":"1h"}`}, {"drain", `{"pop":"fra","part":0.1}`},
		{"purge", `{"kind":"colour","value":"red"}`}, {"apply", "x"},
		{"token-add", "[]"}, {"drain", strings.Repeat("[", 100_000)}, {"revoke", `{"node":"x"}`}, {"purge\x1b", "{}"},
	} {
		m, err := op.Request(w.ctx(), bus.ControlSubject("main", x[0]), []byte(x[1]))
		var a bus.Answer
		if err == nil {
			err = bus.Decode(m.Data, &a)
		}
		if err != nil || a.Status/100 != 4 || a.Error == "" {
			t.Errorf("%s %.40q: %+v, %v", x[0], x[1], a, err)
		}
		refused++
	}
	if s := c.Stats(); s.Refused != refused || s.Orders != 0 {
		t.Errorf("%+v", s)
	}
	if n := lines.count("what an operator asked was not done"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if values := w.journal(c.o.Conn); len(values) != 0 {
		t.Errorf("the journal has %q", values)
	}
}
