//go:build e2e

package e2e_test

import (
	"fmt"
	"sync"
	"testing"
)

// A ledger lists requests that were lost. It may be used concurrently.
type ledger struct {
	mu    sync.Mutex
	lines []string
}

func (l *ledger) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// lost is how many there are.
func (l *ledger) lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// report fails the test if anything was lost, with the first few.
func (l *ledger) report(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines[:min(len(l.lines), 5)] {
		t.Error(line)
	}
	if len(l.lines) > 5 {
		t.Errorf("... %d of them", len(l.lines))
	}
}
