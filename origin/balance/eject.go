package balance

import (
	"fmt"
	"slices"
	"time"
)

// Reasons for an ejection. Source of the rules: Envoy's outlier detection, gRFC A50.
const (
	byRow    = iota // Consecutive bad answers
	byRatio         // more than half of the answers are bad while the others' are good
	byChecks        // active checks: not an ejection that ends, counted with them
	byTrial         // bad on trial
)

var ejectionWords = [...]string{"consecutive", "ratio", "checks", "trial"}

// An instance is ejected by ratio when of at least ratioLeast answers in the window fewer than half were good and the
// median of the others in its group is at ratioOthers.
const (
	ratioLeast  = 20
	ratioOthers = 0.8
)

// trialEvery is the least time between two requests to an instance on trial, trialGood how many must be good in a row.
// Two in a row end a panic for an instance too.
const (
	trialEvery = time.Second
	trialGood  = 2
)

// perhapsEject ejects i after a bad answer, if a rule says so and enough others remain.
func (b *Balancer) perhapsEject(i *instance, what string, now time.Time) {
	e := b.cfg.Eject
	switch {
	case e.Consecutive > 0 && i.badRow >= e.Consecutive && b.mayEject(i):
		b.eject(i, byRow, fmt.Sprintf("%d in a row: the last %s", i.badRow, what), now)
	case b.outlier(i, now) && b.mayEject(i):
		b.eject(i, byRatio, fmt.Sprintf("%.0f %% of its answers are bad: the last %s", 100*(1-i.answers.goodness(b.second(now))), what), now)
	}
}

// mayEject says whether a group still has enough instances without i: at most MaxPercent are out after the ejection
// (Envoy counts before, and ejects one too many), and the only one never is.
func (b *Balancer) mayEject(i *instance) bool {
	if b.unguarded {
		return false
	}
	n, out := 0, 0
	for _, j := range b.instances {
		if j.Group != i.Group || j.Weight == 0 {
			continue
		}
		n++
		if j == i || !j.mayTake() {
			out++
		}
	}
	return n > 1 && 100*out <= b.cfg.Eject.MaxPercent*n
}

// outlier says whether the answers of i are bad while those of the others in its group are good.
func (b *Balancer) outlier(i *instance, now time.Time) bool {
	second := b.second(now)
	if i.answers.judged(second) < ratioLeast || i.answers.goodness(second) >= 0.5 {
		return false
	}
	var others []float64
	for _, j := range b.instances {
		if j != i && j.Group == i.Group && j.mayTake() {
			others = append(others, j.answers.goodness(second))
		}
	}
	slices.Sort(others)
	return len(others) > 0 && others[len(others)/2] >= ratioOthers
}

// eject takes i out: Time, twice as long each time, up to MaxTime, and a tenth more or less so that those that failed
// together do not come back together.
func (b *Balancer) eject(i *instance, reason int, why string, now time.Time) {
	e := b.cfg.Eject
	if reason != byTrial { // each while that it was well makes one ejection forgotten
		i.times = int(max(0, time.Duration(i.times)-now.Sub(i.wellSince)/max(e.Time, 10*time.Second)))
	}
	i.times++
	lasts := e.Time
	for range i.times - 1 {
		if lasts >= e.MaxTime {
			break
		}
		lasts *= 2
	}
	lasts = min(time.Duration(float64(min(lasts, e.MaxTime))*(0.9+0.2*b.random.Float64())), e.MaxTime)
	i.state, i.out, i.until, i.why, i.failed = ejected, now, now.Add(lasts), why, reason == byTrial
	i.badRow, i.goodRow = 0, 0
	i.ejections++
	b.ejections[reason]++
	b.view.stale = true
}

// trialFor returns an instance on trial that the request may try, nil if there is none. Without a request that is safe
// to try with, any request will do in the end: else the instance would be out for ever.
func (b *Balancer) trialFor(q Query, now time.Time) *instance {
	for _, i := range b.instances {
		if i.state == onTrial && i.Weight > 0 && !i.down && !i.trying && now.Sub(i.tried) >= trialEvery &&
			(q.Trial || now.Sub(i.trialSince) >= b.cfg.Eject.MaxTime) && !slices.Contains(q.Tried, i.ID) {
			return i
		}
	}
	return nil
}

// reinstate makes i well. In a panic it counts at once and with a clean record, whatever ejections and checks say.
func (b *Balancer) reinstate(i *instance, now time.Time) {
	i.state, i.why, i.failed, i.wellSince, i.warmSince = well, "", false, now, now
	i.badRow, i.goodRow = 0, 0
	if b.view.panic {
		i.down, i.times, i.answers, i.warmSince = false, 0, window{}, time.Time{}
	}
	b.view.stale = true
}

// Checked tells what active checks found: that an instance is up again, or down and why. Only changes count. IDs that
// are not in the list are ignored.
func (b *Balancer) Checked(id string, up bool, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.find(id)
	if i == nil || i.down == !up || b.unguarded {
		return
	}
	if i.down = !up; i.down {
		i.why = why
		b.ejections[byChecks]++
	} else {
		i.warmSince = b.cfg.Now()
		if i.state == well {
			i.why = ""
		}
	}
	b.view.stale = true
}

// Connected tells that an instance which could not be reached is reached again, by whoever keeps connections to it: what it was ejected for is over, so it is on
// trial from now on. One that has failed on trial since stays out for its time, as one that ends at each request does. Others, and IDs that are not in
// the list, are ignored.
func (b *Balancer) Connected(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.find(id); i != nil && i.state == ejected && !i.failed {
		i.until = b.cfg.Now()
		b.view.stale = true
	}
}

// Alive says whether an instance had good answers and no bad one in the last five seconds, so that a check which only
// was too late means little.
func (b *Balancer) Alive(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.find(id)
	if i == nil {
		return false
	}
	c := i.answers.last(b.second(b.cfg.Now()), 5)
	return c.good > 0 && c.bad == 0
}
