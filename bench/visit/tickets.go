package visit

import (
	"context"
	"crypto/tls"
	"sync"
	"time"
)

// ticketTime is how long a visit stays for a ticket after its answer. Servers send it at the end of the handshake, so it
// takes a round trip at most, which is below a second almost anywhere.
const ticketTime = 2 * time.Second

// tickets are those for one protocol of one server, each to be used once (RFC 8446 appendix C.4). The zero value is
// ready.
type tickets struct {
	mu   sync.Mutex
	held []*tls.ClientSessionState
	come chan struct{} // closed when the next one comes; nil = nobody waits
}

// Get implements [tls.ClientSessionCache]: the ticket is used up.
func (t *tickets) Get(string) (*tls.ClientSessionState, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.held) == 0 {
		return nil, false
	}
	// All others are of the same age or older, and the next visit brings more.
	s := t.held[len(t.held)-1]
	t.held = nil
	return s, true
}

// Put implements [tls.ClientSessionCache]; a nil session takes nothing away, as what was used is gone.
func (t *tickets) Put(_ string, s *tls.ClientSessionState) {
	if s == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = append(t.held, s)
	if t.come != nil {
		close(t.come)
		t.come = nil
	}
}

func (t *tickets) any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.held) > 0
}

func (t *tickets) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = nil
}

// await waits until there is a ticket, or for as long as one can take.
func (t *tickets) await(ctx context.Context) {
	t.mu.Lock()
	if len(t.held) > 0 {
		t.mu.Unlock()
		return
	}
	come := make(chan struct{})
	t.come = come
	t.mu.Unlock()
	timer := time.NewTimer(ticketTime)
	defer timer.Stop()
	select {
	case <-come:
	case <-timer.C:
	case <-ctx.Done():
	}
}
