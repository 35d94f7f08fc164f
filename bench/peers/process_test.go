package peers

import (
	"os/exec"
	"strings"
	"testing"
)

// TestStop ends a program, and tells how it ended.
func TestStop(t *testing.T) {
	s := &process{Name: "sleeper", cmd: exec.Command("sleep", "1000"), ended: make(chan struct{})}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.cmd.Wait(); close(s.ended) }()
	if err := s.Alive(); err != nil {
		t.Error(err)
	}
	s.Stop()
	if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "sleeper ended while it was measured (signal: terminated)") {
		t.Errorf("after its end: %v", err)
	}
	s.Stop() // again is no matter
}

func TestTail(t *testing.T) {
	var w tail
	if got := w.last(); got != "it wrote nothing" {
		t.Errorf("last words %q", got)
	}
	w.Write([]byte("one\n" + strings.Repeat("x", 2*tailSize) + "\ntwo \n\n"))
	if got := w.last(); got != "two" || len(w.text) > tailSize {
		t.Errorf("last words %q of %d bytes kept", got, len(w.text))
	}
}
