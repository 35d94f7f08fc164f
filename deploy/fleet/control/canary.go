package control

import (
	"fmt"
	"math"
	"time"

	"hither/deploy"
	"hither/deploy/fleet/bus"
)

// A phase is where a roll-out stands.
type phase string

const (
	taking     phase = "taking"     // the canary is told, and does not run it yet
	watching   phase = "watching"   // the canary runs it
	everywhere phase = "everywhere" // all are told
	back       phase = "back"       // the canary is told to go back
	done       phase = "done"
)

// Times of a roll-out that nobody sets.
const (
	// takeTime is how long a canary may need to run what it is told: it opens what is new, and has reported twice since.
	takeTime = 30 * time.Second
	// settleTime is how long the others are waited for, and a canary that goes back, before the roll-out is called done.
	settleTime = time.Minute
)

// A plan is a roll-out, as it lies in the table so that a control which starts anew goes on with it. The target follows from it.
type plan struct {
	Number   int    `json:"number"`
	Hash     string `json:"hash"`
	From     int    `json:"from"` // what was stable before
	FromHash string `json:"from_hash"`
	By       string `json:"by"`
	Note     string `json:"note,omitempty"`

	Canary   string          `json:"canary,omitempty"` // ROLE-NAME; "" = all at once
	Window   deploy.Duration `json:"window"`
	Patience deploy.Duration `json:"patience"`
	Min      int64           `json:"min_requests"`

	// Of the canary before it was told.
	Before     count           `json:"before"`
	BeforeTime deploy.Duration `json:"before_time"`
	BeforeLoad float64         `json:"before_load"`
	Started    time.Time       `json:"started"`

	Phase   phase     `json:"phase"`
	Began   time.Time `json:"began"`
	Since   time.Time `json:"since"`             // of the phase; or when a control began to watch anew, see step. See to
	Outcome string    `json:"outcome,omitempty"` // a state of [verdict], from everywhere and back on
	Why     string    `json:"why,omitempty"`
}

// busy says whether a revision is being tried, so that no other can be.
func (p *plan) busy() bool { return p.Phase == taking || p.Phase == watching }

// target is who runs what by the plan.
func (p *plan) target() bus.Target {
	t := bus.Target{Stable: p.From, Hash: p.FromHash, Since: p.Began, Last: p.words()}
	switch {
	case p.busy():
		t.Canary, t.CanaryHash, t.Canaries, t.Last = p.Number, p.Hash, []string{p.Canary}, ""
	case p.Outcome == verdictStable:
		t.Stable, t.Hash = p.Number, p.Hash
	}
	return t
}

// words say what became of it.
func (p *plan) words() string {
	if p.Outcome == "" {
		return ""
	}
	s := fmt.Sprintf("revision %d: %s", p.Number, p.Outcome)
	if p.Why != "" {
		s += ": " + p.Why
	}
	return s
}

// encode is the plan as the table has it.
func (p plan) encode() []byte {
	p.Since = p.Since.UTC()
	return bus.Encode(p)
}

// to is the plan in its next phase, which begins now: not in UTC, so that it is timed by the process's clock that cannot be set.
func (p plan) to(next phase, now time.Time, outcome, why string, args ...any) plan {
	p.Phase, p.Since = next, now
	if outcome != "" {
		p.Outcome, p.Why = outcome, words(fmt.Sprintf(why, args...))
	}
	return p
}

// A view is what a roll-out is judged by at an instant.
type view struct {
	now    time.Time
	seen   time.Time // when the canary reported last; zero = never
	due    bool      // it was not heard since the hub began to answer, and may be on its way back
	report bus.Report
	after  count // what the canary counted since the phase began
	others count // what all other edges did in that time

	waiting int // nodes that report, and neither run what they are told nor have refused it
}

// step is what becomes of a plan at an instant: the plan itself, that in its next phase, or the same phase that begins anew. It is all of a
// roll-out's judgement.
func step(p plan, v view) plan {
	if p.busy() && v.due {
		p.Since = v.now // it is judged by what it does from when it is back, or has to be
		return p
	}
	elapsed := v.now.Sub(p.Since)
	switch p.Phase {
	case taking:
		switch r := &v.report; {
		case v.seen.IsZero() || v.seen.Before(p.Since):
			// What it said before it was told counts for nothing.
		case r.Refused == p.Number:
			return p.to(back, v.now, verdictRefuse, "%s: %s", p.Canary, orElse(r.Why, "it does not say why"))
		case !r.Started.Equal(p.Started):
			return p.to(back, v.now, verdictBack, "%s has started anew while it took it", p.Canary)
		case r.Hash == p.Hash && r.State == "ready":
			return p.to(watching, v.now, "", "")
		}
		if elapsed > takeTime {
			return p.to(back, v.now, verdictBack, "%s did not run it within %v", p.Canary, takeTime)
		}
	case watching:
		return watch(p, v, elapsed)
	case everywhere, back:
		if v.waiting == 0 && elapsed >= 2*bus.ReportEvery || elapsed > settleTime {
			return p.to(done, v.now, "", "")
		}
	}
	return p
}

// watch judges a canary that runs the revision.
func watch(p plan, v view, elapsed time.Duration) plan {
	bad := func(why string, args ...any) plan {
		return p.to(back, v.now, verdictBack, p.Canary+" "+why, args...)
	}
	r := &v.report
	switch heard := later(v.seen, p.Since); {
	case v.now.Sub(heard) > awayTime:
		return bad("has not been heard of for %v", v.now.Sub(heard).Round(time.Second))
	case v.seen.Before(p.Since):
		return p // nothing since it is watched
	case r.Refused == p.Number:
		return p.to(back, v.now, verdictRefuse, "%s: %s", p.Canary, orElse(r.Why, "it does not say why"))
	case !r.Started.Equal(p.Started):
		return bad("has started anew")
	case r.Hash != p.Hash:
		return bad("runs another one again")
	case r.State != "ready":
		return bad("is %s", r.State)
	case r.Load > max(1, 2*p.BeforeLoad):
		return bad("has a load of %.2f, and had %.2f before", r.Load, p.BeforeLoad)
	}
	n, whole := v.after.Requests, elapsed >= time.Duration(p.Window)
	// An end before the window's, or before enough has come, is for what is plain: it is looked at with every report, and a chance of one in
	// a thousand comes true when it is taken often.
	sigmas, errors := 5.0, int64(10)
	if whole && n >= p.Min {
		sigmas, errors = 3, 3
	}
	before := p.Before
	if before.Requests < p.Min && v.others.Requests >= p.Min {
		before = v.others // a PoP that had no clients is measured by those that have
	}
	worse := v.after.Errors >= errors && exceeds(before, v.after, sigmas)
	common := worse && v.others.Requests >= p.Min && !exceeds(v.others, v.after, sigmas)
	late := elapsed > time.Duration(p.Patience)
	switch {
	case worse && !common:
		return bad("answered %d of %d requests with an error (%.1f %%); without the revision it was %d of %d (%.1f %%)",
			v.after.Errors, n, 100*v.after.share(), before.Errors, before.Requests, 100*before.share())
	case !whole:
	case n == 0 && p.expected(elapsed) >= leastExpected:
		return bad("answers nothing: %.0f requests were to be expected in %v", p.expected(elapsed), elapsed.Round(time.Second))
	case common && late:
		return bad("has errors, as all other PoPs have: nobody can tell whether they are the revision's")
	case n < p.Min && late:
		return bad("had %d of %d requests in %v: too few to tell", n, p.Min, elapsed.Round(time.Second))
	case n >= p.Min && !common:
		return p.to(everywhere, v.now, verdictStable, "%s answered %d requests, %d with an error", p.Canary, n, v.after.Errors)
	}
	return p
}

// leastExpected is how many requests must have been to be expected where none came, for that to say something: of that many none
// comes by chance once in 10^13.
const leastExpected = 30

// expected is how many requests the canary would have had by what it had before.
func (p *plan) expected(in time.Duration) float64 {
	if p.BeforeTime <= 0 {
		return 0
	}
	return float64(p.Before.Requests) * in.Seconds() / time.Duration(p.BeforeTime).Seconds()
}

// exceeds says whether the share of errors has grown from before to after by more than 1 % of all requests and more than chance
// makes it. Chance is the standard deviation of the difference of two shares where both are of the same chance, which is what all
// requests together give (the pooled two-proportion z-test). Three deviations come once in 740 roll-outs of a revision that is good.
func exceeds(before, after count, sigmas float64) bool {
	all := before.plus(after)
	if after.Requests == 0 {
		return false
	}
	share := all.share()
	variance := share * (1 - share) / float64(after.Requests)
	if before.Requests > 0 {
		variance += share * (1 - share) / float64(before.Requests)
	}
	return after.share()-before.share() > max(0.01, sigmas*math.Sqrt(variance))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// A candidate is a PoP that may be the canary.
type candidate struct {
	pop    string
	recent count // of the last ten minutes
	time   time.Duration
}

// choose returns the PoP that tries a revision: that with the least traffic of those with enough of it to be judged within
// the window; where none has, the one with the most, the first of equals. There is none: "".
func choose(all []candidate, window time.Duration, least int64) string {
	best, enough := -1, false
	rate := func(c candidate) float64 {
		if c.time <= 0 {
			return 0
		}
		return float64(c.recent.Requests) / c.time.Seconds()
	}
	for i, c := range all {
		has := rate(c)*window.Seconds() >= float64(least)
		switch {
		case best < 0, has && !enough, has && rate(c) < rate(all[best]), !has && !enough && rate(c) > rate(all[best]):
			best, enough = i, enough || has
		}
	}
	if best < 0 {
		return ""
	}
	return all[best].pop
}
