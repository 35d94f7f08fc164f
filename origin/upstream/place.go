package upstream

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"hither/origin/balance"
	"hither/origin/limit"
	"hither/origin/pool"
)

type backgroundKey struct{}

// Background marks a request that nobody waits for, such as a revalidation: it takes a free place or is refused
// (limit.Background).
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

// place is what a request has of the limit, from RoundTrip on.
//
// An adaptive limit is found from the time to the first byte, so a place is held for just that: else twenty event streams,
// or downloads by slow clients, would hold all places there are at the start, no sample would come, and the limit would
// never grow. A limit that was given is how many the origin's operator wants it to work on: such a place is held until the
// content ends, or its reader lets the origin wait for a second, which is the client's time and not the origin's.
type place struct {
	pass  *limit.Pass // nil = there is no limit
	early bool        // given back at the first byte

	mu     sync.Mutex
	sample limit.Sample
	gone   bool
}

// enter waits for a place.
func (u *Upstream) enter(ctx context.Context, class limit.Class) (*place, error) {
	l := u.limiter.Load()
	if l == nil {
		return &place{gone: true}, nil
	}
	pass, err := l.Enter(ctx, class)
	if err != nil {
		return nil, err
	}
	return &place{pass: pass, early: u.adaptive.Load()}, nil
}

func class(ctx context.Context) limit.Class {
	if ctx.Value(backgroundKey{}) != nil {
		return limit.Background
	}
	return limit.Foreground
}

// say sets what the place's sample will be.
func (p *place) say(s limit.Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sample = s
}

// spoil says that the answer was not good after all.
func (p *place) spoil() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sample.Good = false
}

// leave gives the place back. Further calls do nothing.
func (p *place) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	p.gone = true
	p.pass.Leave(p.sample)
}

// pressure tells whether the origin as a whole has enough to do. The limit falls when a tenth of the answers say so; but one
// instance that is busy is balance's affair, and an application that tells one client in five to come again later (429, or
// 503 for a page that is closed) would push the limit to its floor, for all clients and for nothing.
type pressure struct {
	window // answers, and those that say busy
}

// soon is the longest Retry-After that speaks of load; a longer one is about maintenance, or about the client's quota.
const soon = 60 * time.Second

// wait is what an answer that refuses the request says of when to come again (RFC 9110 section 10.2.3, RFC 6585 section 4).
func (a *attempt) wait() (after time.Duration, ok bool) {
	if a.res == nil || a.res.StatusCode != http.StatusServiceUnavailable && a.res.StatusCode != http.StatusTooManyRequests {
		return 0, false
	}
	field := a.res.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(field, 10, 32); err == nil {
		return time.Duration(n) * time.Second, true
	}
	at, err := http.ParseTime(field)
	return at.Sub(a.x.u.cfg.Now()), err == nil
}

// busy says whether an answer asks to come again soon.
func (a *attempt) busy() bool {
	after, ok := a.wait()
	return ok && after <= soon
}

// press counts an answer.
func (a *attempt) press() {
	said, second := 0, a.x.u.second()
	if a.busy() {
		said = 1
		a.m.busy.Store(second + 1)
	}
	a.x.u.pressure.add(second, 1, said)
}

// overloaded says whether what came of an attempt means that the origin has enough to do: its first byte or a stream did
// not come in time; or it is busy, each instance said so in the last ten seconds, and either this one refused for its own
// limit, as a gateway does, or most answers of the origin say so.
func (a *attempt) overloaded() bool {
	u := a.x.u
	switch {
	case a.err != nil:
		k, ok := kind(a.err)
		return ok && (k == pool.KindFirstByte || k == pool.KindFull || k == pool.KindStreamRefused)
	case !a.busy() || !u.allBusy():
		return false
	case strings.Contains(a.res.Header.Get("Proxy-Status"), "error=connection_limit_reached"):
		return true
	}
	all, said := u.pressure.add(u.second(), 0, 0)
	return all >= least && 2*said > all
}

// allBusy says whether each instance that takes requests said in the last ten seconds that it is busy.
func (u *Upstream) allBusy() bool {
	now := u.second()
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, m := range u.members {
		if said := m.busy.Load(); m.weight.Load() > 0 && (said == 0 || now-(said-1) >= span) {
			return false
		}
	}
	return true
}

// sample is what the attempt that decided says to the limit.
func (a *attempt) sample() limit.Sample {
	return limit.Sample{
		FirstByte:  a.firstByte,
		Good:       a.err == nil && (a.verdict == balance.Good || a.verdict == balance.Pending),
		Overloaded: a.overloaded(),
	}
}
