package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy/fleet"
)

// TestStewardIdentity has the hub come back with another authority, as after a rotation: the steward says that they do not know each other, and comes
// in with the identity that lies in its folder then.
func TestStewardIdentity(t *testing.T) {
	l := newLoneHub(t)
	var mu sync.Mutex
	var said strings.Builder
	s := newSteward(l.dir, fleetFile("one"), func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&said, format+"\n", args...)
	})
	s.look, s.quiet = 10*time.Millisecond, 0
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	defer func() { cancel(); running.Wait() }()
	until := func(what string, is func() bool) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.After(30 * time.Second); !is(); {
			select {
			case <-tick.C:
			case <-end:
				mu.Lock()
				defer mu.Unlock()
				t.Fatalf("waited in vain: %s; it said\n%s", what, &said)
			}
		}
	}
	says := func(words string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(said.String(), words)
		}
	}
	inside := func() bool {
		return l.Connected()[fleet.Peer{Role: fleet.RoleOperator, Name: fleet.FirstOperator, Network: "demo"}] > 0
	}
	until("it is in", inside)
	at := l.Addr()
	l.Close()
	until("it says that the hub is away", says("has not followed the fleet for "))
	l.certify()
	l.start(at)
	l.operator("operator")
	until("it is in with its new identity", inside)
	until("it says so", says("follows the fleet again"))
}
