package control

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// TestPurge has operators purge at the same time: each PoP does each order once, and each is told so.
func TestPurge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _ := w.control()
	pops := []*pop{w.pop("fra"), w.pop("iad"), w.pop("sin")}
	const operators, each = 8, 25
	var asking sync.WaitGroup
	for i := range operators {
		conn := w.dial(fleet.RoleOperator, fmt.Sprintf("op%d", i))
		asking.Go(func() {
			for k := range each {
				var p Purge
				value := fmt.Sprintf("tag-%d-%d", i, k)
				a := w.ask(conn, "purge", PurgeCall{Order: bus.Order{Kind: "tag", Value: value}, Wait: true, Timeout: 60}, &p)
				if a.Status != 200 || !p.Complete || p.Value != value || len(p.PoPs) != 3 || p.Objects != 3 || p.P50 <= 0 || p.P99 < p.P50 {
					t.Errorf("%s: %d %s, %+v", value, a.Status, a.Error, p)
					return
				}
			}
		})
	}
	asking.Wait()
	values := w.journal(w.inProcess())
	if len(values) != operators*each {
		t.Errorf("the journal has %d orders", len(values))
	}
	for _, p := range pops {
		p.mu.Lock()
		if len(p.done) != len(values) || p.doubled {
			t.Errorf("%s did %d orders of %d; one twice: %v", p.conn.Peer(), len(p.done), len(values), p.doubled)
		}
		p.mu.Unlock()
	}
	s := c.Stats()
	if s.Orders != operators*each || s.Entries > s.Orders || s.Doubts+s.Changed+s.Foreign+s.Beyond+s.Garbage+s.Unknown != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%d orders in %d entries", s.Orders, s.Entries)
}

// TestPurgeLists gives several orders at once, and asks for what was.
func TestPurgeLists(t *testing.T) {
	w := newWorld(t)
	_, stop := w.control()
	w.pop("fra")
	w.pop("iad")
	sin := w.pop("sin")
	op := w.dial(fleet.RoleOperator, "main")
	var many Purges
	orders := []bus.Order{{Kind: "all", Soft: true}, {Kind: "url", Value: "https://www.hither.test/a"}, {Kind: "host", Value: "www.hither.test"}}
	if a := w.ask(op, "purge", PurgeCall{Orders: orders, Wait: true}, &many); a.Status != 200 || !many.Complete || len(many.Purges) != 3 || many.Purges[2].ID != 3 {
		t.Fatalf("%+v, %+v", a, many)
	}
	sin.setDeaf(true)
	var one Purge
	if a := w.ask(op, "purge", PurgeCall{Order: bus.Order{Kind: "tag", Value: "x"}, Wait: true, Timeout: 0.05}, &one); a.Status != 200 || one.Complete || one.ID != 4 || one.PoPs[2].State != Pending || one.PoPs[2].MS != nil {
		t.Fatalf("%+v, %+v", a, one)
	}
	// What was not measured is not told.
	if is, err := json.Marshal(Purge{ID: 5, PoPs: one.PoPs[2:]}); err != nil || strings.Contains(string(is), "_ms") {
		t.Errorf("%s, %v", is, err)
	}
	if is, err := json.Marshal(NodeLine{Node: "origin-us"}); err != nil || strings.Contains(string(is), "journal") {
		t.Errorf("%s, %v", is, err)
	}
	stop()
	// Another control knows the same from the journal, and does not know when.
	c, _ := w.control()
	w.until("the journal was read", func() bool { return c.Stats().Tracked == 4 })
	c.receipts.mu.Lock()
	for _, p := range c.receipts.pops {
		p.heard = p.heard.Add(-time.Minute)
	}
	c.receipts.mu.Unlock()
	if a := w.ask(op, "purge-status", map[string]any{"id": 4}, &one); a.Status != 200 || one.Complete || one.PoPs[0].State != Away || !strings.Contains(one.PoPs[0].Error, "when it is back") {
		t.Errorf("%+v, %+v", a, one)
	}
	// Who was away comes back: it reads what it missed, and the others say in reports how far they are.
	back := make(chan Purge, 1)
	go func() {
		c.receipts.wait(w.ctx(), 4)
		p, _ := c.receipts.status(4)
		back <- p
	}()
	sin.setDeaf(false)
	sin.catchUp()
	for _, name := range []string{"fra", "iad"} {
		c.receipts.report(&bus.Message{Subject: bus.UpSubject("edge", name, bus.UpReport), Data: bus.Encode(bus.Report{Journal: sin.at})})
	}
	if p := <-back; !p.Complete || p.PoPs[0].State != Done || p.PoPs[0].MS != nil {
		t.Errorf("%+v", p)
	}
	if a := w.ask(op, "purges", map[string]int{"last": 2}, &many); a.Status != 200 || len(many.Purges) != 2 || many.Purges[0].ID != 4 || many.Purges[1].ID != 3 {
		t.Errorf("%+v, %+v", a, many)
	}
	if a := w.ask(op, "purge-status", map[string]any{"id": 5}, nil); a.Status != 404 {
		t.Errorf("%+v", a)
	}
}

// TestPurgeRefused has what means nothing refused, without an entry in the journal.
func TestPurgeRefused(t *testing.T) {
	w := newWorld(t)
	w.control()
	op := w.dial(fleet.RoleOperator, "main")
	long := strings.Repeat("x", bus.MostOrderBytes+1)
	for _, c := range []struct {
		call   any
		status int
		says   string
	}{
		{PurgeCall{}, 400, "no kind"},
		{PurgeCall{Order: bus.Order{Kind: "regex", Value: "."}}, 400, "no kind"},
		{PurgeCall{Order: bus.Order{Kind: "all", Value: "x"}}, 400, "no value"},
		{PurgeCall{Order: bus.Order{Kind: "tag"}}, 400, "names one"},
		{PurgeCall{Order: bus.Order{Kind: "tag", Value: " x"}}, 400, "blank"},
		{PurgeCall{Order: bus.Order{Kind: "tag", Value: "a\x00"}}, 400, "control character"},
		{PurgeCall{Order: bus.Order{Kind: "tag", Value: long}}, 400, "at most"},
		{PurgeCall{Order: bus.Order{Kind: "url", Value: "ftp://www.hither.test/"}}, 400, "neither https nor http"},
		{PurgeCall{Order: bus.Order{Kind: "host", Value: "www.hither.test/a"}}, 400, "host alone"},
		{PurgeCall{Order: bus.Order{Kind: "url", Value: "www.elsewhere.test/"}}, 404, "no site has the host"},
		{PurgeCall{Order: bus.Order{Kind: "url", Value: "https://www.hither.test/%zz"}}, 400, "two hexadecimal digits"},
		{PurgeCall{Order: bus.Order{Kind: "url", Value: "www.hither.test/a%00?b"}}, 400, "two hexadecimal digits"},
		{PurgeCall{Order: bus.Order{Kind: "prefix", Value: "www.hither.test/a%4"}}, 400, "two hexadecimal digits"},
		{PurgeCall{Order: bus.Order{Kind: "tag", Value: strings.Repeat("x", mostTag+1)}}, 400, "1024"},
		{PurgeCall{Order: bus.Order{Kind: "all"}, Wait: true, Timeout: -1}, 400, "timeout"},
		{PurgeCall{Orders: []bus.Order{{Kind: "all"}, {Kind: "tag"}}}, 400, "number 2 of the list"},
		{PurgeCall{Orders: slices.Repeat([]bus.Order{{Kind: "all"}}, bus.MostOrders+1)}, 400, "at once"},
		{PurgeCall{Order: bus.Order{Kind: "all"}, Orders: []bus.Order{{Kind: "all"}}}, 400, "both"},
		{"x", 400, "read the call"},
	} {
		if a := w.ask(op, "purge", c.call, nil); a.Status != c.status || !strings.Contains(a.Error, c.says) {
			t.Errorf("%.80v: %d %.200s", c.call, a.Status, a.Error)
		}
	}
	if a := w.ask(op, "nothing", nil, nil); a.Status != 404 {
		t.Errorf("%+v", a)
	}
	for _, last := range []int{-1, mostPurges + 1} {
		if a := w.ask(op, "purges", map[string]int{"last": last}, nil); a.Status != 400 || !strings.Contains(a.Error, "50 at most") {
			t.Errorf("the last %d: %d %s", last, a.Status, a.Error)
		}
	}
	if n := len(w.journal(w.inProcess())); n != 0 {
		t.Errorf("%d orders were written", n)
	}
}

// TestPurgeTaken has all that can mean something pass the same checks.
func TestPurgeTaken(t *testing.T) {
	network, err := deploy.Parse("network.yaml", deploy.Example())
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"www.hither.test/%7e", "www.hither.test/a?b=%zz", "www.hither.test/a?%00", "www.hither.test/a#%zz", "https://www.hither.test#%", "www.hither.test"} {
		for _, kind := range []string{"url", "prefix"} {
			if err := checkOrder(network, bus.Order{Kind: kind, Value: value}); err != nil {
				t.Errorf("%s %s: %v", kind, value, err)
			}
		}
	}
	if err := checkOrder(network, bus.Order{Kind: "tag", Value: strings.Repeat("%", mostTag)}); err != nil {
		t.Error(err)
	}
}

// TestBrief: what many purges at many PoPs are answered with goes through the bus, whatever became of them.
func TestBrief(t *testing.T) {
	ms, one := 1234.567, 1
	for _, state := range []string{Done, Away, Failed} {
		out := Purges{}
		for i := range bus.MostOrders {
			p := Purge{ID: uint64(1e9 + i), Kind: "url", Value: "www.example.org/articles/2026/05/01/a-long-name-of-a-page.html"}
			for k := range 200 {
				x := PoPPurge{PoP: fmt.Sprintf("pop-%03d", k), State: state, MS: &ms, Objects: &one, Fills: &one}
				if state != Done {
					x.Error = "it has not been heard of for 12m34s; it will do it when it is back"
				}
				p.PoPs = append(p.PoPs, x)
			}
			out.Purges = append(out.Purges, p)
		}
		out.brief()
		doc, err := document("purges", out)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(doc)
		if n := len(bus.Encode(bus.Answer{Status: 200, Doc: body})); err != nil || n > bus.MostMessage {
			t.Errorf("all %s: an answer of %d bytes, and the bus takes %d; %v", state, n, bus.MostMessage, err)
		}
		if told := len(out.Purges[0].PoPs) > 0; told != (state != Done) {
			t.Errorf("all %s: PoPs are told of: %v", state, told)
		}
	}
}
