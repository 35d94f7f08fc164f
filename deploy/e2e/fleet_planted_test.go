//go:build e2e

package e2e_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFleetPlanted plants a fault for each checker of fleet-chaos: an edge that lies about how far it has come in the journal, so that entries of it are dropped, must be seen to
// serve what was purged.
func TestFleetPlanted(t *testing.T) {
	scenario(t, "fleet-planted")
	t.Run("answers", plantVersions)
	t.Run("a bad revision at two nodes", plantSpreadRevision)
	t.Run("roads", plantRoads)
	t.Run("entries dropped", plantDropped)
}

func plantVersions(t *testing.T) {
	k := key(1)
	right := func(v int) answer { return answer{status: http.StatusOK, body: text(k, v)} }
	c := &readers{}
	for _, x := range []struct {
		a                  answer
		err                error
		excused            bool
		lost, stale, asked int
	}{
		{a: right(2)}, {a: right(3)}, // the floor is 2
		{a: right(1), stale: 1},
		{a: right(1), excused: true, stale: 1}, // whoever answers is there
		{a: answer{status: 502}, lost: 1},
		{a: answer{status: 502}, excused: true},
		{err: io.ErrUnexpectedEOF, lost: 1},
		{a: answer{status: http.StatusOK, body: text(k, 2)[1:]}, lost: 1},
		{a: answer{status: http.StatusOK, body: text(key(2), 2)}, lost: 1},
	} {
		lost, stale := c.lost.lost(), c.stale.lost()
		c.judge("it", k, 2, x.excused, x.a, x.err)
		if c.lost.lost()-lost != x.lost || c.stale.lost()-stale != x.stale {
			t.Errorf("status %d with %d bytes, %v, excused %t: %d lost, %d stale", x.a.status, len(x.a.body), x.err, x.excused, c.lost.lost()-lost, c.stale.lost()-stale)
		}
	}
}

func plantSpreadRevision(t *testing.T) {
	n := &network{dir: t.TempDir()}
	for _, node := range []string{"edge-fra", "edge-iad", "edge-sin"} {
		folder := filepath.Join(n.state(node), "revision")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	had := func() error { return onlyAt("edge-fra", n.refusedAt(t, "edge-fra", "edge-iad", "edge-sin")) }
	os.WriteFile(filepath.Join(n.state("edge-fra"), "revision", "refused.yaml"), nil, 0o600)
	if err := had(); err != nil {
		t.Errorf("the canary alone: %v", err)
	}
	os.WriteFile(filepath.Join(n.state("edge-sin"), "revision", "refused.yaml"), nil, 0o600)
	if err := had(); err == nil || !strings.Contains(err.Error(), "edge-sin") {
		t.Errorf("another had it too: %v", err)
	}
}

// plantRoads has a relay tell what it does not know from what it does, and cut it.
func plantRoads(t *testing.T) {
	ln, err := net.Listen("tcp", "127.33.0.6:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	r := newRelay(t, &network{dir: t.TempDir()}, "127.33.0.6:0", ln.Addr().String())
	said := func() error {
		c, err := net.Dial("tcp", r.listener.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, "x"); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	}
	if err := said(); err != nil {
		t.Errorf("an open road: %v", err)
	}
	r.set("", cut)
	if err := said(); err == nil {
		t.Error("a road that is cut is open")
	}
	r.set("", open)
	if err := said(); err != nil {
		t.Errorf("a road that is open again: %v", err)
	}
}

// plantDropped has an edge with a disk believe that it has carried out what was ordered while it was away.
func plantDropped(t *testing.T) {
	c := newChaos(t, "127.33")
	n := c.n
	c.publisher = newPublisher(n, c.library, rand.New(rand.NewPCG(1, 1)))
	all := make([]string, texts)
	for i := range all {
		all[i] = key(i)
	}
	onDisk := func() int64 { return n.counters(t, "edge-sin").sum("hither_cache_objects", "tier", "disk") }
	if !until(30*time.Second, func() bool {
		if w := n.outdated(t, c.library, "fra", "iad", "sin"); len(w) > 0 {
			t.Fatalf("before anything was purged: %q", w[0])
		}
		return onDisk() >= texts/4
	}) {
		t.Fatal("the disk gets nothing")
	}
	for _, forged := range []bool{false, true} {
		if err := c.kill("edge-sin"); err != nil {
			t.Fatal(err)
		}
		c.library.publish(all...)
		for i := range all {
			c.publisher.owed[all[i]] = true
		}
		if err := c.publisher.purge(all); err != nil || len(c.publisher.owed) > 0 {
			t.Fatalf("%d purges were not taken: %v", len(c.publisher.owed), err)
		}
		if forged {
			// Its own word on how far it is becomes that of an edge which was there.
			if !until(20*time.Second, func() bool { return n.forge(t, "edge-fra", "edge-sin") }) {
				t.Fatal("the position of the edge that was there does not come to its disk")
			}
		}
		if err := c.begin("edge-sin"); err != nil {
			t.Fatal(err)
		}
		if wrong := c.alike(40 * time.Second); wrong != "" {
			t.Fatalf("the fleet is not one:\n%s", wrong)
		}
		wrong := n.outdated(t, c.library, "fra", "iad", "sin")
		t.Logf("forged %t: %d outdated", forged, len(wrong))
		switch {
		case !forged && len(wrong) > 0:
			t.Errorf("an edge that was away serves what was purged meanwhile: %s", wrong[0])
		case forged && len(wrong) < texts/8:
			t.Error("an edge for which entries of the journal were dropped is not seen to serve what was purged")
		}
		for _, w := range wrong {
			if !strings.HasPrefix(w, "sin, ") {
				t.Error(w)
			}
		}
		if !until(30*time.Second, func() bool { // what it is to forget next time is on its disk again
			n.outdated(t, c.library, "sin")
			return onDisk() >= texts/4
		}) {
			t.Fatalf("the disk gets nothing any more: %d", onDisk())
		}
	}
}

// forge gives a node another's position in the journal. It reports false where the other has not written down yet where it is.
func (n *network) forge(t *testing.T, from, to string) bool {
	t.Helper()
	const file = "journal.json"
	data, err := os.ReadFile(filepath.Join(n.state(from), file))
	if err != nil {
		t.Fatal(err)
	}
	// It is written once a second: what stays the same for longer is where the node is.
	if until(2*time.Second, func() bool {
		now, err := os.ReadFile(filepath.Join(n.state(from), file))
		return err != nil || string(now) != string(data)
	}) {
		return false
	}
	if err := os.WriteFile(filepath.Join(n.state(to), file), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return true
}
