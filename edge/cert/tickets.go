package cert

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// EpochLength is how long one ticket key is used by default. With three epochs accepted
// a ticket resumes for 8 to 12 hours, which spans the visits of a day. That is also how far back 0-RTT data can be
// read by whoever takes a node's memory; a day of it, the time between two seeds, would be the other end.
const EpochLength = 4 * time.Hour

// accepted is the number of epochs whose tickets are taken: the current one and two before it.
const accepted = 3

// A Seed is a secret from which ticket keys are made.
type Seed [32]byte

// Tickets is the chain of secrets from which session ticket keys come: K(e+1) = HKDF-SHA256(K(e)), so that
// no key reveals an earlier one. Epochs are counted from 1970, so nodes with the same seed and a
// right clock have the same keys. It is safe for concurrent use.
type Tickets struct {
	length time.Duration
	now    func() time.Time
	guard  *replayGuard

	// Written with mu held, read without: a handshake looks at them.
	epoch atomic.Int64  // of chain[0]
	turn  atomic.Uint64 // counts changes of chain

	mu    sync.Mutex
	chain []Seed // newest first, at most accepted
}

// NewTickets starts a chain with a random seed, which no other node has. Length zero is
// [EpochLength]; now nil is time.Now.
func NewTickets(length time.Duration, now func() time.Time) *Tickets {
	if length <= 0 {
		length = EpochLength
	}
	if now == nil {
		now = time.Now
	}
	t := &Tickets{length: length, now: now, guard: newReplayGuard()}
	var s Seed
	rand.Read(s[:]) // never fails, it ends the program instead
	t.epoch.Store(t.at(now()))
	t.chain = []Seed{s}
	return t
}

func (t *Tickets) at(when time.Time) int64 { return when.UnixNano() / int64(t.length) }

// maxSteps bounds how far a seed may be brought forward: ten years of the default's epochs.
const maxSteps = 1 << 15

// Reseed makes s the secret of the epoch which contains since, and all later keys come
// from it. Tickets issued before stay good for their time. It fails when since lies in the future, or too far back.
//
// Which tickets were used is not kept over a restart. Who gives a node its old seed back must not take early
// data before the tickets of its former life have ended (RFC 8446 section 8.2).
func (t *Tickets) Reseed(s Seed, since time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	steps := t.epoch.Load() - t.at(since)
	if steps < 0 || steps > maxSteps {
		return fmt.Errorf("cert: ticket seed of %s: %d epochs away", since.UTC().Format(time.RFC3339), steps)
	}
	for range steps {
		s = next(s)
	}
	if s != t.chain[0] {
		t.push(s)
		t.turn.Add(1)
	}
	return nil
}

// advance brings the chain to the present. A clock that went back changes nothing. Called with
// mu held.
func (t *Tickets) advance() {
	present, epoch := t.at(t.now()), t.epoch.Load()
	if present <= epoch {
		return
	}
	if present-epoch > maxSteps {
		// A clock that was set right after it had started in 1970: that chain means nothing
		// to any other node, and need not be followed.
		rand.Read(t.chain[0][:])
		epoch = present - accepted
	}
	for ; epoch < present; epoch++ {
		t.push(next(t.chain[0]))
	}
	t.epoch.Store(present)
	t.turn.Add(1)
}

// push puts s in front and erases what is no longer accepted.
func (t *Tickets) push(s Seed) {
	if len(t.chain) < accepted {
		t.chain = append(t.chain, Seed{})
	}
	copy(t.chain[1:], t.chain)
	t.chain[0] = s
}

func next(s Seed) Seed { return derive(s, "hither ticket chain") }

func derive(s Seed, info string) (out Seed) {
	key, err := hkdf.Key(sha256.New, s[:], nil, info, len(out))
	if err != nil {
		panic(err) // 32 bytes are always possible
	}
	copy(out[:], key)
	return out
}

// keys returns the ticket keys of one policy, the one to issue with first.
func (t *Tickets) keys(info string) [][32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([][32]byte, len(t.chain))
	for i, s := range t.chain {
		out[i] = derive(s, info)
	}
	return out
}

// present brings the chain to the present and returns its turn.
func (t *Tickets) present() uint64 {
	if t.at(t.now()) <= t.epoch.Load() {
		return t.turn.Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	return t.turn.Load()
}
