package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// A call of `bench lab` that is wrong is told in one line before anything is made.
func TestLabCalls(t *testing.T) {
	for call, want := range map[string]string{
		"lab up --loss 1":           "--loss 1: want a share",
		"lab up --rate -1":          "--rate -1: want Mbit/s",
		"lab up --client-edge 1h":   "from 0s to 10s",
		"lab up --edge-origin -1ms": "from 0s to 10s",
		"lab up more":               "more",
		"lab sideways":              "sideways",

		"lab delay":                      "--to ADDR=DISTANCE: want at least one",
		"lab delay --to 192.0.2.1":       "want ADDR=DISTANCE",
		"lab delay --to 192.0.2.1=far":   "far",
		"lab delay --to nowhere=1ms":     "nowhere",
		"lab delay --to 192.0.2.1=11s":   "want 0 to 10s",
		"lab delay --to 192.0.2.1=-1ms":  "want 0 to 10s",
		"lab delay --to 2001:db8::1=1ms": "want the IPv4 address",
		"lab delay --to 0.0.0.0=1ms":     "want the IPv4 address",
		"lab delay --to 127.0.0.1=1ms":   "this machine itself",
		"lab delay --to 127.85.0.1=1ms":  "this machine itself",
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(call), &stdout, &stderr)
		if status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("bench %s: status %d, %q", call, status, &stderr)
		}
	}
}

// The status of a program that runs with a delay is the command's, and it ends with what it needs.
func TestRunProgram(t *testing.T) {
	never, ended := make(chan struct{}), make(chan struct{})
	close(ended)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		ctx   context.Context
		ended chan struct{}
		line  string
		want  error
	}{
		{t.Context(), never, "echo said", nil},
		{t.Context(), never, "exit 7", exitError(7)},
		{t.Context(), never, "kill -9 $$", exitError(exitWrong)},
		{t.Context(), ended, "read never", exitError(exitWrong)},
	} {
		var stdout, stderr bytes.Buffer
		nothing, w, err := os.Pipe() // nothing ever comes
		if err != nil {
			t.Fatal(err)
		}
		err = runProgram(c.ctx, []string{"sh", "-c", c.line}, c.ended, nothing, &stdout, &stderr)
		nothing.Close()
		w.Close()
		if !errors.Is(err, c.want) && err != c.want {
			t.Errorf("%s: %v, want %v; %s", c.line, err, c.want, &stderr)
		}
		if c.want == nil && stdout.String() != "said\n" {
			t.Errorf("%s: wrote %q", c.line, &stdout)
		}
	}
	if err := runProgram(stopped, []string{"sh", "-c", "exit 0"}, never, os.Stdin, io.Discard, io.Discard); err == nil {
		t.Error("a program was started after the end")
	}
	if err := runProgram(t.Context(), []string{"/nowhere/program"}, never, os.Stdin, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "/nowhere/program") {
		t.Errorf("no such program: %v", err)
	}
}
