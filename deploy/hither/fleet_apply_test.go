package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/hub"
)

// fleetFile is a network file with a comment.
func fleetFile(comment string) []byte {
	return fmt.Appendf(nil, `# %s
version: 1
name: demo
hub: {urls: ["tls://127.0.0.1:4222"], embedded_in: us}
pops:
  - {name: fra, place: {lat: 50.11, lon: 8.68}, addresses: [127.0.1.1]}
  - {name: iad, place: {lat: 38.95, lon: -77.45}, addresses: [127.0.1.2]}
origins:
  - {name: us, gateway: {addresses: ["127.0.2.1:9443"]}, app: {static: {}}}
sites:
  - {name: www, hosts: [www.example.org], origin: us}
`, comment)
}

// A small fleet is a hub with its control, and nodes that do as they are told. Its clock goes two seconds with each report, and stands while the
// control has not heard those before it: on a busy machine nobody is away, or late, for that alone.
type smallFleet struct {
	t   *testing.T
	dir string

	mu    sync.Mutex // guards what follows
	clock time.Time
}

func newSmallFleet(t *testing.T) *smallFleet {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { noneLeft(t, before) })
	f := &smallFleet{t: t, dir: t.TempDir(), clock: time.Now()}
	file := fleetFile("one")
	network, err := deploy.Parse("network.yaml", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Init(network, file, f.dir); err != nil {
		t.Fatal(err)
	}
	authority, err := fleet.OpenAuthority(filepath.Join(f.dir, "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	origin := f.identity("nodes/origin-us/identity")
	h, err := hub.Start(hub.Options{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Folder: filepath.Join(f.dir, "hub"), Identity: origin, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if _, err := authority.Issue(filepath.Join(f.dir, fleet.OperatorFolder), fleet.RoleOperator, fleet.FirstOperator, &deploy.Hub{URLs: []string{h.URL()}, EmbeddedIn: "us"}); err != nil {
		t.Fatal(err)
	}
	lead, err := bus.Dial(h.Control())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lead.Close)
	c, err := control.New(control.Options{
		Conn: lead, Identity: origin, State: filepath.Join(f.dir, "nodes", "origin-us"), Network: func() *deploy.Network { return network },
		Checks: checks, Log: slog.New(slog.DiscardHandler), Now: f.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	running.Go(func() { c.Run(ctx) })
	nodes := []*bus.Conn{}
	for _, n := range []string{"edge-fra", "edge-iad", "origin-us"} {
		conn, err := bus.Dial(bus.Options{URLs: []string{h.URL()}, Identity: f.identity("nodes/" + n + "/identity"), Embedded: "us", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		nodes = append(nodes, conn)
	}
	operator, err := bus.Dial(bus.Options{URLs: []string{h.URL()}, Identity: f.identity(fleet.OperatorFolder), Embedded: "us", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(operator.Close)
	running.Go(func() { f.serve(ctx, operator, nodes) })
	return f
}

// noneLeft waits until no goroutine runs but those of before. What has ended may need a moment for its last word to the disk, or to a peer.
func noneLeft(t *testing.T, before goleak.Option) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		err := goleak.Find(before) // which waits for some time itself
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func (f *smallFleet) identity(dir string) *fleet.Identity {
	f.t.Helper()
	id, err := fleet.LoadIdentity(filepath.Join(f.dir, dir))
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

func (f *smallFleet) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

// serve has every node follow its target and report, until ctx ends. A file that begins with "# bad" makes half of all requests fail.
func (f *smallFleet) serve(ctx context.Context, operator *bus.Conn, nodes []*bus.Conn) {
	tick := time.NewTicker(50 * time.Millisecond) // the control may write to its disk meanwhile: what is to come within 30 s has 750 ms
	defer tick.Stop()
	reports := make([]bus.Report, len(nodes))
	files := make([]string, len(nodes))
	for i := range reports {
		reports[i] = bus.Report{Started: f.now(), State: "ready", Hash: bus.HashOf(fleetFile("one"))}
	}
	for {
		f.mu.Lock()
		f.clock = f.clock.Add(bus.ReportEvery)
		f.mu.Unlock()
		for i, conn := range nodes {
			r := &reports[i]
			if conn.Connected() {
				follow1(ctx, conn, r, &files[i])
			}
			if conn.Peer().Role == fleet.RoleEdge {
				r.Requests += 100
				if strings.HasPrefix(files[i], "# bad") {
					r.Errors += 50
				}
			}
			conn.Publish(bus.UpSubject(conn.Peer().Role, conn.Peer().Name, bus.UpReport), bus.Encode(*r))
		}
		for end := time.Now().Add(5 * time.Second); ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if f.heard(ctx, operator, nodes) || time.Now().After(end) { // a report is lost where its connection ends
				break
			}
		}
	}
}

// heard says whether the control has heard by now all nodes that are connected. One that does not answer counts nobody as away.
func (f *smallFleet) heard(ctx context.Context, operator *bus.Conn, nodes []*bus.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := operator.Request(ctx, bus.ControlSubject(fleet.FirstOperator, "nodes"), []byte("{}"))
	if err != nil {
		return true
	}
	var a bus.Answer
	var doc control.NodesDoc
	if bus.Decode(m.Data, &a) != nil || json.Unmarshal(a.Doc, &doc) != nil {
		return true
	}
	seen := make(map[string]time.Time)
	for _, l := range doc.Nodes {
		seen[l.Node] = l.Seen
	}
	return !slices.ContainsFunc(nodes, func(c *bus.Conn) bool { return c.Connected() && !seen[c.Peer().String()].Equal(f.now()) })
}

// follow1 puts what a node is told into its report.
func follow1(ctx context.Context, conn *bus.Conn, r *bus.Report, file *string) {
	var target bus.Target
	var rev bus.Revision
	if all, err := conn.Last(ctx, bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey)); err != nil || len(all) != 1 || bus.Decode(all[0].Data, &target) != nil {
		return
	}
	number, _ := target.Of(conn.Peer().String())
	if number == r.Revision {
		return
	}
	if all, err := conn.Last(ctx, bus.StreamRevisions, bus.RevisionSubject(number)); err != nil || len(all) != 1 || bus.Decode(all[0].Data, &rev) != nil {
		return
	}
	r.Revision, r.Hash, *file = number, rev.Hash, string(rev.File)
}

// does runs the program, and wants its status and words on either of its outputs.
func (f *smallFleet) does(status int, words []string, args ...string) string {
	f.t.Helper()
	var out, err bytes.Buffer
	got := run(f.t.Context(), append(args, "--state", f.dir), &out, &err)
	for _, w := range words {
		if !strings.Contains(out.String()+err.String(), w) {
			f.t.Errorf("hither %s: %q is not in\n%s%s", strings.Join(args, " "), w, out.String(), err.String())
		}
	}
	if got != status {
		f.t.Errorf("hither %s: status %d, wanted %d\n%s%s", strings.Join(args, " "), got, status, out.String(), err.String())
	}
	return out.String()
}

func (f *smallFleet) file(comment string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, "next.yaml")
	if err := os.WriteFile(path, fleetFile(comment), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// TestFleetCommands leads revisions with the program itself.
func TestFleetCommands(t *testing.T) {
	f := newSmallFleet(t)
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for tick := time.NewTicker(20 * time.Millisecond); ; { // until every node has reported, and runs revision 1
		var out, err bytes.Buffer
		if run(t.Context(), []string{"fleet", "nodes", "--state", f.dir, "-o", "json"}, &out, &err) == 0 && strings.Count(out.String(), `"revision": 1,`) == 3 {
			tick.Stop()
			break
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal(out.String(), err.String())
		}
	}
	f.does(0, []string{"NODE", "edge-fra", "edge-iad", "origin-us", "ready"}, "fleet", "nodes")
	f.does(0, []string{"edge-fra", "ready"}, "status")
	f.does(0, []string{`"schema": "hither/status/1"`, `"connected": true`}, "status", "-o", "json")
	f.does(0, []string{"nothing to do: this is revision 1"}, "fleet", "apply", f.file("one"))
	f.does(0, []string{"-# one\n+# two\n version: 1\n", "revision 2: edge-iad is to take it", "revision 2: stable", "3 nodes run what they are told"},
		"fleet", "apply", f.file("two"), "--canary", "iad", "--note", "a second one", "--yes")
	f.does(1, []string{"revision 3: rolled back: edge-fra answered", "revision 3 is not in force; revision 2 is"}, "fleet", "apply", f.file("bad"), "--canary=fra", "--yes")
	f.does(0, []string{"a second one", "rolled back", "replaced", "3: edge-fra answered"}, "fleet", "history")
	f.does(0, []string{`"schema": "hither/history/1"`}, "fleet", "history", "-o", "json")
	f.does(0, []string{"--- revision 1\n+++ revision 3\n@@ -1,4 +1,4 @@\n-# one\n+# bad\n"}, "fleet", "diff", "1", "3")
	f.does(0, []string{"--- revision 1\n+++ revision 2\n"}, "fleet", "diff", "1")
	f.does(0, []string{"revision 4: stable"}, "fleet", "rollback", "1")
	f.does(0, []string{"revision 5: stable: edge-"}, "fleet", "rollback", "2", "--canary")
	f.does(1, []string{"no revision is being tried"}, "fleet", "promote")
	f.does(1, []string{"no revision is being tried"}, "fleet", "abort")
	f.does(0, []string{"revision 5: stable"}, "fleet", "rollout")
	f.does(1, []string{"there is no revision 77"}, "fleet", "rollback", "77")
	f.does(2, []string{`"x" is no revision's number`}, "fleet", "diff", "x")
	f.does(2, []string{"a window of"}, "fleet", "apply", f.file("six"), "--window", "500ms", "--yes")

	// Where there is nobody to ask, nothing is changed without --yes, and what would change is shown.
	f.does(2, []string{"-# two\n+# six\n", "nothing was changed", "--yes"}, "fleet", "apply", f.file("six"))
	f.does(2, []string{"nothing was changed", "--yes"}, "fleet", "apply", f.file("six"), "-o", "json")
	f.does(0, []string{"revision 5: stable"}, "fleet", "rollout")

	// A file of just the largest size goes all the way, and back; one that is larger goes nowhere.
	large := filepath.Join(f.dir, "large.yaml")
	text := append(fleetFile("large"), bytes.Repeat([]byte("# nothing\n"), deploy.MaxBytes/10)...)
	write := func(size, status int, says string) {
		t.Helper()
		var out, err bytes.Buffer
		if werr := os.WriteFile(large, text[:size], 0o600); werr != nil {
			t.Fatal(werr)
		}
		if got := run(t.Context(), []string{"check", large}, &out, &err); got != status || !strings.Contains(out.String(), says) {
			t.Errorf("check: status %d\n%s%s", got, &out, &err)
		}
	}
	const tooLarge = "large.yaml:1:1: the file has 786433 bytes; a network file may have 786432 bytes (768KiB)"
	write(deploy.MaxBytes+1, 1, tooLarge)
	f.does(1, []string{tooLarge}, "fleet", "apply", large, "--yes")
	write(deploy.MaxBytes, 0, "large.yaml: ok")
	f.does(0, []string{"revision 6: stable", "3 nodes run what they are told"}, "fleet", "apply", large, "--yes", "--now", "--note", strings.Repeat("<", 500))
	f.does(0, []string{"--- revision 6\n+++ revision 5\n", "-# nothing\n"}, "fleet", "diff", "6", "5")
	f.does(0, []string{"revision 7: stable"}, "fleet", "rollback", "5")
	if err := os.WriteFile(filepath.Join(f.dir, "wrong.yaml"), bytes.Replace(fleetFile("x"), []byte("lat: 50.11, lon: 8.68"), []byte("lat: 500, lon: 999"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	f.does(1, []string{"wrong.yaml:6:30: lat", "wrong.yaml:6:40: lon"}, "fleet", "apply", filepath.Join(f.dir, "wrong.yaml"))
}

// What changes all the time stands in one line of a terminal; elsewhere it makes no line each second, but what is new does.
func TestTeller(t *testing.T) {
	at := time.Unix(0, 0)
	doc := func(phase string, seconds int, few bool) control.RolloutDoc {
		return control.RolloutDoc{Number: 2, Canary: "edge-fra", Phase: phase, Few: few, Progress: fmt.Sprintf("for %d s", seconds)}
	}
	steps := []control.RolloutDoc{doc("taking", 0, false), doc("watching", 1, false), doc("watching", 2, false), doc("watching", 11, false),
		doc("watching", 12, true), doc("watching", 13, true), doc("everywhere", 14, false)}
	seconds := []int{0, 1, 2, 11, 12, 13, 14}
	hint := "too few requests come to tell; `hither fleet promote` takes it to all without that, `hither fleet abort` goes back\n"
	for one, want := range map[bool]string{
		false: "revision 2: edge-fra is to take it\nrevision 2: for 1 s\nrevision 2: for 11 s\nrevision 2: for 12 s\n" + hint + "revision 2: for 14 s\n",
		true: "\r\x1b[Krevision 2: edge-fra is to take it\n\r\x1b[Krevision 2: for 1 s\r\x1b[Krevision 2: for 2 s\r\x1b[Krevision 2: for 11 s\r\x1b[Krevision 2: for 12 s\n" +
			hint + "\r\x1b[Krevision 2: for 13 s\n\r\x1b[Krevision 2: for 14 s\n",
	} {
		var out bytes.Buffer
		tell := teller{w: &out, one: one}
		for i, d := range steps {
			tell.tell(d, at.Add(time.Duration(seconds[i])*time.Second))
		}
		tell.end()
		if out.String() != want {
			t.Errorf("on a terminal %t:\n%q\nwanted\n%q", one, out.String(), want)
		}
	}
}

// deaf is a control that knows one revision and takes another.
type deaf struct {
	asked []string
	lost  bool // it does not have the revision that is in force
}

func (d *deaf) ask(_ context.Context, verb string, _, out any) error {
	d.asked = append(d.asked, verb)
	switch doc := out.(type) {
	case *control.RevisionDoc:
		if d.lost {
			return wrong(notThere("there is no revision 0"))
		}
		doc.Number, doc.File = 1, fleetFile("one")
	case *control.RolloutDoc:
		*doc = control.RolloutDoc{Number: 2, Stable: 2, Phase: "done", Outcome: "stable"}
	}
	return nil
}

// TestApplyAsks: nothing is applied without a yes, of a person at a terminal or as a flag.
func TestApplyAsks(t *testing.T) {
	for _, c := range []struct {
		name, types, output, file string
		terminal, yes             bool
		status                    int
		asks, applies             bool
	}{
		{name: "yes", terminal: true, types: "y\n", asks: true, applies: true},
		{name: "the word", terminal: true, types: "yes\n", asks: true, applies: true},
		{name: "no", terminal: true, types: "n\n", asks: true, status: exitWrong},
		{name: "nothing", terminal: true, types: "\n", asks: true, status: exitWrong},
		{name: "the end", terminal: true, types: "\x04", asks: true, status: exitWrong},
		{name: "flag", terminal: true, yes: true, applies: true},
		{name: "no difference", terminal: true, file: "one", applies: true},
		{name: "for a program", terminal: true, output: "json", status: exitUsage},
		{name: "no terminal", status: exitUsage},
		{name: "no terminal, for a program", output: "json", status: exitUsage},
		{name: "no terminal, flag", yes: true, applies: true},
		{name: "no terminal, no difference", file: "one", applies: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := new(cobra.Command)
			cmd.SetContext(t.Context())
			cmd.SetOut(&out)
			cmd.SetIn(strings.NewReader("y\n"))
			if c.terminal {
				keyboard, screen := openTerminal(t)
				cmd.SetIn(screen)
				if _, err := keyboard.WriteString(c.types); err != nil {
					t.Fatal(err)
				}
			}
			if c.file == "" {
				c.file = "two"
			}
			d := new(deaf)
			err := apply(cmd, d, control.ApplyCall{Name: "f", File: fleetFile(c.file)}, c.yes, c.output)
			status := 0
			if err != nil {
				status = exitStatus(err)
			}
			asked, applied := strings.Contains(out.String(), "go on? [y/N]"), slices.Contains(d.asked, "apply")
			if status != c.status || asked != c.asks || applied != c.applies {
				t.Errorf("status %d (%v), asked %v, applied %v\n%s", status, err, asked, applied, &out)
			}
		})
	}
}

// A hub that has lost the revision in force is given a file all the same, and there is no difference to show; it is asked about, and --yes is a yes.
func TestApplyToWhatIsLost(t *testing.T) {
	for yes, status := range map[bool]int{true: 0, false: exitUsage} {
		var out, words bytes.Buffer
		cmd := new(cobra.Command)
		cmd.SetContext(t.Context())
		cmd.SetOut(&out)
		cmd.SetErr(&words)
		cmd.SetIn(strings.NewReader(""))
		d := &deaf{lost: true}
		got := 0
		if err := apply(cmd, d, control.ApplyCall{Name: "f", File: fleetFile("two")}, yes, ""); err != nil {
			got = exitStatus(err)
		}
		if got != status || slices.Contains(d.asked, "apply") != yes || !strings.Contains(words.String(), "no difference to show") || strings.Contains(out.String(), "+++") {
			t.Errorf("yes %v: status %d, asked %v\n%s%s", yes, got, d.asked, &out, &words)
		}
	}
}

// openTerminal opens a terminal: what is written to the keyboard is read from the screen.
func openTerminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return keyboard, screen
}
