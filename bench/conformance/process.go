package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is a program that runs beside us, and ends with us, however we end.
type process struct {
	name  string // for people
	cmd   *exec.Cmd
	ended chan struct{}
	words tail // of its standard error
}

// start starts a program. What it writes goes to out; its last words are kept.
func start(name string, cmd *exec.Cmd, out io.Writer) (*process, error) {
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, &p.words
	// A group of its own, as Ctrl-C is for us to hand on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second // for a descendant that keeps its output open
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// startTime bounds the start of origin and network, stopTime their end: more than a node lets requests finish (30 s).
const (
	startTime = time.Minute
	stopTime  = 40 * time.Second
)

// await returns what follows prefix on the line of the program's output that begins with it. A program that does not come to
// say it is ended.
func (p *process) await(ctx context.Context, said *announcement) (string, error) {
	timer := time.NewTimer(startTime)
	defer timer.Stop()
	var why error
	select {
	case rest := <-said.heard:
		return rest, nil
	case <-p.ended:
		return "", p.gone()
	case <-timer.C:
		why = fmt.Errorf("%s is not ready after %v: %s", p.name, startTime, p.words.last())
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	p.stop()
	return "", why
}

// gone says that the program ended though nobody told it to.
func (p *process) gone() error {
	return fmt.Errorf("%s ended by itself (%v): %s", p.name, p.cmd.ProcessState, p.words.last())
}

// stop ends the program: it has ended when stop returns.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // its group
		<-p.ended
	}
}

// An announcement waits for a line of output that begins with prefix, and lets everything else go by.
type announcement struct {
	prefix string
	heard  chan string // of capacity 1: what follows the prefix

	line []byte
	done bool
}

func announced(prefix string) *announcement {
	return &announcement{prefix: prefix, heard: make(chan string, 1)}
}

// maxLine bounds a line that is looked at.
const maxLine = 4 << 10

func (a *announcement) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case a.done:
			return len(b), nil
		case c != '\n':
			if len(a.line) < maxLine {
				a.line = append(a.line, c)
			}
		default:
			if rest, ok := strings.CutPrefix(string(a.line), a.prefix); ok {
				a.heard <- strings.TrimSpace(rest)
				a.done = true
			}
			a.line = a.line[:0]
		}
	}
	return len(b), nil
}

// output runs a program that ends by itself, and returns what it wrote. It is ended when it has not within the limit, when
// one of the others has ended, and when ctx ends.
func output(ctx context.Context, name string, cmd *exec.Cmd, limit time.Duration, others ...*process) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s has not ended within %v", name, limit))
	defer cancel()
	out := limited{max: maxOutput}
	p, err := start(name, cmd, &out)
	if err != nil {
		return nil, err
	}
	lost := make(chan *process, len(others))
	for _, o := range others {
		go func() {
			select {
			case <-o.ended:
				lost <- o
			case <-ctx.Done():
			}
		}()
	}
	select {
	case <-p.ended:
		switch {
		case out.full:
			return nil, fmt.Errorf("%s writes more than %d bytes", name, out.max)
		case !p.cmd.ProcessState.Success():
			return nil, p.gone()
		}
		return out.buf.Bytes(), nil
	case o := <-lost:
		p.stop()
		return nil, o.gone()
	case <-ctx.Done():
		p.stop()
		return nil, context.Cause(ctx)
	}
}

// maxOutput bounds what is read of a program: ten times what the suite writes.
const maxOutput = 16 << 20

// A limited keeps what a program writes, up to a number of bytes; more breaks its output. To be read when it has ended.
type limited struct {
	buf  bytes.Buffer
	max  int
	full bool
}

func (l *limited) Write(b []byte) (int, error) {
	if l.full = l.full || l.buf.Len()+len(b) > l.max; l.full {
		return 0, io.ErrShortWrite
	}
	return l.buf.Write(b)
}

// A tail keeps the end of what a program writes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = t.text[extra:]
	}
	return len(b), nil
}

// last is the line that tells most: a node program's error, else the last one.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	for _, l := range lines {
		// An uncaught error of node is followed by its stack, and the last line is node's version.
		if name, _, ok := strings.Cut(l, ": "); ok && strings.HasSuffix(strings.Fields(name + " x")[0], "Error") {
			return strings.TrimSpace(l)
		}
	}
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return "it wrote nothing"
}
