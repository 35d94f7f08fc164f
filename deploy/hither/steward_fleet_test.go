package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// A stewarded is a small fleet with a steward, which is looked after as `hither up` does, but turn by turn.
type stewarded struct {
	*smallFleet
	s    *steward
	op   *operator
	said []string
}

// newStewarded waits until file and fleet are both "one".
func newStewarded(t *testing.T) *stewarded {
	x := &stewarded{smallFleet: newSmallFleet(t)}
	var err error
	if x.op, err = dialOperator(t.Context(), x.dir, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.op.close)
	x.write("one")
	x.start()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); ; {
		err := x.s.agree(t.Context(), x.op)
		if err == nil {
			return x
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal(err)
		}
	}
}

// start has another steward begin with the file as it is.
func (x *stewarded) start() {
	x.s = newSteward(x.dir, []byte(x.read()), func(format string, args ...any) { x.said = append(x.said, fmt.Sprintf(format, args...)) })
}

func (x *stewarded) write(comment string) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.dir, "network.yaml"), fleetFile(comment), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

func (x *stewarded) read() string {
	x.t.Helper()
	file, err := os.ReadFile(filepath.Join(x.dir, "network.yaml"))
	if err != nil {
		x.t.Fatal(err)
	}
	return string(file)
}

// apply is another operator's.
func (x *stewarded) apply(number int, comment string) {
	x.t.Helper()
	x.does(0, []string{fmt.Sprintf("revision %d: stable", number)}, "fleet", "apply", x.file(comment), "--now", "--yes")
}

// turn has file and fleet agree, as after a wake of whatever kind.
func (x *stewarded) turn() {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 30*time.Second)
	defer cancel()
	for again := true; again; {
		again = false
		done := make(chan error, 1)
		go func() { done <- x.s.agree(ctx, x.op) }()
		var err error
		select {
		case d := <-x.s.news:
			if again = true; x.s.still(d) {
				note := agreed{d.Number, d.Hash}
				if err := errors.Join(replace(filepath.Join(x.dir, "network.yaml"), d.File), writeJSON(filepath.Join(x.dir, syncFile), note)); err != nil {
					x.t.Fatal(err)
				}
				x.s.adopted(d)
			}
			err = <-done
		case err = <-done:
		}
		if err != nil {
			x.t.Fatal(err)
		}
	}
}

// are says what the fleet's stable revision and the file are to be, and what has been said since the last time.
func (x *stewarded) are(number int, fleet, file string, says ...string) {
	x.t.Helper()
	var stable control.RevisionDoc
	if err := x.op.ask(x.t.Context(), "revision", control.RevisionCall{}, &stable); err != nil {
		x.t.Fatal(err)
	}
	comment := func(file string) string { return strings.TrimPrefix(strings.Split(file, "\n")[0], "# ") }
	if got := comment(string(stable.File)); stable.Number != number || got != fleet {
		x.t.Errorf("the fleet has revision %d, %q, and not %d, %q", stable.Number, got, number, fleet)
	}
	if got := comment(x.read()); got != file {
		x.t.Errorf("the file is %q, and not %q", got, file)
	}
	if len(x.said) != len(says) {
		x.t.Errorf("it said %q, and not %q", x.said, says)
	}
	for i, s := range x.said[:min(len(x.said), len(says))] {
		if !strings.Contains(s, says[i]) {
			x.t.Errorf("it said %q, and not %q", s, says[i])
		}
	}
	x.said = nil
}

// TestStewardAsked has an operator write into the network file while others lead the fleet: what is written goes to the fleet when it is asked for,
// and undoes no revision that its writer has not heard of.
func TestStewardAsked(t *testing.T) {
	x := newStewarded(t)
	x.are(1, "one", "one")
	x.write("half done")
	x.turn()
	x.are(1, "one", "half done")
	x.apply(2, "two")
	x.turn()
	x.are(2, "two", "half done", "was edited, and the fleet has revision 2 meanwhile")
	x.turn()
	x.are(2, "two", "half done")
	x.write("done")
	x.s.ask(fleetFile("done"))
	x.turn()
	x.are(3, "done", "done")

	t.Log("nobody writes: the file follows")
	x.apply(4, "four")
	x.turn()
	x.are(4, "four", "four")

	t.Log("asked for while the hub is away, and written on since")
	x.s.ask([]byte(x.read())) // unchanged, which is nothing
	x.write("asked")
	x.s.ask(fleetFile("asked"))
	x.write("written on")
	x.turn()
	x.are(5, "asked", "written on")
	x.turn()
	x.are(5, "asked", "written on")
	x.s.ask(fleetFile("written on"))
	x.turn()
	x.are(6, "written on", "written on")

	t.Log("asked for while the hub is away, and others lead the fleet meanwhile")
	x.write("mine")
	x.s.ask(fleetFile("mine"))
	x.apply(7, "theirs")
	x.turn()
	x.are(7, "theirs", "mine", "was edited, and the fleet has revision 7 meanwhile")
	x.turn()
	x.are(7, "theirs", "mine")
	x.s.ask(fleetFile("mine"))
	x.turn()
	x.are(8, "mine", "mine")

	t.Log("given up")
	x.write("a draft")
	x.apply(9, "nine")
	x.turn()
	x.are(9, "nine", "a draft", "was edited")
	x.write("mine") // as it was
	x.s.ask(fleetFile("mine"))
	x.turn()
	x.are(9, "nine", "nine")
}

// TestStewardStarts: a file that was edited while `up` was down counts at its start, where the fleet is as it was.
func TestStewardStarts(t *testing.T) {
	x := newStewarded(t)
	x.start()
	x.turn()
	x.are(1, "one", "one")
	x.write("two")
	x.start()
	x.turn()
	x.are(2, "two", "two")
	x.apply(3, "three")
	x.start()
	x.turn()
	x.are(3, "three", "three")
	x.write("mine")
	x.apply(4, "four")
	x.start()
	x.turn()
	x.are(4, "four", "mine", "was edited, and the fleet has revision 4 meanwhile")
	select {
	case <-x.s.synced:
	default:
		t.Error("`up` waits for what an operator is to decide")
	}
	x.start()
	x.turn()
	x.are(4, "four", "mine", "was edited, and the fleet has revision 4 meanwhile")
	x.s.ask(fleetFile("mine"))
	x.turn()
	x.are(5, "mine", "mine")
}

// TestStewardBehind: a hub that comes back from an older backup stays behind what it was given. The file follows it all the same, after a while in
// which a server of a cluster may only not have heard yet.
func TestStewardBehind(t *testing.T) {
	x := newStewarded(t)
	lost := agreed{3, bus.HashOf(fleetFile("lost"))}
	x.write("lost")
	if err := writeJSON(filepath.Join(x.dir, syncFile), lost); err != nil {
		t.Fatal(err)
	}
	x.s.given, x.s.gave = lost, time.Now()
	if err := x.s.agree(t.Context(), x.op); !errors.Is(err, errSoon) {
		t.Errorf("just given: %v", err)
	}
	x.are(1, "one", "lost")
	x.s.gave = time.Now().Add(-answerTime)
	x.turn()
	x.are(1, "one", "one")
}
