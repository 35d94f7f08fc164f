package control

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of what an address may get wrong: guesses in a time, and addresses that are remembered. A token has 130 bits; this is so that guessing
// costs us nothing, and is seen.
const (
	mostGuesses   = 10
	guessTime     = time.Minute
	mostAddresses = 10000
)

// guesses count tokens that were not right, by address (an IPv6 one by its /64, which is one customer's).
type guesses struct {
	now func() time.Time

	mu   sync.Mutex // guards what follows
	from map[netip.Prefix]guessed
}

type guessed struct {
	n     int
	since time.Time
}

func newGuesses(now func() time.Time) *guesses {
	return &guesses{now: now, from: make(map[netip.Prefix]guessed)}
}

func guesser(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// barred says for how long nothing is taken from an address; 0 = it may ask.
func (g *guesses) barred(a netip.Addr) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.from[guesser(a)]
	if left := guessTime - g.now().Sub(x.since); x.n >= mostGuesses && left > 0 {
		return left
	}
	return 0
}

// wrong counts a guess. Where more addresses guess than are remembered, the others go uncounted.
func (g *guesses) wrong(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, p := g.now(), guesser(a)
	x, ok := g.from[p]
	if !ok && len(g.from) >= mostAddresses {
		for k, old := range g.from {
			if now.Sub(old.since) >= guessTime {
				delete(g.from, k)
			}
		}
		if len(g.from) >= mostAddresses {
			return
		}
	}
	if !ok || now.Sub(x.since) >= guessTime {
		x = guessed{since: now}
	}
	x.n++
	g.from[p] = x
}
