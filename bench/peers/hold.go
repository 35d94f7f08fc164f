package peers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hither/bench/load"
)

// HoldCommand is the first argument that has this program hold a server, or a folder: it is started again as the server's parent.
const HoldCommand = "hold"

// held has a program run below a process of ours that ends with us and then ends all the program has started, workers that have
// left its group or changed their user as well. When we are killed it removes our folder, too.
func held(self, folder string, cmd *exec.Cmd) *exec.Cmd {
	holder := exec.Command(self, append([]string{HoldCommand, folder, cmd.Path}, cmd.Args[1:]...)...)
	holder.Dir, holder.Env, holder.Stdout = cmd.Dir, cmd.Env, cmd.Stdout
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: parentGone}
	return holder
}

// parentGone tells the holder that nobody waits for it any more.
const parentGone = syscall.SIGHUP

// holdTime is how long the server may take to end by itself. Its holder has holderTime: were that killed, nobody would end the rest.
const (
	holdTime   = 3 * time.Second
	holderTime = time.Minute
)

// Hold is the holder's life: args are a folder, a program and what to call it with. It returns the program's exit status once
// all processes below have ended. Without a program it holds the folder alone (see [NewFolder]).
func Hold(args []string) (status int, err error) {
	if len(args) < 1 || !strings.HasPrefix(filepath.Base(args[0]), folderPrefix) {
		return 2, errors.New("peers: hold is for the bench itself: it needs a folder of a bench, and a program")
	}
	if len(args) == 1 {
		return 0, keep(args[0])
	}
	// Orphans below become our children: none gets away.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 2, fmt.Errorf("peers: hold %s: %w", args[1], err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, parentGone)
	defer signal.Stop(signals)
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return 2, fmt.Errorf("peers: hold %s: %w", args[1], err)
	}
	defer nothing.Close()
	server, err := os.StartProcess(args[1], args[1:], &os.ProcAttr{Env: os.Environ(), Files: []*os.File{nothing, os.Stdout, os.Stderr}})
	if err != nil {
		return 2, fmt.Errorf("peers: hold: %w", err)
	}
	ended := make(chan int, 1)
	go func() { ended <- reap(server.Pid) }()
	kill := func() int {
		syscall.Kill(server.Pid, syscall.SIGKILL) // what is left then is ended as after any other end of it
		return <-ended
	}
	var late <-chan time.Time
	for {
		select {
		case status := <-ended:
			return status, nil
		case <-late:
			return kill(), nil
		case s := <-signals:
			if s == parentGone {
				kill()
				return 1, os.RemoveAll(args[0])
			}
			syscall.Kill(server.Pid, syscall.SIGTERM)
			late = time.After(holdTime)
		}
	}
}

// reap waits for all that is below, and returns the status of the first that was started. What outlives that one is ended.
func reap(first int) (status int) {
	over := false
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil: // ECHILD: nobody is left
			return status
		case pid == first && s.Signaled():
			over, status = true, 128+int(s.Signal())
		case pid == first:
			over, status = true, s.ExitStatus()
		}
		// What is forked while we look is not seen, but its parent's end is: then it is an orphan of ours.
		for below, _ := load.Below(os.Getpid()); over && len(below) > 0; below = below[1:] {
			syscall.Kill(below[0], syscall.SIGKILL)
		}
	}
}
