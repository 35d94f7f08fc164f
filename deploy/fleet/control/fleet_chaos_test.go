package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/member"
)

// chaosPaths is how many pages the origin has; each fifth of them has a tag.
const chaosPaths = 40

// chaosSeed is what a chaos goes by where nothing else is said: what tries one change tries the next. Its first 15 events are of all 14 kinds, a
// backup before what needs one.
const chaosSeed = 4020

// TestFleetChaos has what befalls machines befall a fleet, while purges and revisions are given: the hub dies and comes back, loses its disk,
// is filled from a backup or is empty; the control ends and another begins; ways to the hub are cut, slow, or dead without a word; edges die, with
// their position, an older one or none, cannot write it, and have clocks that are minutes off. Afterwards every edge runs the same
// revision, and none has anything that was purged; no client saw a request fail. What happens is the same each time, as far as the machine's own
// timing lets it; HITHER_SEED=n has something else happen, and a soak something new each time.
func TestFleetChaos(t *testing.T) {
	edges, lasts, seed := 5, 5*time.Second, uint64(chaosSeed)
	if soaks() {
		edges, lasts, seed = 12, 4*time.Minute, uint64(time.Now().UnixNano())
	}
	if n, err := strconv.ParseUint(os.Getenv("HITHER_SEED"), 10, 64); err == nil {
		seed = n
	}
	x := newChaos(t, edges, seed)
	x.run(lasts)
	for _, fault := range x.faults {
		t.Errorf("HITHER_SEED=%d: %s", seed, fault)
	}
}

// TestFleetChaosPlanted is the same with an edge on which orders for one page have no effect, though the edge goes on in the journal: it must be found.
func TestFleetChaosPlanted(t *testing.T) {
	x := newChaos(t, 3, 7)
	x.c.edges[1].drop = func(o bus.Order) bool { return strings.HasSuffix(o.Value, "/c/3") }
	x.run(time.Second)
	if !strings.Contains(strings.Join(x.faults, "\n"), "p1 has version") {
		t.Errorf("an edge lost what the journal said, and that was not found: %v", x.faults)
	}
}

// A chaos is a fleet, its origin, and what befalls it.
type chaos struct {
	c      *crowd
	odds   *rand.Rand // of the test's goroutine
	seed   uint64
	relays []*relay
	clocks []atomic.Int64 // by which edges' clocks are off
	saved  []byte         // the last backup; nil = none
	counts map[string]int

	requests, purges, revisions atomic.Int64

	mu      sync.Mutex // guards what follows
	version [chaosPaths]int
	floor   [chaosPaths]int // what a purge that the control took has left valid
	faults  []string
}

func newChaos(t *testing.T, edges int, seed uint64) *chaos {
	x := &chaos{c: newCrowd(t, edges), odds: rand.New(rand.NewPCG(seed, 1)), seed: seed, clocks: make([]atomic.Int64, edges), counts: make(map[string]int)}
	for i, e := range x.c.edges {
		r := newRelay(t, x.c.at)
		x.relays, e.via = append(x.relays, r), r.url()
		e.options = func(o *member.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(x.clocks[i].Load())) }
			o.Kept = true
		}
	}
	return x
}

func chaosPath(i int) string { return fmt.Sprintf("/c/%d", i) }

func (x *chaos) fault(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.faults) < 20 {
		x.faults = append(x.faults, fmt.Sprintf(format, args...))
	}
}

// origin answers with the page as it was when it was asked, some of it late: a purge may come between.
func (x *chaos) origin(page int, late bool) func(context.Context) (*http.Response, error) {
	return func(ctx context.Context) (*http.Response, error) {
		x.mu.Lock()
		text := strconv.Itoa(x.version[page])
		x.mu.Unlock()
		if late {
			timer := time.NewTimer(20 * time.Millisecond)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		h := http.Header{"Cache-Control": {"max-age=86400"}, "Surrogate-Key": {fmt.Sprintf("g%d", page%5)}}
		return &http.Response{StatusCode: 200, Header: h, ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text))}, nil
	}
}

// client asks an edge for one page after the other until ctx ends.
func (x *chaos) client(ctx context.Context, e *edge, odds *rand.Rand) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		page := odds.IntN(chaosPaths)
		if _, err := e.request(context.WithoutCancel(ctx), chaosPath(page), x.origin(page, odds.IntN(4) == 0)); err != nil {
			x.fault("a request at %s: %v", e.name, err)
		}
		x.requests.Add(1)
		<-tick.C
	}
}

// change changes pages at the origin and purges them: once the control has taken that, older versions are not to be seen. What was not
// taken is told again.
func (x *chaos) change(ctx context.Context, o bus.Order, pages ...int) {
	x.mu.Lock()
	var now [chaosPaths]int
	for _, p := range pages {
		x.version[p]++
		now[p] = x.version[p]
	}
	x.mu.Unlock()
	if !x.insist(ctx, "purge", control.PurgeCall{Order: o}) {
		return
	}
	x.purges.Add(1)
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range pages {
		x.floor[p] = max(x.floor[p], now[p])
	}
}

// insist asks until it is done, or ctx ends.
func (x *chaos) insist(ctx context.Context, verb string, call any) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if x.c.tryFor(10*time.Second, verb, call, nil) == nil {
			return true
		}
		<-tick.C
	}
	return false
}

// editor changes pages until ctx ends.
func (x *chaos) editor(ctx context.Context, odds *rand.Rand) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; ctx.Err() == nil; <-tick.C {
		page := odds.IntN(chaosPaths)
		if odds.IntN(5) > 0 {
			x.change(ctx, bus.Order{Kind: "url", Value: "www.example.org" + chaosPath(page), Soft: odds.IntN(4) == 0}, page)
			continue
		}
		var group []int
		for p := page % 5; p < chaosPaths; p += 5 {
			group = append(group, p)
		}
		x.change(ctx, bus.Order{Kind: "tag", Value: fmt.Sprintf("g%d", page%5), Soft: odds.IntN(4) == 0}, group...)
	}
}

// releaser gives one revision after the other until ctx ends.
func (x *chaos) releaser(ctx context.Context) {
	tick := time.NewTicker(700 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		if x.insist(ctx, "apply", control.ApplyCall{How: control.How{Now: true}, File: x.c.file(fmt.Sprintf("chaos %d", n))}) {
			x.revisions.Add(1)
		}
		<-tick.C
	}
}

// run lets things happen for some time, mends all, and looks.
func (x *chaos) run(lasts time.Duration) {
	c := x.c
	c.begin()
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	others.Go(func() { x.editor(ctx, rand.New(rand.NewPCG(x.seed, 2))) })
	others.Go(func() { x.editor(ctx, rand.New(rand.NewPCG(x.seed, 3))) })
	others.Go(func() { x.releaser(ctx) })
	for i, e := range c.edges {
		others.Go(func() { x.client(ctx, e, rand.New(rand.NewPCG(x.seed, uint64(10+i)))) })
	}
	end := func() { cancel(); others.Wait() }
	defer end()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(lasts); time.Now().Before(until); <-tick.C {
		x.happen()
	}
	x.mend()
	end()
	x.look("after all was mended")
	// And the fleet works as before: every page is at every edge, and is purged once more.
	for i := range chaosPaths {
		for _, e := range c.edges {
			if _, err := e.request(context.Background(), chaosPath(i), x.origin(i, false)); err != nil {
				x.fault("a request at %s: %v", e.name, err)
			}
		}
	}
	after, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	for i := range chaosPaths {
		x.change(after, bus.Order{Kind: "url", Value: "www.example.org" + chaosPath(i)}, i)
	}
	x.look("after a last round")
	c.t.Logf("seed %d: %v; %d edges; %d requests, %d purges, %d revisions; load %s", x.seed, x.counts, len(c.edges), x.requests.Load(), x.purges.Load(), x.revisions.Load(), machineLoad())
}

// look waits until every edge has done all of the journal and runs the same revision, and looks at every page of each.
func (x *chaos) look(when string) {
	c := x.c
	last := c.file("the last, " + when)
	c.until("a last revision is taken "+when, func() bool {
		return c.try("apply", control.ApplyCall{How: control.How{Now: true}, File: last}, nil) == nil
	})
	c.until("every edge has done a last purge "+when, func() bool {
		var doc control.Purge
		return c.try("purge", control.PurgeCall{Order: bus.Order{Kind: "tag", Value: "nothing"}, Wait: true, Timeout: 10}, &doc) == nil && doc.Complete
	})
	c.until("every edge runs the last revision "+when, func() bool {
		for _, e := range c.edges {
			if bus.HashOf(e.running.Load().file) != bus.HashOf(last) {
				return false
			}
		}
		return true
	})
	for _, e := range c.edges {
		for i := range chaosPaths {
			look := e.look(chaosPath(i))
			if !look.Fresh() {
				continue // it would be asked for
			}
			var text string
			look.Object.Body.Range(0, look.Object.Body.Len(), func(p []byte) bool { text += string(p); return true })
			if n, err := strconv.Atoi(text); err != nil || n < x.floor[i] {
				x.fault("%s: %s has version %q of %s, and %d was purged", when, e.name, text, chaosPath(i), x.floor[i]-1)
			}
		}
	}
}

// happen has one thing happen.
func (x *chaos) happen() {
	i := x.odds.IntN(len(x.c.edges))
	e, r := x.c.edges[i], x.relays[i]
	what := []string{"hub", "disk", "restore", "backup", "control", "cut", "cut", "slow", "stuck", "open", "open", "edge", "edge", "crash", "position", "full", "clock"}[x.odds.IntN(17)]
	x.counts[what]++
	switch what {
	case "hub":
		x.c.stopHub()
		x.c.startHub()
	case "disk":
		x.lose(nil)
	case "restore":
		x.lose(x.saved)
	case "backup":
		if data, err := x.c.backup(); err == nil {
			x.saved = data
		}
	case "control":
		x.c.endLead()
		x.c.lead()
	case "cut":
		r.set(shut)
	case "slow":
		r.set(slow)
	case "stuck":
		r.set(stuck)
	case "open":
		for _, r := range x.relays {
			r.set(open)
		}
	case "edge":
		x.again(e, nil)
	case "crash": // its position is an older one
		was, err := os.ReadFile(e.position())
		x.again(e, func() {
			if err == nil {
				x.must(os.WriteFile(e.position(), was, 0o600))
			}
		})
	case "position":
		x.again(e, func() { x.must(os.RemoveAll(e.position())) })
	case "full": // nothing can be written there until its next start
		x.c.until("nothing can be written there", func() bool { // the edge may write between the two
			return errors.Join(os.RemoveAll(e.position()), os.Mkdir(e.position(), 0o700)) == nil
		})
	case "clock":
		x.clocks[i].Store(int64(time.Duration(x.odds.IntN(20)-10) * time.Minute))
	}
}

func (e *edge) position() string { return filepath.Join(e.state, "journal.json") }

func (x *chaos) must(err error) {
	x.c.t.Helper()
	if err != nil {
		x.c.t.Fatal(err)
	}
}

// lose ends the hub, whose disk is lost, and starts it: with a backup, or empty.
func (x *chaos) lose(saved []byte) {
	c := x.c
	c.stopHub()
	folder := filepath.Join(c.state(), "hub")
	x.must(errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o700)))
	if saved != nil {
		x.must(os.WriteFile(filepath.Join(folder, control.RestoreFile), saved, 0o600))
	}
	c.startHub()
}

// again ends an edge's process and starts it; its cache is as one on disk.
func (x *chaos) again(e *edge, between func()) {
	e.stopRun()
	if between != nil {
		between()
	}
	if info, err := os.Stat(e.position()); err == nil && info.IsDir() {
		x.must(os.Remove(e.position()))
	}
	e.start()
}

// mend ends all that is wrong.
func (x *chaos) mend() {
	for i, r := range x.relays {
		r.set(open)
		x.clocks[i].Store(0)
	}
}

// backup is the hub's data as an operator saves it.
func (c *crowd) backup() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var b bytes.Buffer
	w := fleet.NewArchive(&b, c.us.Network, time.Now())
	ask := func(_ context.Context, verb string, in, out any) error { return c.tryFor(5*time.Second, verb, in, out) }
	err := (control.Reader{Conn: c.operator, Ask: ask}).BackUp(ctx, w, false)
	return b.Bytes(), errors.Join(err, w.Close())
}
