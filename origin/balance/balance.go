// Package balance decides which instance of an origin takes a request. An instance earns a place by good answers alone:
// one that fails fast or answers with nothing loses its share, is ejected, and comes back through a trial and slowly.
//
// It is pure: it opens no socket, starts no goroutine, and asks the clock that it was given. Who sends the request tells
// it three things: Pick before, Pick.Header when the response's field section is there, Pick.Done at the end.
package balance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// ErrNone says that no instance may take the request: none has weight, all that have were tried, or all are out and
// PanicPercent is 0.
var ErrNone = errors.New("balance: no instance takes requests")

// Instance is one server that can answer.
type Instance struct {
	ID     string // label and key: host:port, or a gateway's name
	Weight int    // share of the requests of its group; 0 = drained: finishes what it has and gets no new request, by affinity neither
	Group  int    // a higher one is used when too few of the lower are well
}

// Config is how to choose. The zero value chooses by p2c-ewma and never ejects.
type Config struct {
	Algorithm string           // of Algorithms; "" = p2c-ewma
	SlowStart time.Duration    // an instance that is new or back takes this long to reach its full share; 0 = at once
	Eject     Eject            // takes out who fails
	Expect    Expect           // what a good answer is; zero = nothing is declared, so only statuses and errors judge
	Seed      uint64           // of what is drawn at random; 0 = by chance
	Now       func() time.Time // nil = time.Now
}

// Eject takes an instance out for a time when its requests fail.
type Eject struct {
	Consecutive  int           // bad answers in a row that eject; 0 = none do
	Time         time.Duration // the first ejection lasts this long, each further one twice as long; 0 = 10 s
	MaxTime      time.Duration // the longest; 0 = 5 min
	MaxPercent   int           // of a group's instances may be out at once, rounded down; 0 = nobody is ejected
	PanicPercent int           // when fewer of all instances than this are well, all are used; 0 = never
}

// Expect declares what a good answer is.
type Expect struct {
	MinBytes int64   // of the content of a 200; 0 = any length
	MinRatio float64 // of the length that the other instances give for the same path; 0 = lengths are not compared
}

// Balancer chooses among the instances of one origin. Its methods may be called from any goroutine.
type Balancer struct {
	cfg       Config
	born      time.Time
	hashes    bool // the algorithm goes by Query.Hash
	unguarded bool // every answer is good, nobody is ever out: only tests want to see that

	mu        sync.Mutex
	algorithm algorithm
	source    rand.PCG
	random    *rand.Rand  // over source
	instances []*instance // by group, then ID
	gone      []*instance // removed with requests in flight
	paths     paths       // what instances answered of late, by path
	anomalies [len(anomalyWords)]uint64
	ejections [len(ejectionWords)]uint64
	view      view
	scratch   []candidate // memory for choose
	drawn     drawn       // the same
}

// New makes a balancer over list, whose instances are all warm.
func New(cfg Config, list []Instance) (*Balancer, error) { return newBalancer(cfg, list, false) }

func newBalancer(cfg Config, list []Instance, unguarded bool) (*Balancer, error) {
	cfg.Algorithm = cmp.Or(cfg.Algorithm, p2cEWMA)
	cfg.Eject.Time = cmp.Or(cfg.Eject.Time, 10*time.Second)
	cfg.Eject.MaxTime = cmp.Or(cfg.Eject.MaxTime, 5*time.Minute)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if e := cfg.Eject; e.Consecutive < 0 || e.Time < 0 || e.MaxTime < 0 || e.MaxPercent < 0 || e.PanicPercent < 0 || cfg.SlowStart < 0 ||
		cfg.Expect.MinBytes < 0 || !(cfg.Expect.MinRatio >= 0) {
		return nil, errors.New("balance: a limit below zero")
	}
	seed := cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	b := &Balancer{cfg: cfg, born: cfg.Now(), unguarded: unguarded, source: *rand.NewPCG(seed, 0)}
	b.random = rand.New(&b.source)
	for _, a := range algorithms {
		if a.name == cfg.Algorithm {
			b.algorithm, b.hashes = a.make(), a.hashes
		}
	}
	if b.algorithm == nil {
		return nil, fmt.Errorf("balance: algorithm %q is none of %s", cfg.Algorithm, strings.Join(Algorithms(), ", "))
	}
	return b, b.set(list, true)
}

// Set replaces the instances. Who stays, by ID, keeps its scores, ejections and requests in flight; who is new starts
// slowly; who is gone gets no request any more. An error changes nothing.
func (b *Balancer) Set(list []Instance) error { return b.set(list, false) }

func (b *Balancer) set(list []Instance, first bool) error {
	seen := make(map[string]bool, len(list))
	for _, i := range list {
		switch {
		case i.ID == "":
			return errors.New("balance: an instance has no ID")
		case seen[i.ID]:
			return fmt.Errorf("balance: instance %s is there twice", i.ID)
		case i.Weight < 0:
			return fmt.Errorf("balance: instance %s has weight %d", i.ID, i.Weight)
		}
		seen[i.ID] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	was := make(map[string]*instance, len(b.instances)+len(b.gone))
	for _, i := range slices.Concat(b.gone, b.instances) {
		was[i.ID] = i
	}
	b.instances = make([]*instance, 0, len(list))
	for _, l := range list {
		i := was[l.ID]
		switch {
		case i == nil:
			if i = (&instance{hash: xxhash.Sum64String(l.ID), wellSince: now}); !first {
				i.warmSince = now
			}
		case i.gone || i.Weight == 0 && l.Weight > 0: // back
			i.warmSince = now
		}
		i.Instance, i.gone = l, false
		delete(was, l.ID)
		b.instances = append(b.instances, i)
	}
	b.gone = b.gone[:0]
	for _, i := range was {
		if i.gone = true; i.inFlight > 0 {
			b.gone = append(b.gone, i)
		}
	}
	slices.SortFunc(b.instances, func(i, j *instance) int {
		return cmp.Or(cmp.Compare(i.Group, j.Group), strings.Compare(i.ID, j.ID))
	})
	all := make([]candidate, len(b.instances))
	for n, i := range b.instances {
		all[n] = candidate{ID: i.ID, Weight: float64(i.Weight), Share: 1}
	}
	slices.SortFunc(all, byID)
	b.algorithm.Changed(all)
	b.view.stale = true
	return nil
}

// find returns the instance of that ID, nil if there is none.
func (b *Balancer) find(id string) *instance {
	for _, i := range b.instances {
		if i.ID == id {
			return i
		}
	}
	return nil
}
