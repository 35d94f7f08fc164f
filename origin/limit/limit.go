// Package limit decides how many requests an origin gets at once, who waits for a place, and who is refused.
//
// It is pure: no sockets and no goroutines, and nothing of HTTP but the words of a [Refusal]. How many get a place is a
// number of the network file or is found by Gradient2 (gradient.go); who gets it is decided by a short queue which turns
// to newest first when it stands, by CoDel's rule (queue.go).
package limit

import (
	"context"
	"sync"
	"time"
)

// Config is what a Limiter needs to know.
type Config struct {
	// Concurrent is how many requests may be under way at once. 0 = adaptive: found by Gradient2, between Floor and Ceiling.
	Concurrent int

	// Waiting is how many requests may wait for a place. 0 = none.
	Waiting int

	// Wait is how long a request may wait for a place. 0 = 2 s.
	Wait time.Duration

	// Floor and Ceiling bound the adaptive limit. 0 = 8 and 1,000. A floor above the ceiling is the ceiling.
	Floor, Ceiling int

	// Initial is what the adaptive limit begins with. 0 = 20. More is for who can bear a burst before anything was measured:
	// from there the limit comes down as soon as half of it is in use and the latency grows.
	Initial int

	// Now is the clock. nil = time.Now. Timers of waiting requests are the runtime's in any case.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Wait <= 0 {
		c.Wait = 2 * time.Second
	}
	if c.Floor <= 0 {
		c.Floor = 8
	}
	if c.Ceiling <= 0 {
		c.Ceiling = 1000
	}
	if c.Initial <= 0 {
		c.Initial = initial
	}
	c.Floor = min(c.Floor, c.Ceiling)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Class is how urgent a request is.
type Class uint8

const (
	Foreground Class = iota // somebody waits for the answer
	Background              // nobody does, as for a revalidation: takes a free place or is refused, never waits
)

// Sample is what a request that had a place says of the origin. The zero value says nothing, as of a request that its
// client gave up.
type Sample struct {
	FirstByte  time.Duration // from when the request was sent to the final response's field section
	Good       bool          // a good answer; only of these the latency counts (Netflix/concurrency-limits#176)
	Overloaded bool          // 503, 429 or a first byte that did not come in time
}

// Limiter hands out places. It is safe for concurrent use.
type Limiter struct {
	mu       sync.Mutex
	cfg      Config
	gradient gradient
	queue    queue
	in       int
	moved    time.Time     // when a place was last taken or left
	hold     time.Duration // how long a place is held: exponential mean over some twenty
	refused  [len(whys)]uint64
}

// New makes a limiter with nobody in it.
func New(cfg Config) *Limiter {
	cfg = cfg.withDefaults()
	return &Limiter{cfg: cfg, gradient: newGradient(cfg), moved: cfg.Now()}
}

// Change takes another configuration. Who is in stays in and who waits goes on waiting, for as long as it was told on
// entry; a limit that grew lets them in at once, and of a shorter queue those that wait longest are refused.
func (l *Limiter) Change(cfg Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cfg.Concurrent == 0 && l.cfg.Concurrent > 0 {
		l.gradient.limit, l.gradient.starting = float64(l.cfg.Concurrent), false
	}
	l.cfg = cfg.withDefaults()
	l.gradient.bound(l.cfg)
	l.admit(l.cfg.Now())
	for l.queue.len() > max(0, l.cfg.Waiting) {
		l.refuseOldest(full)
	}
}

// Pass is a place at the origin.
type Pass struct {
	l    *Limiter
	at   time.Time
	left bool // guarded by l.mu
}

// Enter waits for a place, and returns a *[Refusal] when there is none for this request, or ctx's cause when ctx ends
// first. It never waits longer than Config.Wait, and refuses at once where the wait would be longer than that, or than
// ctx's deadline leaves.
func (l *Limiter) Enter(ctx context.Context, class Class) (*Pass, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w, err := l.enter(ctx, class)
	if err != nil {
		return nil, err
	}
	if w.answered == nil {
		return w.pass, nil
	}
	timer := time.NewTimer(w.most)
	defer timer.Stop()
	select {
	case <-w.answered:
	case <-ctx.Done():
		l.leave(w, nil)
		return nil, context.Cause(ctx)
	case <-timer.C:
		l.leave(w, new(late))
	}
	if w.refusal != nil {
		return nil, w.refusal
	}
	return w.pass, nil
}

// enter gives the request a place or puts it into the queue.
func (l *Limiter) enter(ctx context.Context, class Class) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	l.queue.look(now, l.interval(), l.target())
	w := &waiter{since: now}
	if l.in < l.limit() { // then nobody waits: each change of either number admits who can be
		if class == Foreground {
			l.queue.delayed(0)
		}
		l.give(w, now)
		return w, nil
	}
	l.gradient.turnedAway = true
	switch {
	case class == Background:
		return nil, l.refuse(background)
	case l.cfg.Waiting <= 0:
		return nil, l.refuse(full)
	case now.Sub(l.moved) > l.cfg.Wait:
		return nil, l.refuse(late) // nothing moved for as long as this one might wait
	}
	w.most = l.cfg.Wait
	if d, ok := ctx.Deadline(); ok {
		w.most = min(w.most, d.Sub(now))
	}
	if ahead := l.queue.ahead(); l.wait(ahead+1) > w.most {
		return nil, l.refuse(late)
	}
	l.relieve(now)
	if l.queue.len() >= l.cfg.Waiting {
		l.refuseOldest(full)
	}
	w.answered = make(chan struct{})
	l.queue.push(w)
	return w, nil
}

// leave takes w, which gave up, out of the queue. Where it was answered at the same moment, it keeps the answer; without a
// reason to give, its place goes to the next.
func (l *Limiter) leave(w *waiter, reason *why) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.queue.remove(w):
		if reason != nil {
			w.refusal = l.refuse(*reason)
		}
	case reason == nil && w.pass != nil:
		l.free(w.pass, l.cfg.Now())
	}
}

// Leave gives the place back and tells what became of the request. A second call does nothing.
func (p *Pass) Leave(s Sample) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	l, now := p.l, p.l.cfg.Now()
	if p.left {
		return
	}
	held := max(0, now.Sub(p.at))
	if l.hold == 0 {
		l.hold = held
	}
	l.hold += (held - l.hold) / 20
	l.gradient.sample(now, s)
	l.free(p, now)
}

// free gives p's place to who is next.
func (l *Limiter) free(p *Pass, now time.Time) {
	p.left = true
	l.in--
	l.moved = now
	l.admit(now)
}

// admit gives free places to those who wait.
func (l *Limiter) admit(now time.Time) {
	l.queue.look(now, l.interval(), l.target())
	for l.in < l.limit() && l.queue.len() > 0 {
		l.queue.delayed(now.Sub(l.queue.oldest()))
		w := l.queue.pop()
		l.give(w, now)
		if now.Sub(w.since) <= 2*l.target() {
			l.relieve(now)
		}
	}
}

// relieve refuses the old ones of a queue that stands when a fresh one has come. They will not be reached in time, and
// their clients lose less when told early. It is for fresh ones only: where even the newest is old there are too few of
// them to call it overload. Old is who has waited as long as a place is held: folly's twice the target (5 ms) is for
// callers that have another server to go to, while a client here would rather wait out a short stop of its origin.
func (l *Limiter) relieve(now time.Time) {
	for l.queue.standing && l.queue.len() > 0 && now.Sub(l.queue.oldest()) > l.interval() {
		l.refuseOldest(late)
	}
}

func (l *Limiter) give(w *waiter, now time.Time) {
	l.in++
	l.moved = now
	l.gradient.peak = max(l.gradient.peak, l.in)
	w.pass = &Pass{l: l, at: now}
	w.answer()
}

func (l *Limiter) refuseOldest(reason why) {
	w := l.queue.shift()
	w.refusal = l.refuse(reason)
	w.answer()
}

func (l *Limiter) limit() int {
	if l.cfg.Concurrent > 0 {
		return l.cfg.Concurrent
	}
	return int(l.gradient.limit)
}

// wait is how long n requests take to get in, by Little's law: places turn over at limit/hold. While nothing moves, a place
// is held at least as long as that lasts.
func (l *Limiter) wait(n int) time.Duration {
	return time.Duration(float64(n) * float64(max(l.hold, l.cfg.Now().Sub(l.moved))) / float64(l.limit()))
}

// target is the delay in the queue that is no sign of overload, and interval how long it must be more (RFC 8289 section
// 3.2: the interval is a round trip of the flows, here the time that a place is held, and the target a small part of it;
// 5 and 100 ms are its least). Places held for minutes must not make the queue blind.
func (l *Limiter) target() time.Duration   { return max(5*time.Millisecond, min(l.hold, l.cfg.Wait)/10) }
func (l *Limiter) interval() time.Duration { return max(100*time.Millisecond, min(l.hold, l.cfg.Wait)) }
