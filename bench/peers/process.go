package peers

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"hither/bench/load"
)

// A process is a server's, and of every server the same: it runs on one core, and ends with us.
type process struct {
	Name string // of the program

	patience time.Duration // how long it may take to end; 0 is stopTime

	cmd   *exec.Cmd
	ended chan struct{}
	words tail
}

// PID is the process's number.
func (p *process) PID() int { return p.cmd.Process.Pid }

// startTime is how long a server may take until it answers: PowerDNS reads a quarter of a million prefixes in four seconds, and
// longer where others have the machine.
const startTime = time.Minute

// start runs a program on a core, and returns once ready says that it answers. Where that does not come to be, it is ended.
func (p *process) start(ctx context.Context, core int, cmd *exec.Cmd, ready func(context.Context) bool) error {
	p.cmd, p.ended = cmd, make(chan struct{})
	if cmd.Stderr = &p.words; cmd.Stdout == nil {
		cmd.Stdout = &p.words
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for us to hand on
	if err := load.StartOn(cmd, core); err != nil {
		return fmt.Errorf("peers: start %s: %w", cmd.Path, err)
	}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if ready(ctx) {
			return nil
		}
		select {
		case <-again.C:
		case <-p.ended:
			return fmt.Errorf("peers: %s ended at once: %s", p.Name, p.words.last())
		case <-ctx.Done():
			p.Stop()
			return fmt.Errorf("peers: %s did not answer: %w: %s", p.Name, ctx.Err(), p.words.last())
		}
	}
}

// Alive is nil while the server runs, and else says how it ended.
func (p *process) Alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("peers: %s ended while it was measured (%s): %s", p.Name, p.cmd.ProcessState, p.words.last())
	default:
		return nil
	}
}

// stopTime is how long a server may take to end.
const stopTime = 5 * time.Second

// Stop ends the server; it has ended when Stop returns.
func (p *process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	patience := p.patience
	if patience == 0 {
		patience = stopTime
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// A tail keeps the end of what a program writes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = t.text[extra:]
	}
	return len(p), nil
}

// last is the last line.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.text), []byte("\n"))
	if last := string(lines[len(lines)-1]); last != "" {
		return strings.TrimSpace(last)
	}
	return "it wrote nothing"
}
