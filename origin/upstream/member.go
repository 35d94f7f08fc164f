package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hither/origin/health"
)

// member is an instance with its connections.
type member struct {
	Instance
	sender Sender
	calls  sync.WaitGroup // of the sender's RoundTrip; added to while it is in Upstream.members only
	weight atomic.Int64   // Instance.Weight as of the last Set
	busy   atomic.Int64   // second + 1 in which it last said that it is busy; 0 = never
	idle   window         // attempts, and idle connections that were closed under one
}

// same says whether a sender made for the one serves the other.
func (i Instance) same(j Instance) bool {
	return i.address() == j.address() && i.TLS == j.TLS && i.Protocol == j.Protocol
}

func (i Instance) address() string {
	if i.URL == nil {
		return ""
	}
	return i.URL.String()
}

// Set replaces the instances. Who stays at the same address, in the same protocol and with the same TLS, keeps its sender
// and all that is known of it, whatever its weight and group; the senders of those that have gone finish what they have, for
// Config.Linger at most. An error changes nothing.
func (u *Upstream) Set(list []Instance) error {
	u.setting.Lock()
	defer u.setting.Unlock()
	u.mu.RLock()
	members := u.members // which nobody changes but as a whole
	u.mu.RUnlock()
	next, fresh := make(map[string]*member, len(list)), []*member(nil)
	undo := func(err error) error {
		for _, m := range fresh {
			m.sender.Close()
		}
		return fmt.Errorf("upstream: origin %q: %w", u.cfg.Origin, err)
	}
	var targets []health.Target
	for _, i := range list {
		if u.checker != nil && i.URL == nil {
			return undo(fmt.Errorf("instance %s has no address to check", i.ID))
		}
		targets = append(targets, health.Target{ID: i.ID, URL: i.URL, TLS: i.TLS, H2: i.Protocol == "h2c"})
		m := &member{Instance: i}
		if was := members[i.ID]; was != nil && was.same(i) {
			m = was
		} else if next[i.ID] == nil {
			var err error
			if m.sender, err = u.cfg.Sender(i); err != nil {
				return undo(fmt.Errorf("instance %s: %w", i.ID, err))
			}
			fresh = append(fresh, m)
		}
		next[i.ID] = m
	}

	u.mu.Lock()
	if u.closing {
		u.mu.Unlock()
		return undo(errClosed)
	}
	// Both change under the lock: whoever is picked is found.
	if err := u.balancer.Set(balanced(list)); err != nil {
		u.mu.Unlock()
		return undo(err)
	}
	gone := u.members
	u.members = next
	u.tokens = make(map[string]string, len(list))
	for _, i := range list {
		u.tokens[u.token(i.ID)] = i.ID
		next[i.ID].weight.Store(int64(i.Weight))
	}
	for id, m := range gone {
		if next[id] != m {
			u.leaving[m] = true
			u.work.Go(func() { u.leave(m) })
		}
	}
	u.mu.Unlock()
	if u.checker != nil {
		u.checker.Set(targets)
	}
	return nil
}

// leave lets the sender of an instance that has gone finish.
func (u *Upstream) leave(m *member) {
	ctx, cancel := context.WithTimeout(u.ctx, u.cfg.Linger)
	defer cancel()
	u.finish(ctx, m)
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.leaving, m)
}

// finish drains a sender that gets no request any more.
func (u *Upstream) finish(ctx context.Context, m *member) error {
	err := wait(ctx, &m.calls)
	err = errors.Join(err, m.sender.Drain(ctx), m.sender.Close())
	m.calls.Wait()
	return err
}

// wait waits for g or for ctx.
func wait(ctx context.Context, g *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { defer close(done); g.Wait() }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Drain refuses new requests, waits until those under way have ended or ctx has, and closes.
func (u *Upstream) Drain(ctx context.Context) error {
	u.mu.Lock()
	u.closing = true
	u.mu.Unlock()
	err := wait(ctx, &u.calls)
	u.mu.Lock()
	var all []*member
	for _, m := range u.members {
		all = append(all, m)
	}
	u.members = map[string]*member{}
	u.mu.Unlock()
	errs := make([]error, len(all))
	var drained sync.WaitGroup
	for n, m := range all {
		drained.Go(func() { errs[n] = u.finish(ctx, m) })
	}
	drained.Wait()
	if err = errors.Join(err, errors.Join(errs...)); err == nil {
		err = wait(ctx, &u.work)
	}
	return errors.Join(err, u.Close())
}

// Close cuts all connections, whatever is under way, and returns when nothing is any more.
func (u *Upstream) Close() error {
	u.mu.Lock()
	u.closing = true
	var all []*member
	for _, m := range u.members {
		all = append(all, m)
	}
	for m := range u.leaving {
		all = append(all, m)
	}
	u.mu.Unlock()
	u.stop()
	var errs []error
	for _, m := range all {
		errs = append(errs, m.sender.Close())
	}
	u.calls.Wait()
	u.work.Wait()
	return errors.Join(errs...)
}
