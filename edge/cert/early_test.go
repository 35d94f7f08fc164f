package cert

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
)

func ticketOf(n int) []byte { return binary.BigEndian.AppendUint64([]byte("ticket"), uint64(n)) }

// TestTicketOnce uses each ticket in the epoch of its issue and again in every epoch in which it could resume.
func TestTicketOnce(t *testing.T) {
	g := newReplayGuard()
	for n := range 100 {
		issued := int64(1000 + n*accepted)
		if !g.first(ticketOf(n), issued) {
			t.Errorf("ticket %d: its first use was refused", n)
		}
		for later := range int64(accepted) {
			if g.first(ticketOf(n), issued+later) {
				t.Errorf("ticket %d was taken again %d epochs later", n, later)
			}
		}
	}
	if g.first(ticketOf(99), 3) {
		t.Error("a clock that went back made a used ticket new")
	}
}

// TestTicketOnceAtOnce sends every ticket from many connections at the same time.
func TestTicketOnceAtOnce(t *testing.T) {
	g := newReplayGuard()
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range 2000 {
				if g.first(ticketOf(n), 7) {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if got := taken.Load(); got < 1999 || got > 2000 { // one in 10^14 is mistaken
		t.Errorf("2000 tickets were taken %d times", got)
	}
}

// TestFilterFull holds the filter to the figures of its comment, with tickets as they are: random bytes.
func TestFilterFull(t *testing.T) {
	g := newReplayGuard()
	ticket := make([]byte, 32)
	use := func(n int) (mistaken int) {
		for range n {
			rand.Read(ticket)
			if !g.first(ticket, 1) {
				mistaken++
			}
		}
		return mistaken
	}
	use(3_500_000)
	if got := use(10_000); got < 50 || got > 200 {
		t.Errorf("after 3.5 million tickets %d of 10000 new ones were mistaken, want about 100", got)
	}
}
