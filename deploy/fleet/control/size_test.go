package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// vast makes the network of a control one of many PoPs.
func vast(c *Control, pops int) {
	n := *c.o.Network()
	one := n.PoPs[0]
	n.PoPs = make([]deploy.PoP, pops)
	for i := range n.PoPs {
		n.PoPs[i] = one
		n.PoPs[i].Name = fmt.Sprintf("a-place-with-a-long-name-%05d", i)
	}
	c.o.Network = func() *deploy.Network { return &n }
}

// TestAnswersOfMany asks the control of a fleet with a thousand PoPs, each of which has much to say: every answer is a message.
func TestAnswersOfMany(t *testing.T) {
	c := lone(t)
	vast(c, 1000)
	status, err := json.Marshal(map[string]any{"nodes": []map[string]any{{
		"version": "v1", "connections": map[string]int{"h1": 1, "h2": 2, "h3": 3}, "problems": []string{strings.Repeat("é", 300), strings.Repeat("x", 300)},
		"certificates": slices.Repeat([]map[string]any{{"name": "www.example.org", "issuer": "local", "days_left": 7}}, 100),
		"origins":      slices.Repeat([]map[string]any{{"origin": "us"}}, 10),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	orders := slices.Repeat([]bus.Order{{Kind: "url", Value: "www.hither.test/a"}}, bus.MostOrders)
	for i := range 8 {
		c.receipts.offered(bus.Position{Journal: "a", Sequence: uint64(i + 1)}, &bus.Batch{Journal: "a", First: uint64(1 + i*bus.MostOrders),
			Orders: orders, At: now}, slices.Repeat([]time.Time{now}, len(orders)))
	}
	for i := range c.o.Network().PoPs {
		name := c.o.Network().PoPs[i].Name
		c.reports.take(&bus.Message{Subject: bus.UpSubject(fleet.RoleEdge, name, bus.UpReport), Data: bus.Encode(bus.Report{
			Status: status, State: "ready", Started: now, Hash: strings.Repeat("x", 32), Trust: strings.Repeat("x", 32), Expires: now, Refused: 7,
			Why: strings.Repeat("\"", 300), Revision: 1,
		})})
		c.receipts.pops[name].heard = now.Add(-time.Hour) // away
	}
	for _, ask := range [][2]string{{"status", ""}, {"nodes", ""}, {"purges", `{"last":50}`}, {"purge-status", `{"id":1}`}} {
		a := c.answer(context.Background(), bus.ControlSubject("main", ask[0]), []byte(ask[1]))
		if size := len(bus.Encode(a)); a.Status != http.StatusOK || size > bus.MostMessage {
			t.Errorf("%s: %d, %s, %d bytes", ask[0], a.Status, a.Error, size)
		}
	}

	// What is too much all the same is told as such, and no error is longer than a message.
	c.verbs["much"] = func(context.Context, string, json.RawMessage) (any, error) {
		return strings.Repeat("x", bus.MostMessage), nil
	}
	c.verbs["wrong"] = func(context.Context, string, json.RawMessage) (any, error) {
		return nil, errors.New(strings.Repeat("<é\n", bus.MostMessage))
	}
	for verb, says := range map[string]string{"much": "the answer to much has 1114114 bytes, and as a message it may have 1097728", "wrong": "<é"} {
		a := c.answer(context.Background(), bus.ControlSubject("main", verb), nil)
		if size := len(bus.Encode(a)); a.Status != http.StatusInternalServerError || size > bus.MostMessage || !strings.Contains(a.Error, says) {
			t.Errorf("%s: %d, %.100s, %d bytes", verb, a.Status, a.Error, size)
		}
	}
}

// TestCallsBounded has an operator say the same thing too often, or at too great a length: it is refused before the hub is asked.
func TestCallsBounded(t *testing.T) {
	c := lone(t)
	for _, x := range [][3]string{
		{"token-add", `{"name":"cms","kinds":[` + strings.Repeat(`"url",`, 5000) + `"url"]}`, "a token for 5001 kinds; there are 5"},
		{"apply", `{"name":"` + strings.Repeat("x", 5000) + `","file":"eA=="}`, "the name of the file has 5000 bytes"},
	} {
		if a := c.answer(t.Context(), bus.ControlSubject("main", x[0]), []byte(x[1])); a.Status != http.StatusBadRequest || !strings.Contains(a.Error, x[2]) {
			t.Errorf("%s: %d %.200s", x[0], a.Status, a.Error)
		}
	}
}

// TestReceiptsOfMany: what is kept of the last orders is bounded however many PoPs there are, and however many of them found something.
func TestReceiptsOfMany(t *testing.T) {
	c := lone(t)
	vast(c, 10_000)
	c.receipts.mu.Lock()
	c.receipts.refresh()
	c.receipts.mu.Unlock()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range uint64(2500) {
		at := bus.Position{Journal: "a", Sequence: i + 1}
		c.receipts.offered(at, &bus.Batch{Journal: "a", First: i + 1, Orders: []bus.Order{{Kind: "tag", Value: "a"}}}, []time.Time{time.Now()})
		if i%10 > 0 {
			continue
		}
		c.receipts.mu.Lock()
		for _, p := range c.receipts.pops {
			c.receipts.advance(p, at.Sequence, time.Now(), []bus.Done{{ID: i + 1, Objects: 1}})
		}
		c.receipts.mu.Unlock()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("2,500 orders at 10,000 PoPs are kept in %d MiB", grown>>20)
	}
	if p, err := c.receipts.status(2500); err != nil || len(p.PoPs) != 10_000 {
		t.Errorf("%d PoPs, %v", len(p.PoPs), err)
	}
	runtime.KeepAlive(c)
}

// TestWarmedBrief leaves out what is well, where there is too much to tell.
func TestWarmedBrief(t *testing.T) {
	p := PoPWarmed{URLs: append(slices.Repeat([]URLWarmed{{Status: 200}}, 200), slices.Repeat([]URLWarmed{{Status: 500}}, 5)...)}
	if got := p.brief(256); len(got.URLs) != 205 {
		t.Errorf("%d of few", len(got.URLs))
	}
	for most, want := range map[int]int{100: 5, 2: 2, 0: 1} {
		if got := (PoPWarmed{URLs: slices.Clone(p.URLs)}).brief(most); len(got.URLs) != want || got.URLs[0].Status != 500 {
			t.Errorf("most %d: %d", most, len(got.URLs))
		}
	}
}

// hearEdge has an edge report that it is ready.
func (c *Control) hearEdge(name string) {
	c.reports.take(&bus.Message{Subject: bus.UpSubject(fleet.RoleEdge, name, bus.UpReport), Data: bus.Encode(bus.Report{State: "ready"})})
}

// TestStrangersBounded has more nodes report than are known that no file names: those that are named are heard all the same, and a stranger is when
// others have gone.
func TestStrangersBounded(t *testing.T) {
	c := lone(t)
	clock := time.Unix(1_700_000_000, 0)
	c.o.Now = func() time.Time { return clock }
	vast(c, 10)
	hear := func(name string) bool {
		c.hearEdge(name)
		_, ok := c.reports.of("edge-" + name)
		return ok
	}
	for i := range 1000 {
		if got := hear(fmt.Sprintf("stranger-%d", i)); got != (i < mostStrangers) {
			t.Fatalf("stranger %d is heard: %v", i, got)
		}
	}
	if !hear(c.o.Network().PoPs[3].Name) || !hear("stranger-3") || len(c.reports.nodes) != mostStrangers+1 {
		t.Errorf("%d nodes are known", len(c.reports.nodes))
	}
	clock = clock.Add(seriesTime + time.Second)
	if !hear("late") || len(c.reports.nodes) != 2 {
		t.Errorf("%d nodes are known after that", len(c.reports.nodes))
	}
}

// BenchmarkReports has a PoP report of many, and a stranger for whom there is no room; and tells of all.
func BenchmarkReports(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		c := lone(b)
		now := time.Now()
		c.o.Now = func() time.Time { return now }
		vast(c, n)
		for i := range c.o.Network().PoPs {
			c.hearEdge(c.o.Network().PoPs[i].Name)
		}
		for i := range mostStrangers {
			c.hearEdge(fmt.Sprintf("stranger-%d", i))
		}
		for name, f := range map[string]func(){
			"named": func() { c.hearEdge(c.o.Network().PoPs[n/2].Name) }, "stranger": func() { c.hearEdge("late") }, "all": func() { c.reports.all() },
			"nodes":                 func() { c.rollout.nodes(plan{}) },
			"receipt of a stranger": func() { c.receipts.report(&bus.Message{Subject: "up.edge.late.report", Data: []byte(`{"v":1}`)}) },
		} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					f()
				}
			})
		}
	}
}
