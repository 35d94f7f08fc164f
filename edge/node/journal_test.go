package node

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"hither/deploy/fleet/bus"
)

// A follower stands for a node's member: it is as far as it was moved.
type follower struct {
	mu    sync.Mutex
	at    bus.Position
	moved chan struct{}
	waits chan bus.Position // told of each that waits, where there is room
}

func newFollower(at bus.Position) *follower {
	return &follower{at: at, moved: make(chan struct{}), waits: make(chan bus.Position, 100)}
}

func (f *follower) position() bus.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func (f *follower) move(to bus.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = to
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *follower) wait(ctx context.Context, to bus.Position) error {
	f.waits <- to
	for {
		f.mu.Lock()
		at, moved := f.at, f.moved
		f.mu.Unlock()
		if at.Journal == to.Journal && at.Sequence >= to.Sequence {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// versions is an origin that says which version a file has, and whether anybody told it of a journal. One request may be held.
type versions struct {
	n      atomic.Int64
	asked  atomic.Int64
	leaked atomic.Bool
	held   chan chan struct{} // one who is to wait gets its release here; nil: nobody
}

func (v *versions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.asked.Add(1)
	if len(r.Header[journalField]) > 0 {
		v.leaked.Store(true)
	}
	now := v.n.Load()
	select {
	case release := <-v.held:
		<-release
	default:
	}
	w.Header().Set("Cache-Control", "max-age=3600")
	w.Header().Set(journalField, "of the origin's")
	io.WriteString(w, strconv.FormatInt(now, 10))
}

// A purge that reaches an edge before its shield brings nothing old back: neither what the shield has stored, nor what it is fetching.
func TestPurgeBeforeTheShield(t *testing.T) {
	v := &versions{held: make(chan chan struct{}, 1)}
	p := newPops(t, v, nil)
	fra, iad := newFollower(bus.Position{Journal: "j", Sequence: 7}), newFollower(bus.Position{Journal: "j", Sequence: 7})
	p.nodes["fra"].SetJournal(fra.position, fra.wait)
	p.nodes["iad"].SetJournal(iad.position, iad.wait)
	c := p.client("fra")
	purge := func(pop string) {
		if _, err := p.nodes[pop].Purge(PurgeCall{Kind: "all"}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "fra has a connection to iad", func() bool { return len(p.nodes["fra"].Status().Nodes[0].Problems) == 0 })

	// Stored at both; the edge forgets it first.
	if resp, body := p.get(c, "GET", "/a", journalField, "j/1000000"); body != "0" || resp.Header.Get(journalField) != "" {
		t.Fatalf("%q, %v", body, resp.Header)
	}
	if got := <-iad.waits; got != (bus.Position{Journal: "j", Sequence: 7}) {
		t.Errorf("the shield is asked for %v, whatever the client says", got)
	}
	v.n.Store(1)
	fra.move(bus.Position{Journal: "j", Sequence: 8})
	purge("fra")
	answer := make(chan string, 1)
	go func() {
		_, body := p.get(c, "GET", "/a")
		answer <- body
	}()
	if got := <-iad.waits; got.Sequence != 8 {
		t.Errorf("the shield is asked for %v", got)
	}
	purge("iad")
	iad.move(bus.Position{Journal: "j", Sequence: 8})
	if got := <-answer; got != "1" {
		t.Errorf("after the purge the edge has version %q", got)
	}

	// In flight at the shield, for a client of its own, when the edge has forgotten it.
	release := make(chan struct{})
	v.held <- release
	old := make(chan string, 1)
	before := v.asked.Load()
	go func() {
		_, body := p.get(p.client("iad"), "GET", "/b")
		old <- body
	}()
	until(t, "the origin is asked", func() bool { return v.asked.Load() > before })
	v.n.Store(2)
	fra.move(bus.Position{Journal: "j", Sequence: 9})
	purge("fra")
	go func() {
		_, body := p.get(c, "GET", "/b")
		answer <- body
	}()
	if got := <-iad.waits; got.Sequence != 9 {
		t.Errorf("the shield is asked for %v", got)
	}
	purge("iad")
	iad.move(bus.Position{Journal: "j", Sequence: 9})
	if got := <-answer; got != "2" {
		t.Errorf("after the purge, with a fill in flight, the edge has version %q", got)
	}
	close(release)
	if got := <-old; got != "1" {
		t.Errorf("who asked before has version %q", got)
	}
	if _, body := p.get(c, "GET", "/b"); body != "2" {
		t.Errorf("the old fill came back: %q", body)
	}

	// A shield that does not catch up is done without, and asked again later.
	v.n.Store(3)
	fra.move(bus.Position{Journal: "another", Sequence: 1})
	purge("fra")
	inner := func() int { return len(iad.waits) }
	if _, body := p.get(c, "GET", "/a"); body != "3" || inner() != 1 {
		t.Errorf("a shield that is behind: version %q, asked %d times", body, inner())
	}
	if _, body := p.get(c, "GET", "/c"); body != "3" {
		t.Errorf("a shield that is behind: version %q", body)
	}
	for _, l := range p.nodes["fra"].origins["us"].lines { // a clock that is set must not do away with the shield for longer, nor for less
		if until := l.behind.Load(); until != nil && *until == until.Round(0) {
			t.Error("until when the shield is done without is by a clock that can be set")
		}
	}
	if v.leaked.Load() {
		t.Error("the origin was told of a journal")
	}
}

// What a PoP says of its position is checked.
func TestReadPosition(t *testing.T) {
	for line, ok := range map[string]bool{
		"j/0": true, "j/18446744073709551615": true, "j/18446744073709551616": false, "j": false, "/1": false, "j/": false, "j/-1": false, "j/1/2": false, "": false,
		string(make([]byte, 65)) + "/1": false,
	} {
		p, err := readPosition([]string{line})
		if (err == nil) != ok || ok && writePosition(p) != line {
			t.Errorf("%q: %v, %v", line, p, err)
		}
	}
	for _, lines := range [][]string{nil, {"j/1", "j/2"}} {
		if _, err := readPosition(lines); err == nil {
			t.Errorf("%q is taken", lines)
		}
	}
}
