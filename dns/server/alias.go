package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Times of the look-ups behind ALIAS records whose target is in no zone of ours.
const (
	aliasSoonest = 5 * time.Second // between two look-ups, also after one that did not succeed
	aliasLatest  = time.Hour
	aliasKept    = 24 * time.Hour // how long a last answer stands in for ones that fail (RFC 8767 section 5: one to three days)
	aliasStale   = 30             // seconds such an answer may be kept (RFC 8767 section 4)
	aliasTimeout = 5 * time.Second
	aliasRecords = 32 // kept of one answer
	aliasAtOnce  = 16 // look-ups under way: sockets, and what is asked of the resolvers when the server starts
)

// aliases keeps the addresses of ALIAS targets, looked up before anybody asks, so that a question never waits for another
// server. It is safe for concurrent use.
type aliases struct {
	now     func() time.Time
	resolve func(ctx context.Context, name string, qtype uint16) ([]dns.RR, error)
	looked  func(result string)
	turn    chan struct{} // has room for aliasAtOnce

	mu    sync.Mutex
	known map[aliasKey]*aliasEntry
	ended bool
	loops sync.WaitGroup
}

type aliasKey struct {
	target string // canonical
	qtype  uint16 // A or AAAA
}

type aliasEntry struct {
	stop context.CancelFunc

	// Guarded by aliases.mu.
	asked  bool // there was an answer at least once
	failed bool // since then
	rrs    []dns.RR
	at     time.Time // of the answer
}

func newAliases(now func() time.Time, resolve func(context.Context, string, uint16) ([]dns.RR, error), looked func(string)) *aliases {
	return &aliases{
		now: now, resolve: resolve, looked: looked, turn: make(chan struct{}, aliasAtOnce), known: make(map[aliasKey]*aliasEntry),
	}
}

// set keeps just these targets from now on; none after close.
func (a *aliases) set(targets []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	wanted := make(map[aliasKey]bool)
	for _, t := range targets {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			key := aliasKey{dns.CanonicalName(t), qtype}
			wanted[key] = true
			if a.known[key] == nil {
				ctx, stop := context.WithCancel(context.Background())
				e := &aliasEntry{stop: stop}
				a.known[key] = e
				a.loops.Go(func() { a.follow(ctx, key, e) })
			}
		}
	}
	for key, e := range a.known {
		if !wanted[key] {
			e.stop()
			delete(a.known, key)
		}
	}
}

// close ends all look-ups.
func (a *aliases) close() {
	a.set(nil)
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.loops.Wait()
}

// follow looks one target up until ctx ends.
func (a *aliases) follow(ctx context.Context, key aliasKey, e *aliasEntry) {
	for {
		select {
		case a.turn <- struct{}{}:
		case <-ctx.Done():
			return
		}
		asking, cancel := context.WithTimeout(ctx, aliasTimeout)
		rrs, err := a.resolve(asking, key.target, key.qtype)
		cancel()
		<-a.turn
		if ctx.Err() != nil {
			return
		}
		wait := aliasSoonest
		if err != nil {
			a.looked("failed")
			a.mu.Lock()
			e.failed = true
			a.mu.Unlock()
		} else {
			a.looked("done")
			rrs = rrs[:min(len(rrs), aliasRecords)]
			wait = aliasLatest
			if len(rrs) == 0 {
				wait = time.Minute
			}
			for _, rr := range rrs {
				wait = min(wait, time.Duration(rr.Header().Ttl)*time.Second)
			}
			wait = max(wait, aliasSoonest)
			a.mu.Lock()
			e.asked, e.failed, e.rrs, e.at = true, false, rrs, a.now()
			a.mu.Unlock()
		}
		next := time.NewTimer(wait)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// answer returns the target's addresses as they were told, with the TTL for which they may be kept; ok is false where
// nothing is known, or only what is too old.
func (a *aliases) answer(target string, qtype uint16) (rrs []dns.RR, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.known[aliasKey{dns.CanonicalName(target), qtype}]
	if e == nil || !e.asked || a.now().Sub(e.at) > aliasKept {
		return nil, false
	}
	if !e.failed {
		return e.rrs, true
	}
	for _, rr := range e.rrs {
		rr = dns.Copy(rr)
		rr.Header().Ttl = min(aliasStale, rr.Header().Ttl)
		rrs = append(rrs, rr)
	}
	return rrs, true
}

// lookup asks the resolvers one after the other; the answer holds records of qtype alone, whatever chain of CNAMEs led there.
func lookup(resolvers []string) func(context.Context, string, uint16) ([]dns.RR, error) {
	return func(ctx context.Context, name string, qtype uint16) ([]dns.RR, error) {
		if len(resolvers) == 0 {
			return nil, errors.New("dns: no resolver to ask; /etc/resolv.conf names none")
		}
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(name), qtype)
		m.SetEdns0(maxUDP, false)
		var errs []error
		for _, at := range resolvers {
			reply, err := ask(ctx, m, at)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", at, err))
			case len(reply.Question) != 1 || reply.Question[0].Qtype != qtype || !sameName(reply.Question[0].Name, m.Question[0].Name):
				errs = append(errs, fmt.Errorf("%s: an answer to another question", at))
			case reply.Rcode == dns.RcodeNameError, reply.Rcode == dns.RcodeSuccess:
				return slices.DeleteFunc(reply.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype != qtype }), nil
			default:
				errs = append(errs, fmt.Errorf("%s: %s", at, dns.RcodeToString[reply.Rcode]))
			}
		}
		return nil, errors.Join(errs...)
	}
}

// ask sends one question over UDP, and over TCP where the answer was cut.
func ask(ctx context.Context, m *dns.Msg, at string) (*dns.Msg, error) {
	reply, _, err := (&dns.Client{Timeout: 2 * time.Second}).ExchangeContext(ctx, m, at)
	if err == nil && reply.Truncated {
		reply, _, err = (&dns.Client{Net: "tcp", Timeout: 2 * time.Second}).ExchangeContext(ctx, m, at)
	}
	return reply, err
}
