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
}

// watch waits until the load's time is over or ctx is, and returns when that was. The error is of a process that ended.
func (m *meter) watch(ctx context.Context) (ended time.Duration, err error) {
	l := m.loop
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	if err := sleepUntil(ctx, l, l.from, tick.C, m.tell()); err != nil {
		return time.Since(l.start), nil
	}
	self := SelfCPU()
	before, err := usageOf(l.PIDs)
	if err != nil {
		return time.Since(l.start), err
	}
	m.server.RSSBefore, m.server.RSSMost = before.RSS, before.RSS
	report := m.tell()
	stopped := sleepUntil(ctx, l, l.to, tick.C, func(now time.Duration) error {
		u, err := usageOf(l.PIDs)
		m.server.RSSMost = max(m.server.RSSMost, u.RSS)
		return errors.Join(err, report(now))
	})
	ended = min(time.Since(l.start), l.to)
	if stopped != nil && ctx.Err() == nil {
		return ended, stopped
	}
	m.cpu = SelfCPU() - self
	after, err := usageOf(l.PIDs)
	if err != nil {
		return ended, err
	}
	m.server.CPU, m.server.RSSAfter = after.CPU-before.CPU, after.RSS
	m.server.RSSMost = max(m.server.RSSMost, after.RSS)
	return ended, nil
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

// tell reports progress once a second.
func (m *meter) tell() func(time.Duration) error {
	l := m.loop
	last, ends := time.Since(l.start), int64(0)
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

// usageOf is that of all processes together.
func usageOf(pids []int) (sum Usage, err error) {
	for _, pid := range pids {
		u, err := ReadUsage(pid)
		if err != nil {
			return sum, fmt.Errorf("%w; is it the server's number?", err)
		}
		sum.CPU += u.CPU
		sum.RSS += u.RSS
	}
	return sum, nil
}
