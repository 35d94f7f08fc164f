package node

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store/disk"
	"hither/edge/proxy"
)

// What a new network file may have caused counts as an error: an origin's word as well as the node's own, but nothing that is the client's.
func TestFailed(t *testing.T) {
	broken := errors.New("broken off")
	for _, c := range []struct {
		x    *proxy.Exchange
		want bool
	}{
		{&proxy.Exchange{Verdict: cache.Hit, Status: 200}, false},
		{&proxy.Exchange{Verdict: cache.Miss, Status: 500}, true},
		{&proxy.Exchange{Verdict: cache.Hit, Status: 503}, true},
		{&proxy.Exchange{Verdict: cache.Miss, Status: 404}, false},
		{&proxy.Exchange{Verdict: cache.Refused, Status: 404}, false},
		{&proxy.Exchange{Verdict: cache.Refused, Status: 503}, true},
		{&proxy.Exchange{Verdict: cache.Failed, Status: 502, Fault: broken}, true},
		{&proxy.Exchange{Verdict: cache.Miss, Status: 200, Fault: broken}, true},
		{&proxy.Exchange{Verdict: cache.Failed, Status: 499, Reason: "client-gone", Fault: broken}, false},
	} {
		if got := failed(c.x); got != c.want {
			t.Errorf("%v %d %v: %v", c.x.Verdict, c.x.Status, c.x.Fault, got)
		}
	}
}

// A node knows whether what it has may be older than its word from the fleet, and makes it stale when it is told to.
func TestKeptObjects(t *testing.T) {
	state := t.TempDir()
	k := cache.Key{Site: "www", Class: cache.ClassGet, Path: "/"}
	run := func(want bool, do func(n *Node)) {
		t.Helper()
		n := &Node{o: Options{State: state, Log: slog.New(slog.DiscardHandler)}, began: time.Now()}
		n.edge.Cache.Memory, n.edge.Cache.Disk = 1<<20, disk.MinSize
		var epoch uint64
		var err error
		if n.store, epoch, err = n.newStore(); err != nil {
			t.Fatal(err)
		}
		n.cache = cache.New(cache.Config{Store: n.store, Epoch: epoch})
		if got := n.KeptObjects(); got != want {
			t.Errorf("kept %v, want %v", got, want)
		}
		do(n)
		n.closeStore()
	}
	run(false, func(n *Node) {
		n.store.Put(&cache.Object{Key: k, Status: 200, Received: time.Now(), Lifetime: time.Hour})
		n.store.Get(k) // so that it is worth a write
		if n.KeptObjects() {
			t.Error("what has just been stored counts as old")
		}
		if n.began = n.began.Add(-2 * keptAfter); !n.KeptObjects() {
			t.Error("what was stored a while ago does not count")
		}
	})
	run(true, func(n *Node) {
		if !n.cache.Look(k, nil, time.Now()).Fresh() {
			t.Error("not kept")
		}
		n.FlushSoft("for a test")
		if l := n.cache.Look(k, nil, time.Now()); l.Fresh() || l.Object == nil {
			t.Errorf("after a flush: fresh %v, stored %v", l.Fresh(), l.Object != nil)
		}
	})
	run(true, func(n *Node) {
		if n.cache.Look(k, nil, time.Now()).Fresh() {
			t.Error("fresh again after a restart")
		}
	})
}

// A thousand orders in a second are one line.
func TestOrderLog(t *testing.T) {
	var out strings.Builder
	n := &Node{o: Options{Log: slog.New(slog.NewTextHandler(&out, nil))}}
	for range 1000 {
		n.orders.note(n, 1)
	}
	if lines := strings.Count(out.String(), "\n"); lines > 60 { // a machine that takes a minute for this
		t.Errorf("%d lines", lines)
	}
}
