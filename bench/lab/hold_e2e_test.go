//go:build e2e

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hither/bench/lab"
)

// holding is set in the environment of this test's program when it is to be what `bench lab up` is.
const holding = "LAB_TEST_HOLDS"

// hold is a command that makes a lab, from its first line to its exit status.
func hold() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, ran, err := lab.Enter(ctx)
	if err == nil && ran {
		return status
	}
	if err == nil {
		err = lab.Up(ctx, lab.UpOptions{
			Lab:     lab.Options{Segments: lab.Distances(near, far, far)},
			Network: lab.NetworkOptions{Program: os.Getenv("LAB_TEST_PROGRAM")},
			Names:   os.Getenv(holding),
		}, os.Stdout)
	}
	switch {
	case errors.Is(err, lab.ErrUnavailable):
		fmt.Fprintln(os.Stderr, err)
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A holder is a running hold.
type holder struct {
	cmd  *exec.Cmd
	dir  string // of its temporary files
	done chan struct{}

	mu   sync.Mutex // guards what follows
	text bytes.Buffer
	said chan struct{} // closed when it said `ready`
}

func (h *holder) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(b)
	select {
	case <-h.said:
	default:
		if strings.Contains(h.text.String(), "\nready\n") {
			close(h.said)
		}
	}
	return len(b), nil
}

func (h *holder) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// holdIn starts this test's program as a holder, by a program in front of it if there is one.
func holdIn(t *testing.T, names string, before ...string) *holder {
	t.Helper()
	h := &holder{dir: open(t), done: make(chan struct{}), said: make(chan struct{})}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Concat(before, []string{copied(t, exe, h.dir)})
	hither := copied(t, program(t), h.dir)
	h.cmd = exec.Command(args[0], args[1:]...)
	h.cmd.Env = append(os.Environ(), holding+"="+names, "LAB_TEST_PROGRAM="+hither, "TMPDIR="+h.dir)
	h.cmd.Stdout, h.cmd.Stderr = h, h
	h.cmd.WaitDelay = 5 * time.Second
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		h.cmd.Wait()
		close(h.done)
	}()
	t.Cleanup(func() {
		h.cmd.Process.Kill()
		<-h.done
	})
	return h
}

// open is a temporary folder that any user may write to.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "labtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copied copies a program into a folder, where any user may run it.
func copied(t *testing.T, program, dir string) string {
	t.Helper()
	data, err := os.ReadFile(program)
	path := filepath.Join(dir, filepath.Base(program))
	if err == nil {
		err = os.WriteFile(path, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ready waits until the network is up.
func (h *holder) ready(t *testing.T) {
	t.Helper()
	select {
	case <-h.said:
	case <-h.done:
		t.Fatalf("the holder ended:\n%s", h)
	case <-time.After(time.Minute):
		t.Fatalf("the holder is not ready:\n%s", h)
	}
}

// end waits for the holder's end.
func (h *holder) end(t *testing.T) {
	t.Helper()
	select {
	case <-h.done:
	case <-time.After(time.Minute):
		t.Fatalf("the holder does not end:\n%s", h)
	}
}

// signal sends a signal to the holder and waits for its end.
func (h *holder) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	h.end(t)
}

// lines are the commands that the holder tells of, for a word that is in them.
func (h *holder) line(t *testing.T, word string) string {
	t.Helper()
	for line := range strings.Lines(h.String()) {
		if strings.HasPrefix(line, "  ") && strings.Contains(line, word) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no command with %q in:\n%s", word, h)
	return ""
}

// eventually waits for what the kernel does by itself.
func eventually(holds func() bool) bool {
	over := time.After(10 * time.Second)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-over:
			return holds()
		}
	}
	return true
}

// spaces are the namespaces that the holder's lines lead to.
func (h *holder) spaces(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for line := range strings.Lines(h.String()) {
		for word := range strings.FieldsSeq(line) {
			for _, path := range []string{strings.TrimPrefix(word, "--net="), "/run/netns/" + word} {
				to, err := filepath.EvalSymlinks(filepath.Dir(path))
				if err != nil {
					continue
				}
				if path, err = os.Readlink(filepath.Join(to, filepath.Base(path))); err == nil && strings.HasPrefix(path, "/proc/") {
					path, err = os.Readlink(path)
				}
				if err == nil && strings.HasPrefix(path, "net:[") {
					found[path] = true
				}
			}
		}
	}
	if len(found) != 4 {
		t.Errorf("%d namespaces in what the holder tells, want 4:\n%s", len(found), h)
	}
	return found
}

// left is what there is of the holder: processes, and all that keeps one of the namespaces.
func (h *holder) left(t *testing.T, spaces map[string]bool) (all []string) {
	t.Helper()
	for _, line := range glob(t, "/proc/[0-9]*/cmdline") {
		if text, err := os.ReadFile(line); err == nil && bytes.Contains(text, []byte(h.dir)) {
			all = append(all, string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
		}
	}
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		for _, link := range glob(t, pattern) {
			if to, err := os.Readlink(link); err == nil && spaces[to] {
				all = append(all, link+" is "+to)
			}
		}
	}
	for space := range namespaces(t) {
		if spaces[space] || strings.HasPrefix(space, "/run/netns/labtest-") {
			all = append(all, space)
		}
	}
	return all
}

// nothingLeft fails the test if anything is left.
func (h *holder) nothingLeft(t *testing.T, spaces map[string]bool) {
	t.Helper()
	if !eventually(func() bool { return h.left(t, spaces) == nil }) {
		t.Errorf("left: %q", h.left(t, spaces))
	}
}

// noNames fails the test if files of names are left.
func noNames(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/run/netns/labtest-*", "/etc/netns/labtest-*"} {
		if left := glob(t, pattern); left != nil {
			t.Errorf("names left: %v", left)
		}
	}
}

// shell runs a line that the holder tells of.
func shell(t *testing.T, line string, as *syscall.Credential) string {
	t.Helper()
	c := exec.Command("sh", "-c", line)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v:\n%s", line, err, out)
	}
	return string(out)
}

func TestUpIsForOtherPrograms(t *testing.T) {
	h := holdIn(t, "labtest")
	h.ready(t)
	spaces := h.spaces(t)
	for _, c := range []struct{ word, want string }{
		{"curl", "first byte 0."},
		{"dig", "198.18.0.2"},
		{"edge ss", "198.18.0.2:443"},
		{"origin ss", "198.18.0.3:9443"},
	} {
		if line := h.line(t, c.word); !strings.Contains(shell(t, line, nil), c.want) {
			t.Errorf("no %q from %s", c.want, line)
		}
	}
	// Four processes and four names, and what keeps the namespaces: seen now, or not seeing them later shows nothing.
	if left := h.left(t, spaces); len(left) < 12 {
		t.Errorf("of a lab that runs, only %q is seen", left)
	}
	second := holdIn(t, "labtest")
	second.end(t)
	if !strings.Contains(second.String(), "runs already") {
		t.Errorf("a second lab of the same name said:\n%s", second)
	}
	h.signal(t, os.Interrupt)
	if status := h.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("exit status %d after Ctrl-C:\n%s", status, h)
	}
	h.nothingLeft(t, spaces)
	noNames(t)
	if left := glob(t, filepath.Join(h.dir, "hither-*")); left != nil {
		t.Errorf("files left: %v", left)
	}
}

func TestInterruptedWhileStarting(t *testing.T) {
	h := holdIn(t, "labtest")
	if !eventually(func() bool { return len(glob(t, "/run/netns/labtest-*")) == 4 }) {
		t.Fatalf("no names:\n%s", h)
	}
	h.signal(t, os.Interrupt)
	if status := h.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("exit status %d after Ctrl-C:\n%s", status, h)
	}
	h.nothingLeft(t, nil)
	noNames(t)
}

func TestNodeThatDiesEndsTheLab(t *testing.T) {
	h := holdIn(t, "labtest")
	h.ready(t)
	spaces := h.spaces(t)
	for _, line := range glob(t, "/proc/[0-9]*/cmdline") {
		text, err := os.ReadFile(line)
		if err == nil && bytes.HasPrefix(text, []byte(filepath.Join(h.dir, "hither")+"\x00edge\x00")) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.end(t)
	if status := h.cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(h.String(), "edge near ended by itself (signal: killed)") {
		t.Errorf("exit status %d, want 1 and the node's name:\n%s", status, h)
	}
	h.nothingLeft(t, spaces)
	noNames(t)
}

func TestKilledHolderLeavesNoNamespace(t *testing.T) {
	h := holdIn(t, "labtest")
	h.ready(t)
	spaces := h.spaces(t)
	h.signal(t, syscall.SIGKILL)
	h.nothingLeft(t, spaces)
	again := holdIn(t, "labtest") // the names that are left are in nobody's way
	again.ready(t)
	again.signal(t, os.Interrupt)
	noNames(t)
}

// nobody is an ordinary user.
const nobody = 65534

// ordinary runs a program as an ordinary user, on a machine where such a one may open /dev/net/tun; shut out on one where none may.
var ordinary, shutOut = asNobody("666"), asNobody("600")

func asNobody(mode string) []string {
	return []string{"unshare", "--mount", "sh", "-ec", `
	mount -t tmpfs none /dev/net
	mknod -m ` + mode + ` /dev/net/tun c 10 200
	exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`, "sh"}
}

func TestUserNamespace(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		h := holdIn(t, "labtest", ordinary...)
		h.ready(t)
		spaces := h.spaces(t)
		if strings.Contains(h.String(), "ip netns") {
			t.Errorf("names in a user namespace:\n%s", h)
		}
		if line := h.line(t, "curl"); !strings.Contains(shell(t, line, &syscall.Credential{Uid: nobody, Gid: nobody}), "first byte 0.") {
			t.Errorf("not the first byte from %s", line)
		}
		h.signal(t, s)
		if status := h.cmd.ProcessState.ExitCode(); s == syscall.SIGTERM && status != 0 {
			t.Errorf("exit status %d after %v:\n%s", status, s, h)
		}
		h.nothingLeft(t, spaces)
	}
}

func TestWithoutPermission(t *testing.T) {
	h := holdIn(t, "labtest", shutOut...)
	h.end(t)
	if status := h.cmd.ProcessState.ExitCode(); status != 2 || !strings.Contains(h.String(), "run this as root") || strings.Count(h.String(), "\n") != 1 {
		t.Errorf("exit status %d, want 2 and one line that says what to do:\n%s", status, h)
	}
}
