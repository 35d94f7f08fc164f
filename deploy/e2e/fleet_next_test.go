//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hither/deploy/fleet/control"
)

// An alteration is a text of a source file and what a later version has in its place. The text must be there once.
type alteration struct{ file, old, now string }

// nextVersion is what the next version of the program has and this one does not: a member in every message, in every file that is written as
// one, and a key of the network file.
var nextVersion = []alteration{
	{"deploy/fleet/bus/bus.go", "len(body)+8), `{\"v\":%d`", "len(body)+48), `{\"v\":%d,\"later\":{\"since\":[2,\"two\",null]}`"},
	{"deploy/deploy.go", "\tName string `yaml:\"name\" jsonschema:\"required\" check:\"name\"`\n",
		"\tName string `yaml:\"name\" jsonschema:\"required\" check:\"name\"`\n\n\tNext string `yaml:\"next\"`\n"},
}

// newFormat is what a version has that is not to be understood by this one.
var newFormat = []alteration{{"deploy/fleet/bus/bus.go", "\nconst Version = 1\n", "\nconst Version = 2\n"}}

// buildLater builds the program from this source and alterations of it, with another word for its commit, and returns where it is.
func buildLater(t *testing.T, commit string, all []alteration) string {
	t.Helper()
	dir := t.TempDir()
	replace := make(map[string]string)
	for i, a := range all {
		path := absolute(t, filepath.Join(root, a.file))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if k := strings.Count(string(data), a.old); k != 1 {
			t.Fatalf("%s has %q %d times, not once: what the next version has is to be altered too", a.file, a.old, k)
		}
		replace[path] = filepath.Join(dir, fmt.Sprint(i, ".go"))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(data), a.old, a.now, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "hither")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-ldflags", "-X main.commit="+commit, "-o", to, "./deploy/hither")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return to
}

// A mixture is a network whose nodes run programs of two versions, each started by hand.
type mixture struct {
	network
	running map[string]*process
	flushes map[string]int64 // by PoP, of processes that have ended
}

// start starts a node with a program.
func (m *mixture) start(t *testing.T, node, path string) {
	t.Helper()
	role, name, _ := strings.Cut(node, "-")
	m.running[node] = start(t, path, role, "--name", name, "--state", m.state(node))
}

// replace ends a node and starts it with another program, on the same state folder.
func (m *mixture) replace(t *testing.T, node, path string) {
	t.Helper()
	if pop, ok := strings.CutPrefix(node, "edge-"); ok {
		m.flushes[pop] += m.counters(t, node).sum("hither_fleet_flushes_total")
	}
	m.running[node].cmd.Process.Signal(syscall.SIGTERM)
	if status := m.running[node].status(t); status != 0 {
		t.Errorf("%s ended with %d:\n%s", node, status, m.running[node].stderr)
	}
	m.start(t, node, path)
	m.await(t, node, m.running[node])
}

// flushed lists PoPs that have held all they have for stale another number of times.
func (m *mixture) flushed(t *testing.T, want int64) (wrong []string) {
	t.Helper()
	for pop := range pops {
		if k := m.flushes[pop] + m.counters(t, "edge-"+pop).sum("hither_fleet_flushes_total"); k != want {
			wrong = append(wrong, fmt.Sprintf("%s flushed %d times, not %d", pop, k, want))
		}
	}
	return wrong
}

// lead calls a program of either version as the operator, and wants its status and words.
func (m *mixture) lead(t *testing.T, path string, status int, words []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, append(args, "--state", m.dir)...)
	stop := time.AfterFunc(endTime, func() { cmd.Process.Kill() })
	defer stop.Stop()
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("%s: status %d, not %d:\n%s", cmd, got, status, out)
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			t.Errorf("%s does not say %q:\n%s", cmd, w, out)
		}
	}
	return string(out)
}

// versions is which program each node runs, as the control has it from reports.
func (m *mixture) versions(t *testing.T) map[string]string {
	t.Helper()
	var doc control.NodesDoc
	stdout, stderr, _ := call(t, "fleet", "nodes", "--state", m.dir, "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatalf("%v in %s%s", err, stdout, stderr)
	}
	all := make(map[string]string)
	for _, n := range doc.Nodes {
		if n.State == "ready" && n.Runs {
			all[n.Node] = n.Version
		}
	}
	return all
}

// mixed wants every node to be ready, and those named to run the next version, and no other.
func (m *mixture) mixed(t *testing.T, later ...string) {
	t.Helper()
	var wrong string
	if !until(endTime, func() bool {
		all := m.versions(t)
		wrong = ""
		for _, node := range members {
			is, should := strings.Contains(all[node], "next"), false
			for _, l := range later {
				should = should || l == node
			}
			if all[node] == "" || is != should {
				wrong = fmt.Sprintf("%s runs %q: %v", node, all[node], all)
			}
		}
		return wrong == ""
	}) {
		t.Fatalf("next should be at %q alone: %s\n%s", later, wrong, m.running["origin-us"].stderr)
	}
}

// serves purges one text by each program, and wants its receipts and that no PoP has it then.
func (m *mixture) serves(t *testing.T, a *app, programs ...string) {
	t.Helper()
	var all []*visitor
	for i, pop := range []string{"fra", "iad", "sin"} {
		all = append(all, m.via(t, protocols[i], pop))
	}
	for i, path := range programs {
		text := fmt.Sprintf("/keep/%d", i)
		for _, v := range all {
			v.must(t, text)
		}
		if found := still(t, all, text); len(found) != len(pops) {
			t.Errorf("%s is stored at %q alone", text, found)
		}
		before := a.times(text)
		m.lead(t, path, 0, []string{"fra ", "iad ", "sin "}, "purge", "url", site+text, "--wait")
		if found := still(t, all, text); len(found) > 0 {
			t.Errorf("%s is purged, and served by %q", text, found)
		}
		if got := a.times(text) - before; got != len(pops) {
			t.Errorf("after the purge %s was asked for %d times", text, got)
		}
	}
}

// TestFleetNext leads a fleet through an upgrade and back: nodes of this version and of the next one, which has members in its messages that this one does not
// know, hear and understand each other, whichever of the two the hub has; a revision that only the next one can take is taken by nobody. What speaks a newer format has
// no effect but that what it may have purged is held for stale.
func TestFleetNext(t *testing.T) {
	scenario(t, "fleet-next")
	next := buildLater(t, "next", nextVersion)
	a := newApp(t, "127.42")
	m := &mixture{network: network{net: "127.42", dir: filepath.Join(t.TempDir(), "state")}, running: make(map[string]*process), flushes: make(map[string]int64)}
	t.Cleanup(func() { noProcesses(t, m.dir) })
	m.write(t, setup{net: m.net, origin: a.url, edit: append([]string{"disk: 0B", "disk: 64MiB"}, soonForgotten...)})
	if _, stderr, status := call(t, "fleet", "init", "--network", m.path(), "--out", m.dir); status != 0 {
		t.Fatalf("fleet init: status %d, %q", status, stderr)
	}
	m.trust(t)
	for node, path := range map[string]string{"origin-us": program, "edge-fra": program, "edge-iad": next, "edge-sin": program, "dns-ns1": next} {
		m.start(t, node, path)
	}
	for node, p := range m.running {
		m.await(t, node, p)
	}
	m.runs(t, 1, members...)
	m.mixed(t, "edge-iad", "dns-ns1")
	m.serves(t, a, program, next)
	if err := m.keptNext(t, "edge-iad"); err != nil {
		t.Error(err)
	}
	if m.keptNext(t, "edge-fra") == nil {
		t.Error("the check of what a program writes takes this version for the next")
	}
	t.Log("the hub in the older: purges have their receipts")

	two := m.revised(t, "two.yaml", m.file(t)+"\n# two\n")
	m.lead(t, next, 0, []string{"revision 2: stable"}, "fleet", "apply", two, "--now", "--yes")
	m.runs(t, 2, members...)
	m.lead(t, program, 0, nil, "drain", "pop", "iad", "--stay")
	m.lead(t, next, 0, nil, "drain", "pop", "iad", "--undo")
	m.replace(t, "origin-us", next)
	m.replace(t, "edge-fra", next)
	m.runs(t, 2, members...)
	m.mixed(t, "edge-iad", "dns-ns1", "origin-us", "edge-fra")
	m.serves(t, a, program, next)
	t.Log("the hub and a PoP go on with what the older left")

	news := m.revised(t, "news.yaml", m.file(t)+"\nnext: something\n")
	m.lead(t, program, 1, []string{"next"}, "fleet", "apply", news, "--now", "--yes")
	m.lead(t, next, 1, []string{"revision 3 is not in force; revision 2 is"}, "fleet", "apply", news, "--canary", "sin", "--yes")
	m.runs(t, 2, members...)
	if k := m.counters(t, "edge-sin").sum("hither_fleet_refused_total", "kind", "revision"); k == 0 {
		t.Error("the older has not counted the revision that it cannot take")
	}
	m.serves(t, a, next)
	t.Log("a file that the older does not understand is taken by nobody")

	for _, node := range []string{"edge-iad", "origin-us", "dns-ns1"} { // back to the older, on what the next has written
		m.replace(t, node, program)
	}
	m.runs(t, 2, members...)
	m.mixed(t, "edge-fra")
	m.serves(t, a, program, next)
	m.lead(t, program, 0, []string{"revision 4: stable"}, "fleet", "rollback", "1")
	m.runs(t, 4, members...)
	if wrong := m.flushed(t, 0); len(wrong) > 0 {
		t.Errorf("an upgrade and its way back cost what was stored: %q", wrong)
	}
	t.Log("and back: nothing that was stored is lost")

	m.newer(t)
	for _, p := range m.running {
		p.cmd.Process.Kill() // nobody is to wait for their drains
	}
}

// newer has a hub whose messages are of a format that no other node understands.
func (m *mixture) newer(t *testing.T) {
	t.Helper()
	beyond := buildLater(t, "beyond", newFormat)
	all := []*visitor{m.via(t, "h1", "fra"), m.via(t, "h2", "iad"), m.via(t, "h3", "sin")}
	still(t, all, "/keep/stale")
	if found := still(t, all, "/keep/stale"); len(found) != len(pops) {
		t.Errorf("it is stored at %q alone", found)
	}
	m.replace(t, "origin-us", beyond)
	m.lead(t, beyond, 0, []string{"fra ", "iad ", "sin "}, "purge", "url", site+"/keep/stale", "--wait") // they have done more than was asked
	if !until(endTime, func() bool { return len(m.flushed(t, 1)) == 0 }) {
		t.Errorf("what cannot be read may have purged anything: %q", m.flushed(t, 1))
	}
	if found := still(t, all, "/keep/stale"); len(found) > 0 {
		t.Errorf("%q serve as fresh what somebody purged whom they do not understand", found)
	}
	for pop := range pops {
		node := "edge-" + pop
		if k := m.counters(t, node).sum("hither_fleet_refused_total", "kind", "entry"); k == 0 {
			t.Errorf("%s has counted no entry that it cannot read", node)
		}
		// Once a minute for each kind of message: an entry of the journal, a heartbeat, and what the hub's tables have.
		if k := m.running[node].stderr.count("a message of the bus is not taken"); k == 0 || k > 4 {
			t.Errorf("%s says %d times that it takes no message:\n%s", node, k, m.running[node].stderr)
		}
	}
	m.runs(t, 4, "edge-fra", "edge-iad", "edge-sin", "dns-ns1")
	t.Log("a format that is not understood has no effect but that what was stored is asked for again")
}

// keptNext says that what a node has written down of the journal is not the next version's.
func (m *mixture) keptNext(t *testing.T, node string) error {
	t.Helper()
	var data []byte
	if !until(10*time.Second, func() bool { // it is written a second after it changed
		data, _ = os.ReadFile(filepath.Join(m.state(node), "journal.json"))
		return strings.Contains(string(data), `"later":{`)
	}) {
		return fmt.Errorf("%s has written %q", node, data)
	}
	return nil
}
