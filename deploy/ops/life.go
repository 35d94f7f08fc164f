package ops

import (
	"fmt"
	"sync"
)

// A State is where a node is in its life.
type State uint8

const (
	Starting State = iota // not all sockets are open, or not all that a request needs is there
	Ready                 // takes requests
	Draining              // finishes what it has, wants nothing new
	Down                  // closed
	Unknown               // not heard of yet, by who tells of others; never a node's own word
)

var stateWords = [...]string{Starting: "starting", Ready: "ready", Draining: "draining", Down: "down", Unknown: "unknown"}

// String returns the state's word in JSON and logs.
func (s State) String() string { return stateWords[s] }

// MarshalText returns the word.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word.
func (s *State) UnmarshalText(text []byte) error {
	for i, w := range stateWords {
		if w == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("ops: read a node's state: %q is none", text)
}

// A Life is a node's state, which only goes forward: a node that drains does not become
// ready again, it is started anew. The zero Life is starting. It may be used
// concurrently.
type Life struct {
	mu     sync.Mutex
	state  State
	reason string
}

// State returns the present state.
func (l *Life) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Reason tells what a node that is not ready waits for; "" if Expect said nothing.
func (l *Life) Reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// Expect says in a few words what the present state waits for, such as "origins: no
// connection to us": /ready shows it. The next state forgets it.
func (l *Life) Expect(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reason = reason
}

// Advance moves on to a later state and reports whether it did. Of several callers with
// the same state one alone gets true: it is the one to do what belongs to the step.
func (l *Life) Advance(to State) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to <= l.state {
		return false
	}
	l.state, l.reason = to, ""
	return true
}
