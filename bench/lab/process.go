package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is one node's.
type process struct {
	cmd   *exec.Cmd
	link  *os.File // the node says "ready" there, and takes its end for the order to drain
	log   string   // the file with its standard error, and how long that was before
	since int64
	ended chan struct{}
	err   error // of its end; to be read when ended is closed
}

// startTime bounds a node's start, endTime its end: more than it lets requests finish (30 s).
const (
	startTime = time.Minute
	endTime   = 40 * time.Second
)

// startProcess starts a node at a place and waits until it is ready.
func startProcess(ctx context.Context, at *Node, log, program string, args ...string) (*process, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: make socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "link"), os.NewFile(uintptr(pair[1]), "link")
	defer theirs.Close()
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("lab: open log: %w", err)
	}
	defer out.Close()
	since, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("lab: open log: %w", err)
	}
	p := &process{cmd: exec.Command(program, append(args, "--link-fd", "3")...), link: ours, log: log, since: since, ended: make(chan struct{})}
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.Stderr = out
	// A group of its own: Ctrl-C at the terminal is for us to hand on.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := at.Start(p.cmd); err != nil {
		ours.Close()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	ready := make(chan struct{})
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		if line, err := bufio.NewReader(ours).ReadString('\n'); err == nil && line == "ready\n" {
			close(ready)
		}
	}()
	var why error
	select {
	case <-ready:
		<-heard
		return p, nil
	case <-p.ended:
		why = errors.New(p.lastLine())
	case <-time.After(startTime):
		why = fmt.Errorf("it is not ready after %v; see %s", startTime, log)
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	p.end()
	<-heard
	return nil, fmt.Errorf("lab: the node of the %v did not start: %w", at.Place, why)
}

// lastLine is what the node said last.
func (p *process) lastLine() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, p.since, 64<<10))
	words := strings.TrimSpace(string(text))
	if err != nil || words == "" {
		return "it ended without a word"
	}
	return words[strings.LastIndexByte(words, '\n')+1:]
}

// end tells the node to drain, and insists when that takes too long. A node that had ended by itself is an error.
func (p *process) end() error {
	select {
	case <-p.ended:
		p.link.Close()
		return fmt.Errorf("lab: the node %s %s ended by itself (%v): %s", p.cmd.Args[1], p.cmd.Args[3], p.cmd.ProcessState, p.lastLine())
	default:
	}
	p.link.Close()
	select {
	case <-p.ended:
	case <-time.After(endTime):
		p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("lab: %s did not end within %v, and was killed", p.cmd.Args[1], endTime)
	}
	if p.err != nil {
		return fmt.Errorf("lab: end %s: %w", p.cmd.Args[1], p.err)
	}
	return nil
}

// kill ends the node at once.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
	p.link.Close()
}
