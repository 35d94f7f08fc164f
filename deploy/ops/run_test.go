package ops

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A child is this test binary in another role.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	in    io.WriteCloser
}

func startChild(t *testing.T, role string, args ...string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "HITHER_OPS_CHILD="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{cmd: cmd, lines: bufio.NewScanner(out), in: in}
}

func (c *child) expect(t *testing.T, line string) {
	t.Helper()
	if !c.lines.Scan() || c.lines.Text() != line {
		t.Fatalf("child said %q (%v), want %q", c.lines.Text(), c.lines.Err(), line)
	}
}

func (c *child) say(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		t.Fatal(err)
	}
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait returns the exit status, or minus the number of the signal that ended the child.
func (c *child) wait(t *testing.T) int {
	t.Helper()
	for c.lines.Scan() {
		t.Errorf("child said %q at its end", c.lines.Text())
	}
	var exit *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	ws := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return -int(ws.Signal())
	}
	return ws.ExitStatus()
}

// childRun reports what Run does with its signals, and drains until told by its input.
func childRun() int {
	in := bufio.NewScanner(os.Stdin)
	reloads := 0
	err := Run(context.Background(), slog.New(slog.DiscardHandler),
		func() error {
			reloads++
			fmt.Println("reload", reloads)
			if reloads == 1 {
				return errors.New("refused")
			}
			return nil
		},
		func(ctx context.Context) error {
			fmt.Println("ready")
			<-ctx.Done()
			fmt.Println(context.Cause(ctx))
			for in.Scan() && in.Text() != "done" {
				fmt.Println("still here")
			}
			return nil
		})
	if err != nil {
		return 3
	}
	fmt.Println("returned")
	return 0
}

func TestSignalDrains(t *testing.T) {
	for s, word := range map[syscall.Signal]string{syscall.SIGTERM: "terminated", syscall.SIGINT: "interrupt"} {
		c := startChild(t, "run")
		c.expect(t, "ready")
		c.signal(t, s)
		c.expect(t, "ops: received "+word)
		c.say(t, "done")
		c.expect(t, "returned")
		if got := c.wait(t); got != 0 {
			t.Errorf("%v: exit %d", s, got)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	c := startChild(t, "run")
	c.expect(t, "ready")
	c.signal(t, syscall.SIGTERM)
	c.expect(t, "ops: received terminated")
	c.signal(t, syscall.SIGTERM)
	if got := c.wait(t); got != -int(syscall.SIGTERM) {
		t.Errorf("exit %d, want to be ended by the signal", got)
	}
}

func TestHangupReloads(t *testing.T) {
	c := startChild(t, "run")
	c.expect(t, "ready")
	c.signal(t, syscall.SIGHUP)
	c.expect(t, "reload 1") // and is refused, which ends nothing
	c.signal(t, syscall.SIGHUP)
	c.expect(t, "reload 2")
	c.signal(t, syscall.SIGTERM)
	c.expect(t, "ops: received terminated")
	c.signal(t, syscall.SIGHUP) // without effect while draining
	c.say(t, "well?")
	c.expect(t, "still here")
	c.say(t, "done")
	c.expect(t, "returned")
	if got := c.wait(t); got != 0 {
		t.Errorf("exit %d", got)
	}
}

func TestRunReturnsTheError(t *testing.T) {
	want := errors.New("edge: listen")
	got := Run(t.Context(), slog.New(slog.DiscardHandler), nil, func(context.Context) error { return want })
	if got != want {
		t.Errorf("error %v", got)
	}
}
