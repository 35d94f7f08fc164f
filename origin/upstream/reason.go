package upstream

import (
	"errors"

	"hither/origin/balance"
	"hither/origin/pool"
)

// reason is why a request is sent once more. The zero value is that it is not.
type reason uint8

const (
	no reason = iota
	unconnected
	closed
	goaway
	unusable
	closedIdle
	streamRefused
	full
	lost
	status
	busy
	odd
	hedged
)

// reasons is the table of what may be sent again. All that is not in it ends the request: a time that passed (the instance
// may be at work on it, and another one would be asked for as long again), an answer that breaks a limit or is not HTTP, a
// client that went away, a refusal for want of a place. And nothing is sent again once an answer's header was handed on.
//
// Where the request was certainly not processed, any method may be sent again, if its content can be had again: there is
// none, what was read of it is remembered, or Request.GetBody gives it. Else only an idempotent one without content (RFC
// 9110 section 9.2.2).
var reasons = [...]struct {
	word      string
	processed bool // perhaps
	free      bool // it was no work for an application: not taken out of the budget
	same      bool // another connection to the same instance will do, where no other is left
}{
	no:            {word: "no"},
	unconnected:   {word: "unconnected", free: true},                              // no connection could be made
	closed:        {word: "closed", free: true},                                   // our end was closed
	goaway:        {word: "goaway", free: true, same: true},                       // above the last stream of a GOAWAY (RFC 9113 section 6.8)
	unusable:      {word: "unusable", free: true, same: true},                     // not a byte was written
	closedIdle:    {word: "closed-idle", processed: true, free: true, same: true}, // the other end closed an idle connection meanwhile (RFC 9112 section 9.3.1)
	streamRefused: {word: "stream-refused", same: true},                           // REFUSED_STREAM (RFC 9113 section 8.7): it has enough to do
	full:          {word: "full"},                                                 // no stream was free in time
	lost:          {word: "lost", processed: true, same: true},                    // reset, or the connection ended, before the answer was handed on
	status:        {word: "status", processed: true},                              // one of Retry.Statuses
	busy:          {word: "busy", processed: true},                                // 503 with Retry-After: one other is asked, not more
	odd:           {word: "odd", processed: true},                                 // balance.Expect is not met, or it was on trial and answered badly
	hedged:        {word: "hedge", processed: true},                               // no answer after Retry.Hedge
}

// RetryReasons returns the words under which Status.RetriesTotal counts.
func RetryReasons() []string {
	var words []string
	for _, r := range reasons[no+1:] {
		words = append(words, r.word)
	}
	return words
}

// again is why what came of an attempt may be asked for once more, whatever the request is.
func (a *attempt) again() reason {
	if a.err != nil {
		if why := errorReason(a.err); why != closedIdle || !a.often {
			return why
		}
		return lost
	}
	_, waits := a.wait()
	switch listed := a.x.u.retriable(a.res.StatusCode); {
	case listed && waits:
		return busy
	case listed:
		return status
	case a.verdict == balance.Bad && (a.res.StatusCode < 500 || a.pick.Why() == balance.Trial):
		return odd
	}
	return no
}

func errorReason(err error) reason {
	var e *pool.Error
	if !errors.As(err, &e) || e.Whose == pool.Client {
		return no
	}
	switch {
	case idle(err):
		return closedIdle
	case e.Retry && e.Kind == pool.KindGoAway:
		return goaway
	case e.Retry && e.Kind == pool.KindUnusable:
		return unusable
	case e.Retry && e.Kind == pool.KindStreamRefused:
		return streamRefused
	case e.Retry && e.Kind == pool.KindFull:
		return full
	case e.Retry && e.Kind == pool.KindClosed:
		return closed
	case e.Retry && e.Whose == pool.Origin:
		return unconnected
	case e.Kind == pool.KindTerminated || e.Kind == pool.KindLost || e.Kind == pool.KindShort:
		return lost
	}
	return no
}

// idle says whether an idle connection was closed just as the request was sent over it.
func idle(err error) bool {
	var e interface{ ClosedIdle() bool }
	return errors.As(err, &e) && e.ClosedIdle()
}

// byChance is how many idle connections to an instance may be closed under a request in ten seconds, or one for how many requests:
// the two cross on their way when it closes those that nobody uses. One that closes them more often fails, and fast.
const byChance = 10

// closes counts an attempt, and says whether an idle connection was closed under it and this is more than chance.
func (m *member) closes(second int64, idle bool) (often bool) {
	n := 0
	if idle {
		n = 1
	}
	all, closed := m.idle.add(second, 1, n)
	return idle && closed > byChance && closed > all/byChance
}

// outcome is what the attempt's error says of the instance.
func (a *attempt) outcome() balance.Kind {
	if a.often {
		return balance.Reset
	}
	return outcome(a.err)
}

// outcome is what an error says of the instance.
func outcome(err error) balance.Kind {
	var e *pool.Error
	if !errors.As(err, &e) {
		return balance.Reset
	}
	if idle(err) {
		return balance.Canceled // connections that nobody uses are closed by whoever is well
	}
	switch e.Kind {
	case pool.KindTerminated, pool.KindLost, pool.KindStreamRefused:
		return balance.Reset
	case pool.KindRefused, pool.KindConnectTimeout, pool.KindUnroutable, pool.KindName, pool.KindNameTimeout,
		pool.KindAlert, pool.KindCertificate, pool.KindTLS, pool.KindGoAway, pool.KindUnusable:
		return balance.Unconnected
	case pool.KindFirstByte, pool.KindSilent:
		return balance.Timeout
	case pool.KindShort, pool.KindLong:
		return balance.Short
	}
	if e.Whose == pool.Origin {
		return balance.Protocol
	}
	return balance.Canceled
}
