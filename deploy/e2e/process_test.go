//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program under test with what it writes.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *lines
	done           chan struct{} // closed when it has ended
}

// start starts a program. It is ended with the test, by its own process id.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	return startBeside(t, io.Discard, path, args...)
}

// startBeside is start for a program whose errors go to log as well.
func startBeside(t *testing.T, log io.Writer, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), stdout: newLines(), stderr: newLines(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, io.MultiWriter(p.stderr, log)
	p.cmd.WaitDelay = 5 * time.Second
	// A test that is killed runs no cleanup: the kernel then ends what it started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		p.stdout.close()
		p.stderr.close()
		close(p.done)
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

// endTime is longer than a node's drain (30 s): a process that needs more hangs.
const endTime = 45 * time.Second

// end asks the process to end, and insists if it does not.
func (p *process) end(t *testing.T) {
	defer func() {
		for _, line := range crashes(p.stderr.String()) {
			t.Errorf("%s: %s", p.cmd, line)
		}
	}()
	select {
	case <-p.done:
		return
	default:
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(endTime):
		p.cmd.Process.Kill()
		<-p.done
		t.Errorf("%s did not end within %v of SIGTERM; its errors:\n%s", p.cmd, endTime, p.stderr)
	}
}

// crashes lists the lines by which a Go program tells that it broke, in a handler too.
func crashes(text string) (found []string) {
	for line := range strings.Lines(text) {
		for _, word := range []string{"panic", "fatal error", "DATA RACE"} {
			if strings.Contains(line, word) {
				found = append(found, line)
				break
			}
		}
	}
	return found
}

// status waits for the end and returns the exit status; -1 stands for a signal.
func (p *process) status(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(endTime):
		t.Fatalf("%s still runs after %v", p.cmd, endTime)
	}
	return p.cmd.ProcessState.ExitCode()
}

// call runs the program under test to its end.
func call(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return callIn(t, ".", args...)
}

// callIn is call in a working directory of its own.
func callIn(t *testing.T, dir string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), absolute(t, program), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	stop := time.AfterFunc(endTime, func() { cmd.Process.Kill() })
	defer stop.Stop()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// processes lists those whose command line names something below dir: an `up` and its
// nodes all name their state folder.
func processes(dir string) (found []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, e := range entries {
		line, err := os.ReadFile(e)
		if err != nil || !bytes.Contains(line, []byte(dir)) {
			continue
		}
		if pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(e))); pid != os.Getpid() {
			found = append(found, pid)
		}
	}
	return found
}

// gone reports whether a process has ended with all that it had, its sockets too, and whoever started it knows: the line by which processes finds it is
// gone before, and its first thread before the others, who have the sockets.
func gone(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err != nil
}

// noProcesses fails the test if anything is left of the network in dir, and ends it.
func noProcesses(t *testing.T, dir string) {
	t.Helper()
	if !until(10*time.Second, func() bool { return len(processes(dir)) == 0 }) {
		for _, pid := range processes(dir) {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Errorf("process %d is left: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// until asks again and again whether something holds that another process brings about,
// at most for the time given.
func until(limit time.Duration, holds func() bool) bool {
	over := time.After(limit)
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

// lines keeps what a process writes, and lets a test wait for a line.
type lines struct {
	mu     sync.Mutex
	text   []byte
	closed bool
	more   chan struct{} // closed and replaced when something has come
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	close(l.more)
	l.more = make(chan struct{})
	return len(p), nil
}

func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.more)
	l.more = make(chan struct{})
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// count returns how many whole lines contain a text. A line begins and ends with a line
// feed here, so that a text can be all of one.
func (l *lines) count(text string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.HasSuffix(line, "\n") && strings.Contains("\n"+line, text) {
			n++
		}
	}
	return n
}

// wait waits until n lines contain a text. It gives up at the limit, and when no more
// can come.
func (l *lines) wait(limit time.Duration, text string, n int) bool {
	over := time.After(limit)
	for {
		l.mu.Lock()
		more, closed := l.more, l.closed
		l.mu.Unlock()
		if l.count(text) >= n {
			return true
		}
		if closed {
			return false
		}
		select {
		case <-more:
		case <-over:
			return l.count(text) >= n
		}
	}
}
