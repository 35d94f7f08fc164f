package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Query is what is known of a request before it has an instance.
type Query struct {
	Hash   uint64   // what hash algorithms go by
	Hashed bool     // Hash is set; with an algorithm that does not hash, bounded-hash decides. Not set: hash algorithms draw at random
	Want   string   // ID of the instance that an affinity cookie names; "" = none
	Path   uint64   // hash of method and path, under which lengths are compared; 0 = they are not
	Tried  []string // IDs that this request has been to
	Trial  bool     // it may go to an instance on trial: a safe method, no body, not hedged
	Last   bool     // all that was tried has failed: it may go to an instance that is out rather than to none
}

// Why is the reason for a choice.
type Why uint8

// Reasons for a choice.
const (
	LowestCost Why = iota // the best of those compared
	Turn                  // its turn
	Hash                  // the hash says so
	Affinity              // the cookie says so
	Trial                 // it is on trial, and this is the request that tries it
	Panic                 // too few are well, so all are used
	Spill                 // too few of the lower groups are well
	Only                  // there is no other
	Draw                  // by chance, as weights say
	LastResort            // it is out, and all that are not were tried
)

var whys = [...]string{"lowest-cost", "turn", "hash", "affinity", "trial", "panic", "spill", "only", "draw", "last-resort"}

// String returns the word for logs.
func (w Why) String() string { return whys[w] }

// MarshalText returns the word for logs.
func (w Why) MarshalText() ([]byte, error) { return []byte(whys[w]), nil }

// UnmarshalText reads one of the words.
func (w *Why) UnmarshalText(text []byte) error {
	i := slices.Index(whys[:], string(text))
	if i < 0 {
		return fmt.Errorf("balance: %.40q is no reason for a choice", text)
	}
	*w = Why(i)
	return nil
}

// Pick is one attempt of a request. Its methods may be called from any goroutine; Header and Done once each, and a Pick
// that is never Done counts as in flight for ever.
type Pick struct {
	b     *Balancer
	at    *instance
	id    string
	why   Why
	trial bool // it tries an instance that is out
	path  uint64

	// under b.mu
	done    bool
	header  Header
	verdict Verdict // of the header; unjudged before
	anomaly anomaly
}

// Instance returns the ID of the instance that the request is to go to.
func (p *Pick) Instance() string { return p.id }

// Why returns why it was chosen.
func (p *Pick) Why() Why { return p.why }

// Pick chooses the instance for a request, or for another attempt of it. The only error is ErrNone.
func (b *Balancer) Pick(q Query) (*Pick, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	b.refresh(now)
	c := b.choose(q, now, b.random)
	if c.at == nil {
		return nil, ErrNone
	}
	if c.turn {
		b.algorithm.Took(c.of, c.index)
	}
	i := c.at
	p := &Pick{b: b, at: i, id: i.ID, why: c.why, path: q.Path, trial: i.state == onTrial && c.why == Trial}
	if p.trial {
		i.trying, i.tried = true, now
	}
	i.inFlight++
	i.picks++
	return p, nil
}

// choice is what choose found, with what Explain tells of it.
type choice struct {
	at    *instance // nil = nobody
	why   Why
	of    []candidate // whom it was chosen from; valid until the next choice
	index int         // in of
	said  Why         // the algorithm's own reason
	turn  bool        // the algorithm chose and wants to know that it was followed
	drawn drawn
}

// choose decides and changes nothing but r.
func (b *Balancer) choose(q Query, now time.Time, r *rand.Rand) choice {
	if b.view.panic {
		return b.among(b.view.everybody, q, r, Panic)
	}
	if i := b.trialFor(q, now); i != nil {
		return choice{at: i, why: Trial}
	}
	if q.Want != "" && !slices.Contains(q.Tried, q.Want) {
		for g := range b.view.groups {
			for n := range b.view.groups[g].may {
				if i := b.view.groups[g].may[n].at; i.ID == q.Want {
					return choice{at: i, why: Affinity}
				}
			}
		}
	}
	first := b.group(q, r)
	if first < 0 {
		return b.lastResort(q)
	}
	c := b.among(b.view.groups[first].may, q, r, spillFrom(first))
	for g := 0; c.at == nil && g < len(b.view.groups); g++ { // all of the first were tried
		c = b.among(b.view.groups[g].may, q, r, spillFrom(g))
	}
	if c.at == nil {
		return b.lastResort(q)
	}
	return c
}

// lastResort is for a request that has been to all that may be chosen, in vain: of those that are ejected or on trial the one that has been out for
// the longest. It failed some time ago, and the others just now.
func (b *Balancer) lastResort(q Query) choice {
	c := choice{why: LastResort}
	if !q.Last {
		return choice{}
	}
	for _, i := range b.instances {
		if i.Weight == 0 || i.down || i.state == well || slices.Contains(q.Tried, i.ID) {
			continue
		}
		if c.at == nil || i.out.Before(c.at.out) {
			c.at = i
		}
	}
	return c
}

// spillFrom is why an instance of the n-th group is chosen: LowestCost stands for what the algorithm says.
func spillFrom(n int) Why {
	if n > 0 {
		return Spill
	}
	return LowestCost
}

// among asks the algorithm for one of those that the request has not been to.
func (b *Balancer) among(may []candidate, q Query, r *rand.Rand, why Why) choice {
	b.drawn = drawn{}
	c := choice{of: b.scratch[:0]}
	for n := range may {
		if len(q.Tried) > 0 && slices.Contains(q.Tried, may[n].ID) {
			continue
		}
		c.of = append(c.of, may[n])
		c.of[len(c.of)-1].InFlight = may[n].at.inFlight
	}
	b.scratch = c.of
	switch {
	case len(c.of) == 0:
		return c
	case len(c.of) == 1:
		c.said, c.turn = Only, true
	case q.Hashed && !b.hashes:
		c.index, c.said = boundedHash{}.Choose(c.of, q, r, &b.drawn)
	default:
		c.turn = true
		c.index, c.said = b.algorithm.Choose(c.of, q, r, &b.drawn)
	}
	c.at, c.drawn = c.of[c.index].at, b.drawn
	if c.why = why; why == LowestCost {
		c.why = c.said
	}
	return c
}
