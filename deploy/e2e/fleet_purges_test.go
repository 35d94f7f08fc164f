//go:build e2e

package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// What fleet-purges does: so many orders, given to the API in lists at a steady rate, and some by the program.
const (
	purgeOrders    = 1000
	purgeLists     = 20 // orders in one
	purgesByHand   = 15
	purgeListEvery = 100 * time.Millisecond
)

// TestFleetPurges gives purges at a steady rate, of each kind, over HTTP and by the program, while a PoP is killed and started. What each named is looked up
// at each PoP when its receipts are there.
func TestFleetPurges(t *testing.T) {
	scenario(t, "fleet-purges")
	const net = "127.32"
	a := newApp(t, net)
	keep := a.answer("public, max-age=3600")
	for _, folder := range []string{"/u/", "/t/", "/p/", "/h/"} {
		a.mux.HandleFunc(folder, func(w http.ResponseWriter, r *http.Request) {
			if words := strings.Split(r.URL.Path, "/"); words[1] == "t" {
				w.Header().Set("Surrogate-Key", "t"+words[2])
			}
			keep(w, r)
		})
	}
	n := run(t, setup{net: net, origin: a.url, edit: append([]string{
		"\nzones:\n", fmt.Sprintf("\n  - {name: shop, hosts: [%s], origin: us, tls: {min: \"1.3\", certificate: local}}\n\nzones:\n", shop),
		fmt.Sprintf("addresses: [%s.1.3]\n", net), fmt.Sprintf("addresses: [%s.1.3]\n    cache: {memory: 256KiB, disk: 64MiB, memory_limit: 1GiB}\n", net),
	}, soonForgotten...)})
	n.hear(t, members, true, 1)
	s := &sweep{n: n, app: a, token: n.token(t, "cms"), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}, sin: n.via(t, "h3", "sin")}
	t.Cleanup(s.client.CloseIdleConnections)
	s.at = map[string]*visitor{"fra": n.via(t, "h1", "fra"), "iad": n.via(t, "h2", "iad")}
	all := newShelves()
	s.free = slices.Clone(all)
	s.fill(t, all)
	before := map[string]int{}
	for _, x := range all {
		for _, path := range x.paths {
			before[path] = s.times(path)
		}
	}
	disk := func() int64 { return n.counters(t, "edge-sin").sum("hither_cache_objects", "tier", "disk") }
	if !until(20*time.Second, func() bool { return disk() > 100 }) {
		t.Fatalf("the disk of a PoP has %d objects: that it serves nothing purged from there says nothing", disk())
	}
	orders := n.meter(t, "origin-us", "hither_control_orders_total")
	t.Logf("%d objects are stored at each PoP, %d of one on its disk", len(before), disk())

	began := time.Now()
	stop := make(chan struct{})
	s.wg.Go(func() {
		tick := time.NewTicker(purgeListEvery)
		defer tick.Stop()
		for ordered := 0; ordered < purgeOrders; {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			if some := s.take(purgeLists); len(some) > 0 {
				ordered += len(some)
				s.begin(t, some, s.post)
			}
		}
	})
	s.wg.Go(func() {
		for range purgesByHand {
			some := s.take(1)
			if len(some) == 0 {
				continue
			}
			var wg sync.WaitGroup
			wg.Add(1)
			s.begin(t, some, func(orders []*shelf) ([]control.Purge, error) {
				defer wg.Done()
				return n.purges("purge", orders[0].order.Kind, orders[0].order.Value, "--wait")
			})
			wg.Wait()
		}
	})
	over := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(over)
	}()
	t.Cleanup(func() {
		close(stop)
		<-over
	})
	if !until(endTime, func() bool { return s.given() >= purgeOrders/4 || s.lost.lost() > 0 }) {
		t.Fatalf("%d purges are done", s.given())
	}
	sin := s.killed(t)
	select {
	case <-over:
	case <-time.After(2 * endTime):
		t.Fatalf("%d purges are done", s.given())
	}
	s.lost.report(t)
	t.Logf("%d purges in %.1f s; %d look-ups of what they named", s.given(), time.Since(began).Seconds(), s.looks)
	if s.given() < purgeOrders {
		t.Errorf("%d purges are done, and %d were ordered over HTTP alone", s.given(), purgeOrders)
	}
	if err := numbered(s.ids); err != nil {
		t.Error(err)
	}
	orders.expect(t, int64(s.given()))
	// The PoP with a disk has less memory than there are objects, and may give up what nobody has asked for again.
	for _, x := range all {
		for _, path := range x.paths {
			for pop := range s.at {
				a, err := s.get(t, pop, path)
				if wrong := answered(pop, path, true, a, err); wrong != nil {
					t.Errorf("asked for again: %v", wrong)
				}
			}
		}
	}
	for _, wrong := range s.asked(all, before) {
		t.Error(wrong)
	}
	var nodes string
	if !until(endTime, func() bool {
		nodes, _, _ = call(t, "fleet", "nodes", "--state", n.dir, "-o", "json")
		return together(nodes, 1, members)
	}) {
		t.Errorf("not all have heard the whole journal:\n%s", nodes)
	}

	t.Log("the checker, held to an order that nobody carries out")
	for _, x := range []*shelf{all[0], all[len(all)-1]} {
		for pop := range s.at {
			if got, err := s.get(t, pop, x.paths[0]); answered(pop, x.paths[0], false, got, err) == nil {
				t.Errorf("%s has %s stored, and it is not seen", pop, x.paths[0])
			}
		}
	}
	sin.cmd.Process.Kill() // nobody is to wait for its drain
}

// plantPurges shows the checkers of fleet-purges what is wrong with purges.
func plantPurges(t *testing.T) {
	const path = host + "/u/1"
	right := answer{status: http.StatusOK, body: content("/u/1"), header: http.Header{"Cache-Status": {"fra; fwd=uri-miss; stored"}}}
	hit, short, other := right, right, right
	hit.header = http.Header{"Cache-Status": {"fra; hit; ttl=3599"}}
	short.body = short.body[1:]
	other.header = http.Header{"Cache-Status": {"iad; fwd=uri-miss; stored"}}
	for _, c := range []struct {
		a      answer
		stored bool
		err    error
		good   bool
	}{
		{right, false, nil, true}, {hit, true, nil, true}, {hit, false, nil, false}, {right, true, nil, false},
		{short, false, nil, false}, {other, false, nil, false}, {right, false, io.EOF, false},
	} {
		if err := answered("fra", path, c.stored, c.a, c.err); (err == nil) != c.good {
			t.Errorf("%s, %d bytes, %v; stored %t: %v", c.a.verdict(), len(c.a.body), c.err, c.stored, err)
		}
	}

	x := &shelf{order: bus.Order{Kind: "url", Value: path}, paths: []string{path}, purged: 2}
	whole := control.Purge{ID: 7, Kind: "url", Value: path, Done: len(pops), Complete: true, PoPs: []control.PoPPurge{{PoP: "fra", State: control.Done}}}
	if err := told([]*shelf{x}, []control.Purge{whole}); err != nil {
		t.Error(err)
	}
	for i, spoil := range []func(p *control.Purge){
		func(p *control.Purge) { p.ID = 0 },
		func(p *control.Purge) { p.Value = host + "/u/2" },
		func(p *control.Purge) { p.Done-- },
		func(p *control.Purge) { p.Complete = false },
		func(p *control.Purge) { p.PoPs = []control.PoPPurge{{PoP: "fra", State: control.Away}} },
	} {
		p := whole
		if spoil(&p); told([]*shelf{x}, []control.Purge{p}) == nil {
			t.Errorf("receipt %d is not seen to be wrong: %+v", i, p)
		}
	}
	if told([]*shelf{x}, nil) == nil {
		t.Error("an order without a purge is not seen")
	}

	for _, c := range []struct {
		ids  []uint64
		good bool
	}{{[]uint64{9, 7, 8}, true}, {[]uint64{7, 9}, false}, {[]uint64{7, 8, 8}, false}} {
		if err := numbered(c.ids); (err == nil) != c.good {
			t.Errorf("numbers %v: %v", c.ids, err)
		}
	}

	s := &sweep{app: &app{seen: map[string]int{"/u/1": 9}}}
	if wrong := s.asked([]*shelf{x}, map[string]int{path: 3}); len(wrong) > 0 {
		t.Errorf("once by each PoP for each purge: %q", wrong)
	}
	for _, before := range []int{2, 4} {
		if len(s.asked([]*shelf{x}, map[string]int{path: before})) != 1 {
			t.Errorf("asked for %d times by three PoPs for two purges: not seen", 9-before)
		}
	}
}
