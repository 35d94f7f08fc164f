package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A meter reads what the kernel accounts, and tells how far a load is.
type meter struct {
	loop   *httpLoop
	cpu    time.Duration // of this process, once watch has returned
	server ServerUsage   // the same
	all    []int         // the server's processes; nil: they are to be found
}

// watch waits until the load's time is over or ctx is, and returns when that was. The error is of a process that ended.
func (m *meter) watch(ctx context.Context) (ended time.Duration, err error) {
	l := m.loop
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	if err := sleepUntil(ctx, l, l.from, tick.C, m.tell(time.Since(l.start))); err != nil {
		return time.Since(l.start), nil
	}
	before, err := m.look()
	if err != nil {
		return time.Since(l.start), err
	}
	self := SelfCPU()
	m.server.RSSBefore = before.RSS
	report, looked := m.tell(time.Since(l.start)), 0
	stopped := sleepUntil(ctx, l, l.to, tick.C, func(now time.Duration) error {
		if looked++; looked%10 == 0 {
			m.all = nil // whom the server has started since is seen after a second
		}
		_, err := m.look()
		return errors.Join(err, report(now))
	})
	ended = min(time.Since(l.start), l.to)
	m.cpu = SelfCPU() - self
	if stopped != nil && ctx.Err() == nil {
		return ended, stopped
	}
	m.all = nil
	after, err := m.look()
	if err != nil {
		return ended, err
	}
	m.server.CPU, m.server.RSSAfter = max(after.CPU-before.CPU, 0), after.RSS
	return ended, nil
}

// look reads what the server's processes have been accounted to, and keeps the most it saw. Who they are it finds out where it
// does not know.
func (m *meter) look() (Tree, error) {
	l := m.loop
	var err error
	if m.all == nil {
		m.all, err = family(l.PIDs)
	}
	var t Tree
	if err == nil {
		t, err = account(m.all, l.PIDs)
	}
	if errors.Is(err, errEnded) {
		err = fmt.Errorf("%w any more: it ended under load; its log may say why", err)
	}
	m.server.RSSMost, m.server.Processes = max(m.server.RSSMost, t.RSS), max(m.server.Processes, t.Processes)
	return t, err
}

// sleepUntil sleeps, and does something at each tick; it ends early with that one's error.
func sleepUntil(ctx context.Context, l *httpLoop, end time.Duration, tick <-chan time.Time, do func(time.Duration) error) error {
	t := time.NewTimer(end - time.Since(l.start))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick:
			if err := do(time.Since(l.start)); err != nil {
				return err
			}
		}
	}
}

// tell reports progress once a second, from an instant on.
func (m *meter) tell(last time.Duration) func(now time.Duration) error {
	l := m.loop
	ends := int64(0)
	for i := range l.sheets {
		l.sheets[i].mu.Lock()
		ends += l.sheets[i].ends
		l.sheets[i].mu.Unlock()
	}
	return func(now time.Duration) error {
		if l.Progress == nil || now-last < time.Second {
			return nil
		}
		p := HTTPProgress{Since: now, WarmUp: now < l.from}
		var all int64
		for i := range l.sheets {
			s := &l.sheets[i]
			s.mu.Lock()
			all += s.ends
			p.Answered += s.answered
			for _, n := range s.errors {
				p.Errors += n
			}
			s.mu.Unlock()
		}
		p.Rate = perSecond(all-ends, now-last)
		last, ends = now, all
		l.Progress(p)
		return nil
	}
}
