package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

// loop asks one instance again and again. The first time is at any moment of the interval, and each wait differs by up to
// a tenth, so that nodes which started together, or were told of an instance together, do not ask it together.
func (c *Checker) loop(ctx context.Context, in *instance) {
	defer func() { in.client.CloseIdleConnections() }()
	wait := time.Duration(rand.Float64() * float64(c.check.Interval))
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return
		case c.gate <- struct{}{}:
		}
		err := c.once(ctx, in)
		<-c.gate
		if ctx.Err() != nil {
			return
		}
		wait = time.Duration(float64(c.judge(in, err)) * (.9 + .2*rand.Float64()))
	}
}

// once asks one time. After a timeout the connection is not used again: where nothing comes back, over HTTP/2 the next
// checks would wait on the same dead connection for as long as TCP hopes, though the instance is well. PINGs would tell
// too, but gRPC servers end connections that send more than one in five minutes.
func (c *Checker) once(ctx context.Context, in *instance) error {
	ctx, cancel := context.WithTimeout(ctx, c.check.Timeout)
	defer cancel()
	err := c.probe(ctx, in)
	if err != nil && timedOut(err) {
		in.client.CloseIdleConnections()
		in.client = c.client(in.Target)
	}
	return err
}

// judge takes one result into account, reports a flip, and says after how long to ask again: while it is unsure, in the
// middle of a row, five times as often (HAProxy's fastinter), so that a row of passes does not take several intervals.
func (c *Checker) judge(in *instance, err error) time.Duration {
	late := err != nil && timedOut(err)
	excused := late && c.opt.Alive(in.ID) // before the lock: it is somebody else's code

	c.mu.Lock()
	s := &in.status
	s.Last = c.opt.Now()
	was := s.Up
	if late {
		s.TimeoutTotal++
	}
	switch {
	case excused:
		// It is slow, and requests are answered: the check queued behind them. Taking it out would give its requests to the
		// others, which then are slow as well.
		s.ExcusedTotal++
	case err != nil:
		if !late {
			s.FailTotal++
		}
		s.Passes, s.Why = 0, reason(err)
		if s.Fails++; s.Fails >= c.check.Fall {
			s.Up = false
		}
	default:
		s.PassTotal++
		s.Fails = 0
		if s.Passes++; s.Passes >= c.check.Rise {
			s.Up = true
		}
		if s.Up {
			s.Why = ""
		}
	}
	unsure := s.Up && s.Fails > 0 || !s.Up && s.Passes > 0
	up, why, mine := s.Up, s.Why, c.instances[in.ID] == in
	c.mu.Unlock()

	if mine && up != was {
		c.opt.Log.Info("instance changed by its checks", "instance", in.ID, "up", up, "why", why)
		c.opt.Report(in.ID, up, why)
	}
	if unsure && !excused {
		return c.check.Interval / 5
	}
	return c.check.Interval
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// reason is err in a few words.
func reason(err error) string {
	if timedOut(err) {
		return "timeout"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error() // without the addresses
	}
	return err.Error()
}
