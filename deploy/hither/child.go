package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"hither/deploy/fleet"
)

// A child is one node's process, as its parent sees it.
type child struct {
	upChild
	cmd   *exec.Cmd
	link  *os.File // the parent's end
	ready chan struct{}
	ended chan struct{}
	log   string // the file that takes its standard error, and how long that was before
	since int64
}

// spawn starts one node's process.
func (g *group) spawn(node upChild) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "link"), os.NewFile(uintptr(pair[1]), "link")
	defer theirs.Close()
	state := filepath.Join(g.dir, "nodes", node.Node)
	log, err := os.OpenFile(filepath.Join(state, "node.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		ours.Close()
		return nil, err
	}
	// A file, not a pipe to us: a node must be able to log when its parent was killed.
	at, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		ours.Close()
		log.Close()
		return nil, err
	}
	c := &child{upChild: node, link: ours, log: log.Name(), since: at, ready: make(chan struct{}), ended: make(chan struct{})}
	args := []string{node.Role, "--name", node.Name, "--state", state, "--network", filepath.Join(g.dir, "network.yaml"), "--link-fd", "3"}
	if node.Role == fleet.RoleEdge {
		args = append(args, "--access-log", filepath.Join(state, "access.log"))
	}
	c.cmd = exec.Command(exe, args...)
	c.cmd.ExtraFiles = []*os.File{theirs}
	c.cmd.Stderr = log
	// A group of its own: Ctrl-C at the terminal is for the parent to hand on.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		ours.Close()
		log.Close()
		return nil, err
	}
	c.PID = c.cmd.Process.Pid
	g.mu.Lock()
	if _, again := g.children[node.Node]; !again {
		g.order = append(g.order, node.Node)
	}
	g.children[node.Node] = c
	g.mu.Unlock()
	go c.listen()
	g.wg.Add(1)
	go g.wait(c, log)
	return c, nil
}

// listen waits for the child's word that it is ready.
func (c *child) listen() {
	if line, err := bufio.NewReader(c.link).ReadString('\n'); err == nil && strings.TrimSpace(line) == "ready" {
		close(c.ready)
	}
}

// lastWords is the last line that a node which could not start wrote, or the one that says why it crashed.
func (c *child) lastWords() string {
	f, err := os.Open(c.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	f.Seek(c.since, io.SeekStart)
	text, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	words := strings.TrimSpace(string(text))
	for line := range strings.Lines(words) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return fmt.Sprintf("it crashed: %s (see %s)", strings.TrimSpace(line), c.log)
		}
	}
	return strings.TrimPrefix(words[strings.LastIndexByte(words, '\n')+1:], "hither: ")
}
