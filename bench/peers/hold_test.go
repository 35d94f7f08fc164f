package peers

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hither/bench/load"
)

// stubborn is a server whose worker is in no group of ours and takes no order to end.
const stubborn = `(trap "" TERM HUP INT; setsid sleep 1000 & sleep 1000) & echo up; `

// holder has a bench with a server of one script.
func holder(t *testing.T, script string) (*Bench, *exec.Cmd) {
	t.Helper()
	cores, err := load.Cores()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp(t.TempDir(), folderPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return &Bench{Self: self, Folder: folder, Server: cores[0], Client: cores[0]}, exec.Command("/bin/sh", "-c", script)
}

// none fails when anything runs below this process.
func none(t *testing.T) {
	t.Helper()
	if left, err := load.Below(os.Getpid()); err != nil || len(left) > 0 {
		t.Errorf("processes %v are left, %v", left, err)
	}
}

// TestHoldStop ends a server, and its worker with it.
func TestHoldStop(t *testing.T) {
	b, cmd := holder(t, "")
	s := &WebServer{Name: "stubborn"}
	up := filepath.Join(b.Folder, "up")
	cmd.Args[2] = stubborn + "trap 'echo told to end >&2; exit 3' TERM; >" + up + "; wait"
	if err := s.run(t.Context(), b, s.Name, true, cmd, func(context.Context) bool { _, err := os.Stat(up); return err == nil }); err != nil {
		t.Fatal(err)
	}
	tree, err := load.ReadTree(s.PIDs()[0])
	if err != nil || tree.Processes < 2 {
		t.Errorf("it has %+v, %v", tree, err)
	}
	s.Stop()
	none(t)
	if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "told to end") {
		t.Errorf("its end: %v", err)
	}
	if _, err := os.Stat(b.Folder); err != nil {
		t.Errorf("the bench goes on, and its folder is gone: %v", err)
	}
}

// TestHoldDies has the server end by itself: its worker does not stay, and its words are told.
func TestHoldDies(t *testing.T) {
	b, cmd := holder(t, stubborn+"echo out of memory >&2; kill -9 $$")
	s := &WebServer{Name: "mortal"}
	err := s.run(t.Context(), b, s.Name, true, cmd, func(context.Context) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "mortal ended at once: out of memory") {
		t.Errorf("start: %v", err)
	}
	none(t)
}

// parentMode has TestMain be a bench that holds a server until it is killed.
const parentMode = "parent-of-held"

func parentOfHeld(folder, script string) int {
	self, err := os.Executable()
	if err != nil {
		return 1
	}
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdout = os.Stdout
	h := held(self, folder, cmd)
	if err := load.StartOn(h, mustCore()); err != nil {
		return 1
	}
	h.Wait()
	return 0
}

func mustCore() int {
	cores, err := load.Cores()
	if err != nil {
		panic(err)
	}
	return cores[0]
}

// TestHoldOrphaned kills the bench itself: nothing is left, running or on disk.
func TestHoldOrphaned(t *testing.T) {
	b, _ := holder(t, "")
	if err := os.WriteFile(filepath.Join(b.Folder, "key.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(b.Self, parentMode, b.Folder, stubborn+"trap '' TERM; while :; do sleep 0.01; done")
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	parent.Stdout, parent.Stderr = in, in
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("said %q, %v", line, err)
	}
	parent.Process.Signal(syscall.SIGKILL)
	parent.Wait()
	// All below have the pipe, and its end comes when the last of them is gone.
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("the last words: %q, %v", rest, err)
	}
	if _, err := os.Stat(b.Folder); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestHoldRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"/"}, {"/tmp/x", "true"}, {filepath.Join(t.TempDir(), folderPrefix+"1"), "/nowhere/nginx"}} {
		if status, err := Hold(args); err == nil || status != 2 {
			t.Errorf("%q: status %d, %v", args, status, err)
		}
	}
}
