//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestFleetDied has the parent of a whole network stand still while the fleet goes on, and die. Started again, its network file and all nodes are
// at what the fleet decided meanwhile, though that file was an older revision when they started.
func TestFleetDied(t *testing.T) {
	scenario(t, "fleet-died")
	n := run(t, setup{net: "127.41"})
	nodes := []string{"origin-us", "edge-fra", "edge-iad", "edge-sin", "dns-ns1"}
	n.runs(t, 1, nodes...)
	two, three := n.file(t)+"\n# two\n", n.file(t)+"\n# three\n"
	n.fleet(t, 0, []string{"revision 2: stable"}, "fleet", "apply", n.revised(t, "two.yaml", two), "--now", "--yes")
	n.runs(t, 2, nodes...)
	if !until(readyTime, func() bool { return n.file(t) == two }) {
		t.Fatal("the network file does not become revision 2")
	}

	if err := n.up.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n.fleet(t, 0, []string{"revision 3: stable"}, "fleet", "apply", n.revised(t, "three.yaml", three), "--now", "--yes")
	n.runs(t, 3, nodes...)
	if err := n.up.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !until(readyTime, func() bool { return len(processes(n.dir)) == 0 }) {
		t.Fatal("nodes outlive the parent that was killed")
	}
	if n.file(t) != two {
		t.Fatal("the network file follows without anybody who writes it")
	}

	// One of them finds what it ran last damaged besides, and before that the same older revision.
	if err := os.WriteFile(filepath.Join(n.state("edge-sin"), "revision", "current.yaml"), []byte("version: 1\nna"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.up = start(t, program, "up", "--state", n.dir)
	if !n.up.stdout.wait(readyTime, readyLine, 1) {
		t.Fatalf("it is not ready; it wrote:\n%s%s", n.up.stdout, n.up.stderr)
	}
	n.runs(t, 3, nodes...)
	if !until(10*time.Second, func() bool { return n.file(t) == three }) {
		t.Error("the network file does not become revision 3")
	}
	n.runs(t, 3, nodes...) // and is given to nobody
}
