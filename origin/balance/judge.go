package balance

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Verdict is what an answer says of its instance.
type Verdict uint8

// Verdicts. Only good answers earn a latency; neutral ones, such as a 404, earn and cost nothing.
const (
	unjudged Verdict = iota
	Good
	Neutral
	Bad
	Pending // the length is unknown and something is expected of it: the end will tell
)

var verdictWords = [...]string{"unjudged", "good", "neutral", "bad", "pending"}

// String returns the word for logs.
func (v Verdict) String() string { return verdictWords[v] }

// Header is what is known of an answer at its final field section.
type Header struct {
	Status     int
	Length     int64 // of the content as Content-Length says it; -1 = unknown
	Comparable bool  // other instances give the same length for the same path: GET, 200, no Range, no Content-Encoding of its own
	Head       bool  // the request was a HEAD: no content comes
	RetryAfter bool  // the answer says when to come again: with 503, the instance is busy and not broken
}

// Kind is how an attempt ended.
type Kind uint8

// Kinds. All but the first and the last count against the instance.
const (
	Answered    Kind = iota // to the end of the content; Header and Outcome.Bytes say what the answer is worth
	Unconnected             // no connection could be made
	Timeout                 // no answer, or silence in it, for too long
	Reset                   // broken off
	Protocol                // not HTTP, or not what limits allow
	Short                   // shorter or longer content than Content-Length says
	Canceled                // by the client or by us: says nothing of the instance
)

var kindWords = [...]string{"answered", "was not connected to", "was too late", "was broken off", "was not HTTP", "had another length than it said", "was canceled"}

// Outcome is the end of an attempt.
type Outcome struct {
	Kind      Kind
	FirstByte time.Duration // from the request to the answer's final field section; counts for good answers
	Bytes     int64         // of content; -1 = unknown
}

// Header judges an answer by its field section: may it be passed on, or is it already known to be bad. The verdict
// counts when Done is called.
func (p *Pick) Header(h Header) Verdict {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	p.header = h
	p.verdict = byStatus(h.Status)
	if p.verdict != Bad && !b.unguarded {
		b.expected(p, h.Length, b.cfg.Now())
	}
	return p.verdict
}

// byStatus is what a status says: 501 and 505 are the request's fault.
func byStatus(status int) Verdict {
	switch {
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported, status >= 400 && status < 500:
		return Neutral
	case status == http.StatusSwitchingProtocols, status >= 200 && status < 400:
		return Good
	}
	return Bad
}

// Flip is what an attempt has done to its instance: nothing, it was ejected, or it came back.
type Flip struct {
	Out, Back bool
	Why       string    // it is out
	Until     time.Time // it is out
}

// Done ends the attempt, and tells whether its instance is out or back by that. The second call does nothing.
func (p *Pick) Done(o Outcome) (f Flip) {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.done {
		return f
	}
	p.done = true
	now := b.cfg.Now()
	i := p.at
	was, ejections := i.state, i.ejections
	defer func() {
		if i.ejections > ejections {
			f = Flip{Out: true, Why: i.why, Until: i.until}
		} else {
			f.Back = was != well && i.state == well
		}
	}()
	i.inFlight--
	if p.trial {
		i.trying = false
	}
	if i.gone && i.inFlight == 0 {
		b.gone = slices.DeleteFunc(b.gone, func(j *instance) bool { return j == i })
	}
	v := p.judge(o, now)
	i.outcomes[v-Good]++
	switch v {
	case Good:
		i.answers.add(b.second(now), true)
		if i.latency.add(o.FirstByte, now) {
			b.view.stale = true
		}
		i.badRow = 0
		i.goodRow++
		if i.goodRow >= trialGood && (i.state == onTrial && p.trial || i.state != well && p.why == LastResort || b.view.panic && !i.isWell(b.second(now))) {
			b.reinstate(i, now)
		}
	case Bad:
		i.answers.add(b.second(now), false)
		i.goodRow = 0
		b.view.stale = true
		if p.header.Status == http.StatusServiceUnavailable && p.header.RetryAfter && o.Kind == Answered {
			return f // busy: fewer requests, no ejection
		}
		i.badRow++
		switch {
		case i.state == onTrial && p.trial:
			b.eject(i, byTrial, "on trial "+p.what(o), now)
		case i.state == well:
			b.perhapsEject(i, p.what(o), now)
		}
	}
	return f
}

// judge returns Good, Neutral or Bad.
func (p *Pick) judge(o Outcome, now time.Time) Verdict {
	switch {
	case p.b.unguarded && o.Kind == Answered:
		return Good
	case o.Kind == Canceled && p.verdict != Bad:
		return Neutral
	case o.Kind != Answered && o.Kind != Canceled:
		return Bad
	}
	if p.verdict == Pending {
		p.verdict = Good
		if o.Bytes >= 0 {
			p.b.expected(p, o.Bytes, now)
		}
	}
	if p.verdict == unjudged {
		return Neutral
	}
	p.b.learn(p, o.Bytes, now)
	return p.verdict
}

// what says what was bad.
func (p *Pick) what(o Outcome) string {
	switch {
	case o.Kind != Answered && o.Kind != Canceled:
		return kindWords[o.Kind]
	case p.anomaly != none:
		return fmt.Sprintf("answered %d, %s", p.header.Status, anomalyWords[p.anomaly])
	}
	return fmt.Sprintf("answered %d", p.header.Status)
}
