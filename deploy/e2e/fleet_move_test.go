//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A purger gives one purge after the other, and keeps the numbers of those that were taken.
type purger struct {
	mu      sync.Mutex
	taken   []uint64
	refused int
	wrong   []string // purges that ended in another way
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// purgeOf gives one purge by tag. A number of 0 says that it was refused, with nothing done or nothing sure.
func (n *network) purgeOf(t *testing.T, tag string) (id uint64, err error) {
	out, stderr, status := call(t, "purge", "tag", tag, "-o", "json", "--state", n.dir)
	if status != 0 {
		for _, word := range []string{"tell it again", "does not answer"} {
			if status == 1 && strings.Contains(stderr, word) {
				return 0, nil
			}
		}
		return 0, fmt.Errorf("purge %s: status %d, %s", tag, status, stderr)
	}
	if stderr != "" { // it was told to the edges whose sockets are here, as where there is no hub
		return 0, nil
	}
	var doc struct {
		ID uint64 `json:"id"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.ID == 0 {
		return 0, fmt.Errorf("purge %s: %v, %s", tag, err, out)
	}
	return doc.ID, nil
}

func (n *network) purging(t *testing.T) *purger {
	p := new(purger)
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	p.wg.Go(func() {
		pace := time.NewTicker(400 * time.Millisecond) // the control lists the last 50
		defer pace.Stop()
		for k := 0; ctx.Err() == nil; k++ {
			id, err := n.purgeOf(t, fmt.Sprintf("t-%d", k))
			p.mu.Lock()
			switch {
			case err != nil:
				p.wrong = append(p.wrong, err.Error())
			case id == 0:
				p.refused++
			default:
				p.taken = append(p.taken, id)
			}
			p.mu.Unlock()
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(p.end)
	return p
}

func (p *purger) end() {
	p.stop()
	p.wg.Wait()
}

func (p *purger) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}

// A purgeLine is a purge as `hither fleet purges -o json` lists it.
type purgeLine struct {
	ID       uint64 `json:"id"`
	Value    string `json:"value"`
	Complete bool   `json:"complete"`
}

// lostPurges says which of the purges that were taken are not in the journal, or there twice, or not done everywhere.
func lostPurges(taken []uint64, listed []purgeLine) (wrong []string) {
	there := make(map[uint64]int)
	for _, l := range listed {
		there[l.ID]++
		if !l.Complete {
			wrong = append(wrong, fmt.Sprintf("purge %d of %s is not done everywhere", l.ID, l.Value))
		}
	}
	seen := make(map[uint64]bool)
	for _, id := range taken {
		if seen[id] {
			wrong = append(wrong, fmt.Sprintf("number %d was given twice", id))
		}
		seen[id] = true
		if there[id] != 1 {
			wrong = append(wrong, fmt.Sprintf("purge %d was taken and is there %d times", id, there[id]))
		}
	}
	return wrong
}

// flushed says which PoPs held all that they have for stale.
func (n *network) flushed(t *testing.T) (wrong []string) {
	for pop := range pops {
		if k := n.counters(t, "edge-"+pop).sum("hither_fleet_flushes_total"); k != 0 {
			wrong = append(wrong, fmt.Sprintf("%s flushed %d times", pop, k))
		}
	}
	return wrong
}

// TestFleetMove moves the hub to another gateway while purges are given and clients served: every purge that was taken is in the journal and done, nothing
// is flushed, a node that was away follows, and a move that cannot be leaves all as it was.
func TestFleetMove(t *testing.T) {
	scenario(t, "fleet-move")
	a := newApp(t, "127.38")
	shortly(a)
	var version atomic.Int64
	a.mux.HandleFunc("/v/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		fmt.Fprint(w, version.Load())
	})
	n := run(t, setup{net: "127.38", origin: a.url, edit: append(
		[]string{"# gateways: [", `gateways: [{name: us-b, addresses: ["127.38.0.2:9443"]}] #`}, soonForgotten...)})
	all := append([]string{"origin-us-b"}, members...)
	n.hear(t, all, true, 1)
	for pop := range pops {
		n.via(t, "h2", pop).must(t, "/keep/1")
		n.via(t, "h2", pop).must(t, "/v/1")
	}
	load := n.keepAsking(t, 1, "fra", "iad")
	p := n.purging(t)
	if !until(crowdTime, func() bool { return p.count() >= 3 }) {
		t.Fatal("no purge is taken")
	}

	t.Log("where the other gateway cannot listen, the hub stays")
	taken, err := net.Listen("tcp", "127.38.0.2:4222")
	if err != nil {
		t.Fatal(err)
	}
	move := func() (string, string, int) {
		return call(t, "fleet", "move-hub", "us-b", "--url", "tls://127.38.0.2:4222", "--state", n.dir)
	}
	stdout, stderr, status := move()
	taken.Close()
	if err := oneLine(stdout, strings.Replace(stderr, "the hub moves to us-b; purges and changes are refused meanwhile\n", "", 1), status, 1, "the hub stays in us", "in use"); err != nil {
		t.Errorf("a port that is taken: %v", err)
	}
	before := p.count()
	if !until(crowdTime, func() bool { return p.count() >= before+3 }) {
		t.Error("no purge is taken after that")
	}

	t.Log("a node is away")
	n.signal(t, "edge-sin", syscall.SIGKILL)
	if !n.up.stderr.wait(endTime, "edge-sin ended", 1) {
		t.Fatal("edge-sin was killed and runs")
	}
	moving := start(t, program, "fleet", "move-hub", "us-b", "--url", "tls://127.38.0.2:4222", "--state", n.dir)
	here := []string{"origin-us-b", "origin-us", "edge-fra", "edge-iad", "dns-ns1"}
	n.hear(t, here, true, 2) // which the attempt that failed has made
	t.Log("it has moved")
	if !listens("127.38.0.1:4222") {
		t.Error("the old hub has ended although a node has not heard")
	}
	n.await(t, "edge-sin", start(t, program, "edge", "--name", "sin", "--state", n.state("edge-sin")))
	n.hear(t, all, true, 2)
	if s := moving.status(t); s != 0 || !strings.Contains(moving.stdout.String(), "the hub is in us-b") {
		t.Errorf("move-hub: status %d, %s%s", s, moving.stdout, moving.stderr)
	}
	if !until(endTime, func() bool { return !listens("127.38.0.1:4222") }) {
		t.Error("the old hub does not end although all nodes are at the new one")
	}
	n.fleet(t, 1, []string{"no gateway keeps a hub"}, "fleet", "move-hub", "us-b", "--force")
	n.fleet(t, 1, []string{"the hub is in us-b"}, "fleet", "move-hub", "us", "--force")
	before = p.count()
	if !until(crowdTime, func() bool { return p.count() >= before+3 }) {
		t.Error("no purge is taken by the hub in its new place")
	}
	p.end()

	t.Log("the new hub is killed and started again, and has all of it")
	n.signal(t, "origin-us-b", syscall.SIGKILL)
	if !n.up.stderr.wait(endTime, "origin-us-b ended", 1) {
		t.Fatal("origin-us-b was killed and runs")
	}
	n.await(t, "origin-us-b", start(t, program, "origin", "--name", "us-b", "--state", n.state("origin-us-b")))
	n.hear(t, all, true, 2)
	version.Add(1)
	if out, stderr, status := call(t, "purge", "url", site+"/v/1", "--wait", "--state", n.dir); status != 0 {
		t.Errorf("purge: status %d, %s%s", status, out, stderr)
	}
	for pop := range pops {
		if got := n.via(t, "h2", pop).must(t, "/v/1"); string(got.body) != "1" {
			t.Errorf("%s has version %s after the purge", pop, got.body)
		}
		if got := n.via(t, "h2", pop).must(t, "/keep/1"); pop != "sin" && !strings.Contains(got.verdict(), "hit") {
			t.Errorf("%s: what was stored before the move is %s", pop, got.verdict())
		}
	}
	var doc struct {
		Purges []purgeLine `json:"purges"`
	}
	out, stderr, status := call(t, "fleet", "purges", "--last", "50", "-o", "json", "--state", n.dir)
	if err := json.Unmarshal([]byte(out), &doc); err != nil || status != 0 {
		t.Fatalf("fleet purges: status %d, %v, %s", status, err, stderr)
	}
	for _, w := range append(append(lostPurges(p.taken, doc.Purges), n.flushed(t)...), p.wrong...) {
		t.Error(w)
	}
	t.Logf("%d purges were taken, %d refused; %d are listed", len(p.taken), p.refused, len(doc.Purges))
	load.end()
	load.lost.report(t)

	t.Log("the checker, held to faults")
	last := len(doc.Purges) - 1
	undone := append([]purgeLine{{ID: 1 << 40}}, doc.Purges...)
	for name, bad := range map[string][]string{
		"one is gone":       lostPurges(p.taken, doc.Purges[:0]),
		"one is there anew": lostPurges([]uint64{doc.Purges[last].ID}, append(doc.Purges[last:], doc.Purges...)),
		"a number twice":    lostPurges(append(p.taken, p.taken[0]), doc.Purges),
		"one is not done":   lostPurges(p.taken, undone),
	} {
		if len(bad) == 0 {
			t.Errorf("%s: not seen", name)
		}
	}
}
