package member_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/member"
)

// fileNumbered is a network file that says its number in its cdn_id.
func fileNumbered(n int) []byte {
	return []byte(strings.Replace(string(deploy.Example()), "name: demo ", fmt.Sprintf("cdn_id: cdn-%d\nname: demo ", n), 1))
}

// A follower is a node that has a member and follows the target.
type follower struct {
	t     *testing.T
	peer  *fleet.Identity
	state string
	files *member.Files
	log   record
	end   func()

	mu      sync.Mutex // guards what follows
	asked   []string   // hashes, by left
	reloads []string   // the CDN ids of the files put into use after the first
	refused []string
	cannot  error // what the role says of each file
	at      time.Time
	unkept  []error
	member  *member.Member
}

// follow starts a node with a file of its own.
func (w *world) follow(t *testing.T, role, name string, first []byte) *follower {
	t.Helper()
	f := &follower{t: t, peer: w.identity(role, name), state: filepath.Join(w.folder, role+"-"+name), at: time.Now()}
	if err := fleet.RevisionsIn(f.state).Accept(first); err != nil {
		t.Fatal(err)
	}
	f.start(w)
	return f
}

func (f *follower) start(w *world) {
	f.t.Helper()
	r := fleet.RevisionsIn(f.state)
	f.files = &member.Files{
		Revisions: r, Log: slog.New(slog.DiscardHandler),
		Reload: func(n *deploy.Network) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.cannot != nil {
				return f.cannot
			}
			f.reloads = append(f.reloads, n.CDNID)
			return nil
		},
		Refused: func(why error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.refused = append(f.refused, why.Error())
		},
	}
	f.files.Unkept = func(err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.unkept = append(f.unkept, err)
	}
	current, err := r.Current()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.files.Begin(current.Network, current.Data, false); err != nil {
		f.t.Fatal(err)
	}
	conn, err := bus.Dial(bus.Options{URLs: []string{"tls://" + w.addr.String()}, Identity: f.peer, Embedded: "us", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	m, err := member.New(member.Options{
		Conn: conn, Identity: f.peer, State: f.state, Log: f.log.logger(), Now: f.now,
		Take: f.files.Take, Left: f.left, Running: f.files.Running, Own: f.files.Own, Refuse: func(_ int, data []byte, why error) { f.files.Refuse(data, why) },
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.member = m
	f.mu.Unlock()
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		if err := m.Run(ctx); err != nil {
			f.t.Error(err)
		}
	})
	f.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		conn.Close()
	})
	f.t.Cleanup(f.end)
}

// left is what the files say, and notes that they were asked.
func (f *follower) left(hash string) (time.Duration, bool) {
	f.mu.Lock()
	f.asked = append(f.asked, hash)
	f.mu.Unlock()
	return f.files.Left(hash)
}

func (f *follower) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

// later puts the node's clock forward.
func (f *follower) later(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = f.at.Add(d)
	f.member.Look() // in the place of a timer
}

func (f *follower) why() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.refused, "\n")
}

func (f *follower) taken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.reloads)
}

// runs waits until the node runs a revision.
func (f *follower) runs(number int, file []byte) {
	f.t.Helper()
	eventually(f.t, func() error {
		if n, hash := f.files.Running(); n != number || hash != bus.HashOf(file) {
			return fmt.Errorf("%s runs revision %d (%s), and is to run %d (%s); refused: %s", f.peer.Peer, n, hash, number, bus.HashOf(file), f.why())
		}
		return nil
	})
}

// refuses waits until the node has refused something for a reason.
func (f *follower) refuses(what string) {
	f.t.Helper()
	eventually(f.t, func() error {
		if !strings.Contains(f.why(), what) {
			return fmt.Errorf("%s refused %q, wanted %q", f.peer.Peer, f.why(), what)
		}
		return nil
	})
}

// eventually waits until nothing is wrong any more.
func eventually(t *testing.T, wrong func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		err := wrong()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// put puts a revision at the hub, as its file is.
func (w *world) put(number int, file []byte) string {
	w.t.Helper()
	hash := bus.HashOf(file)
	w.raw(number, bus.Encode(bus.Revision{Number: number, Hash: hash, File: file, By: "main"}))
	return hash
}

// raw puts anything there.
func (w *world) raw(number int, data []byte) {
	w.t.Helper()
	if _, err := w.control.Append(w.ctx(), bus.RevisionSubject(number), data, bus.Expectation{}); err != nil {
		w.t.Fatal(err)
	}
}

// aim sets the target.
func (w *world) aim(t bus.Target) {
	w.t.Helper()
	w.table(bus.TableTarget, bus.TargetKey, bus.Encode(t))
}

// TestTarget has a node follow the target forward and back, and find the last good one with the hub away.
func TestTarget(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	f.runs(1, one)
	if n := f.taken(); n != 0 {
		t.Errorf("the file that is in use was put into use %d times more", n)
	}
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, two)})
	f.runs(2, two)
	w.aim(bus.Target{Stable: 1, Hash: bus.HashOf(one)})
	f.runs(1, one)
	w.aim(bus.Target{Stable: 2, Hash: bus.HashOf(two)})
	f.runs(2, two)
	if n := f.taken(); n != 3 {
		t.Errorf("%d files were put into use, not 3", n)
	}

	// Started again with the hub away, it has its number; what changes meanwhile it hears when the hub is back.
	f.end()
	w.stop()
	f.start(w)
	f.runs(2, two)
	w.start()
	three := fileNumbered(3)
	w.aim(bus.Target{Stable: 3, Hash: w.put(3, three)})
	f.runs(3, three)
}

// TestLargest has a node take a network file of just the largest size, with as much around it as there can be.
func TestLargest(t *testing.T) {
	w := newWorld(t)
	f := w.follow(t, fleet.RoleEdge, "fra", fileNumbered(1))
	file := append(append(fileNumbered(2), '\n'), bytes.Repeat([]byte("# nothing\n"), deploy.MaxBytes/10)...)[:deploy.MaxBytes]
	hash := bus.HashOf(file)
	w.raw(2, bus.Encode(bus.Revision{Number: 2, Hash: hash, File: file, By: strings.Repeat("x", 63), Note: strings.Repeat("\x01", 500), At: time.Now()}))
	w.aim(bus.Target{Stable: 2, Hash: hash})
	f.runs(2, file)
}

// TestOwnFile has an operator give the node a file of its own, which counts until the target changes.
func TestOwnFile(t *testing.T) {
	w := newWorld(t)
	one, two, own := fileNumbered(1), fileNumbered(2), fileNumbered(99)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	f.runs(1, one)
	if err := f.files.File("own.yaml", own); err != nil {
		t.Fatal(err)
	}
	f.runs(0, own)
	f.end()
	f.start(w) // which is no change of the target
	f.runs(0, own)
	w.head()
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, two)})
	f.runs(2, two)

	// The same file again says nothing new.
	if err := f.files.File("own.yaml", own); err != nil {
		t.Fatal(err)
	}
	f.runs(2, two)
	if !f.files.Said(own) || f.files.Said(one) {
		t.Error("a start would not know what was said already")
	}
}

// TestOwnFileFirst has an operator's own file hold against the one in whose place it came, of which the fleet speaks late.
func TestOwnFileFirst(t *testing.T) {
	w := newWorld(t)
	one, own, two := fileNumbered(1), fileNumbered(99), fileNumbered(2)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	if err := f.files.File("own.yaml", own); err != nil {
		t.Fatal(err)
	}
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	w.until("it has heard of the file that its operator has replaced", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Contains(f.asked, bus.HashOf(one))
	})
	f.runs(0, own)
	if err := f.files.File("bad.yaml", []byte("version: 1\n")); err == nil {
		t.Fatal("a bad file was taken")
	}
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, own)})
	f.runs(2, own)
	f.mu.Lock()
	if len(f.reloads) != 1 {
		t.Errorf("it went back to the file that its operator had replaced, or forgot what was refused: %q", f.reloads)
	}
	f.mu.Unlock()
	w.aim(bus.Target{Stable: 3, Hash: w.put(3, two)})
	f.runs(3, two)
}

// TestBadRevision has a canary refuse what it cannot take; nobody else hears of it.
func TestBadRevision(t *testing.T) {
	good := fileNumbered(1)
	whole := bus.Encode(bus.Revision{Number: 2, Hash: bus.HashOf(fileNumbered(2)), File: fileNumbered(2)})
	for _, bad := range []struct {
		what, hash string
		data       []byte // "" = none lies there
		want       string
	}{
		{"a mistake", "", bus.Encode(bus.Revision{Number: 2, Hash: bus.HashOf([]byte("version: 1\nname: demo\nx: y\n")), File: []byte("version: 1\nname: demo\nx: y\n")}), "unknown key"},
		{"a newer format", "", bus.Encode(bus.Revision{Number: 2, Hash: bus.HashOf([]byte("version: 2\nname: demo\n")), File: []byte("version: 2\nname: demo\n")}), "version"},
		{"garbage", bus.HashOf([]byte("x")), []byte("\x00garbage"), "no JSON object"},
		{"a newer message", bus.HashOf([]byte("x")), []byte(`{"v":2,"number":2}`), "newer version"},
		{"another file", bus.HashOf([]byte("x")), whole, "the target says"},
		{"a wrong hash", bus.HashOf([]byte("x")), bus.Encode(bus.Revision{Number: 2, Hash: bus.HashOf([]byte("x")), File: fileNumbered(2)}), "the target says"},
		{"another number", "", bus.Encode(bus.Revision{Number: 3, Hash: bus.HashOf(fileNumbered(2)), File: fileNumbered(2)}), "is number 3"},
		{"nothing", bus.HashOf([]byte("x")), nil, "has no revision 2"},
	} {
		t.Run(bad.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			fra, iad := w.follow(t, fleet.RoleEdge, "fra", good), w.follow(t, fleet.RoleEdge, "iad", good)
			stable := w.put(1, good)
			w.aim(bus.Target{Stable: 1, Hash: stable})
			fra.runs(1, good)
			iad.runs(1, good)
			if bad.data != nil {
				w.raw(2, bad.data)
			}
			if bad.hash == "" {
				var rev bus.Revision
				if err := bus.Decode(bad.data, &rev); err != nil {
					t.Fatal(err)
				}
				bad.hash = rev.Hash
			}
			w.aim(bus.Target{Stable: 1, Hash: stable, Canary: 2, CanaryHash: bad.hash, Canaries: []string{"edge-fra"}})
			fra.refuses(bad.want)
			fra.runs(1, good)
			if _, err := os.Stat(filepath.Join(fra.state, "revision", "refused.txt")); err != nil {
				t.Error(err)
			}
			f := func() *member.Member { fra.mu.Lock(); defer fra.mu.Unlock(); return fra.member }()
			eventually(t, func() error {
				if k, lines := f.Stats().Refused["revision"], fra.log.count("revision refused"); k != 1 || lines != 1 {
					return fmt.Errorf("%d counted, in %d lines", k, lines)
				}
				return nil
			})

			// Nothing of it stays: the next is taken by both.
			next := fileNumbered(4)
			w.aim(bus.Target{Stable: 4, Hash: w.put(4, next)})
			fra.runs(4, next)
			iad.runs(4, next)
			if why := iad.why(); why != "" || iad.taken() != 1 {
				t.Errorf("iad, which is no canary, took %d files and refused %q", iad.taken(), why)
			}
		})
	}
}

// TestGarbageTarget has nodes pass over what is no target.
func TestGarbageTarget(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	f := w.follow(t, fleet.RoleDNS, "ns1", one)
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	f.runs(1, one)
	refused := uint64(0)
	for _, garbage := range []string{"no target", `{"v":9,"stable":7}`} {
		w.table(bus.TableTarget, bus.TargetKey, []byte(garbage))
		w.until("it is counted", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.member.Stats().Refused["target"] > refused
		})
		refused = f.member.Stats().Refused["target"]
	}
	w.until("it is logged", func() bool { return f.log.count("the target in the hub's table") > 0 })
	f.runs(1, one)
	if n := f.log.count("the target in the hub's table"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	w.table(bus.TableTarget, bus.TargetKey, nil)
	w.aim(bus.Target{})
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, two)})
	f.runs(2, two)
}

// TestCanaryAlone has a canary go back when nobody watches it any more, also after a new start without a hub, and take it again when
// somebody does.
func TestCanaryAlone(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	target := bus.Target{Stable: 1, Hash: w.put(1, one)}
	w.aim(target)
	f.runs(1, one)
	target.Canary, target.CanaryHash, target.Canaries = 2, w.put(2, two), []string{"edge-fra"}
	w.aim(target)
	f.runs(2, two)
	f.later(61 * time.Second)
	f.runs(1, one)
	w.head()
	f.runs(2, two)

	f.end()
	w.stop()
	f.start(w)
	f.runs(2, two)
	f.later(61 * time.Second)
	f.runs(1, one)
	w.start()
	if c := fleet.RevisionsIn(f.state).Canary(); c != (fleet.Canary{}) {
		t.Errorf("the way back from the canary is kept: %+v", c)
	}
}

// TestCannotTake has a role refuse a file that is right.
func TestCannotTake(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	f.runs(1, one)
	f.mu.Lock()
	f.cannot = errors.New("no room for it")
	f.mu.Unlock()
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, two)})
	f.refuses("no room for it")
	f.runs(1, one)
	f.mu.Lock()
	f.cannot = nil
	f.mu.Unlock()
	f.end()
	f.start(w) // a new start tries again
	f.runs(2, two)
}

// TestUnkept has a disk that takes nothing: the file is in force, and that it is not kept is said.
func TestUnkept(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	f.runs(1, one)
	folder := filepath.Join(f.state, "revision")
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil { // a folder cannot be made there
		t.Fatal(err)
	}
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, two)})
	f.runs(2, two)
	if err := errors.Join(os.Remove(folder), os.Rename(folder+".away", folder)); err != nil {
		t.Fatal(err)
	}
	f.files.Keep()
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.unkept); n < 2 || f.unkept[n-2] == nil || f.unkept[n-1] != nil {
		t.Errorf("said %v", f.unkept)
	}
	if current, err := fleet.RevisionsIn(f.state).Current(); err != nil || string(current.Data) != string(two) {
		t.Errorf("kept %v", err)
	}
}

// TestManyNodes has a revision reach fifty nodes.
func TestManyNodes(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	var all []*follower
	for i := range 50 {
		all = append(all, w.follow(t, fleet.RoleEdge, fmt.Sprintf("p%d", i), one))
	}
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	for _, f := range all {
		f.runs(1, one)
	}
	hash := w.put(2, two)
	began := time.Now()
	w.aim(bus.Target{Stable: 2, Hash: hash})
	for _, f := range all {
		f.runs(2, two)
	}
	t.Logf("50 nodes had the revision after %v", time.Since(began))
}
