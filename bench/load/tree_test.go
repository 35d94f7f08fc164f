package load

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestTree reads a shell whose children work, wait and end.
func TestTree(t *testing.T) {
	const work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
	cmd := exec.Command("sh", "-c", "("+work+"); ("+work+"; echo worked; read line); echo more; exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadTree(os.Getpid()); err == nil || !strings.Contains(err.Error(), "nothing runs") {
		t.Fatalf("this process has no children yet: %+v, %v", got, err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewScanner(out)
	lines.Scan()
	two, err := ReadTree(os.Getpid())
	if err != nil || two.Processes != 2 || two.RSS < 200<<10 {
		t.Fatalf("the shell and a child: %+v, %v", two, err)
	}
	below, err := ReadTree(cmd.Process.Pid)
	if err != nil || below.Processes != 1 {
		t.Fatalf("below the shell: %+v, %v", below, err)
	}
	child, err := Below(cmd.Process.Pid)
	if err != nil || len(child) != 1 {
		t.Fatalf("below the shell: %v, %v", child, err)
	}
	alone, err := processCPU(child[0])
	if err != nil {
		t.Fatal(err)
	}
	// Two children worked as much as each other, and the first has ended.
	if alone < tick || below.CPU < 3*alone/2 || two.CPU <= below.CPU {
		t.Errorf("of all %v, of the children %v, of the one that runs %v", two.CPU, below.CPU, alone)
	}
	in.Write([]byte("go on\n"))
	lines.Scan()
	one, err := ReadTree(os.Getpid())
	if err != nil || one.Processes != 1 || one.CPU < two.CPU-2*tick {
		t.Errorf("the child has ended: %+v, %v; before %v", one, err, two.CPU)
	}
}

// TestTrees reads a shell with a child, whoever is named.
func TestTrees(t *testing.T) {
	cmd := exec.Command("sh", "-c", "(echo up; read line; echo done); echo more; read line")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewScanner(out)
	lines.Scan()
	shell := cmd.Process.Pid
	child, err := Below(shell)
	if err != nil || len(child) != 1 {
		t.Fatalf("below the shell: %v, %v", child, err)
	}
	below, err := ReadTrees(child)
	if err != nil || below.Processes != 1 || below.RSS < 100<<10 {
		t.Fatalf("the child: %+v, %v", below, err)
	}
	for name, pids := range map[string][]int{"the shell": {shell}, "both": {shell, child[0]}, "one twice": {child[0], shell, shell}} {
		if both, err := ReadTrees(pids); err != nil || both.Processes != 2 || both.RSS < below.RSS*3/2 || both.CPU <= below.CPU {
			t.Errorf("%s: %+v, %v; the child alone %+v", name, both, err, below)
		}
	}
	in.Write([]byte("go on\n"))
	lines.Scan()
	lines.Scan()
	if one, err := ReadTrees([]int{shell}); err != nil || one.Processes != 1 {
		t.Errorf("the child has ended: %+v, %v", one, err)
	}
	if got, err := ReadTrees([]int{shell, child[0]}); !errors.Is(err, errEnded) {
		t.Errorf("one that was named has ended: %+v, %v", got, err)
	}
	if none, err := ReadTrees(nil); err != nil || none != (Tree{}) {
		t.Errorf("nobody: %+v, %v", none, err)
	}
}

func TestParseParent(t *testing.T) {
	if parent, ended, err := parseParent("4711 (a) S 1 (b)) R 17 4711"); err != nil || ended || parent != 17 {
		t.Errorf("parent %d, ended %t, %v", parent, ended, err)
	}
	if _, ended, err := parseParent("1 (x) Z 1 1"); err != nil || !ended {
		t.Errorf("ended %t, %v", ended, err)
	}
	for _, line := range []string{"", "1 (x)", "1 (x) R", "1 (x) R y"} {
		if parent, _, err := parseParent(line); err == nil {
			t.Errorf("%q has parent %d", line, parent)
		}
	}
}

func TestParseEnded(t *testing.T) {
	const line = "4711 (a) S 1 (b)) R 1 4711 4711 0 -1 4194560 5155 0 0 0 123 45 7 8 20 0"
	if got, err := parseEnded(line); err != nil || got != 15*tick {
		t.Errorf("%v, %v; want %v", got, err, 15*tick)
	}
	for _, line := range []string{"", line[:62], strings.Replace(line, " 7 8 ", " 7 x ", 1)} {
		if got, err := parseEnded(line); err == nil {
			t.Errorf("%q: %v", line, got)
		}
	}
}
