package balance

import (
	"math/rand/v2"
	"slices"
	"time"
)

// fresh is how long a view holds when nothing happens but time and good answers about as fast as those before.
const fresh = 50 * time.Millisecond

// view is who may be chosen, with which weight. It is made anew when something has changed or it is old.
type view struct {
	stale     bool
	at        time.Time
	panic     bool
	well, of  int         // instances with weight
	groups    []group     // the lowest first; only those with weight
	everybody []candidate // in panic: all with weight, by ID
	medians   []time.Duration
}

// group is the instances with the same Group.
type group struct {
	number      int
	may         []candidate // by ID
	well, of    int
	wellW, allW float64 // weights
	share       float64 // of the requests
	median      time.Duration
}

// refresh makes the view anew if it must.
func (b *Balancer) refresh(now time.Time) {
	v := &b.view
	if age := now.Sub(v.at); !v.stale && age >= 0 && age < fresh {
		return
	}
	*v = view{at: now, groups: v.groups[:0], everybody: v.everybody[:0], medians: v.medians}
	second := b.second(now)
	for _, i := range b.instances {
		if i.state == ejected && !now.Before(i.until) {
			i.state, i.trialSince, i.tried, i.trying, i.goodRow = onTrial, now, time.Time{}, false, 0
		}
		if i.Weight == 0 {
			continue
		}
		g := v.group(i.Group)
		g.of++
		g.allW += float64(i.Weight)
		if i.isWell(second) || b.unguarded && i.mayTake() {
			g.well++
			g.wellW += float64(i.Weight)
		}
		if i.mayTake() {
			g.may = append(g.may, candidate{ID: i.ID, hash: i.hash, at: i})
		}
	}
	for n := range v.groups {
		g := &v.groups[n]
		v.well, v.of = v.well+g.well, v.of+g.of
		b.weigh(g, now, second)
	}
	v.panic = !b.unguarded && 100*v.well < b.cfg.Eject.PanicPercent*v.of
	if v.panic {
		b.weighAll()
	}
	v.spill()
}

func (v *view) group(number int) *group {
	if n := len(v.groups); n > 0 && v.groups[n-1].number == number {
		return &v.groups[n-1]
	}
	n := len(v.groups)
	if n < cap(v.groups) { // the old one's candidates are memory to use again
		v.groups = v.groups[:n+1]
		v.groups[n] = group{number: number, may: v.groups[n].may[:0]}
	} else {
		v.groups = append(v.groups, group{number: number})
	}
	return &v.groups[n]
}

// leastShare is what a bad instance keeps of its weight, so that it is seen to be good again.
const leastShare = 0.001

// weigh gives the candidates of a group their weights and latencies. A bad one loses more than in proportion: half of
// the answers bad leave an eighth of the weight.
func (b *Balancer) weigh(g *group, now time.Time, second int64) {
	g.median = b.view.median(g.may)
	warming := 0
	for n := range g.may {
		if g.may[n].at.warm(now, b.cfg.SlowStart) < 1 {
			warming++
		}
	}
	for n := range g.may {
		c := &g.may[n]
		c.Share = 1
		if !b.unguarded {
			good := c.at.answers.goodness(second)
			c.Share = max(good*good*good, leastShare)
			if warming < len(g.may) { // nobody warms when all do
				c.Share *= c.at.warm(now, b.cfg.SlowStart)
			}
		}
		c.Weight = float64(c.at.Weight) * c.Share
		c.Latency = c.at.latency.read(now, g.median)
	}
}

// weighAll makes candidates of everybody with weight, at the weight of the file: what they did is no guide any more. Their
// latencies are none either, as they are of answers that were good once: by them the one that is well again, but slower than
// the others were, would get next to nothing beside those that fail.
func (b *Balancer) weighAll() {
	v := &b.view
	for _, i := range b.instances {
		if i.Weight > 0 {
			v.everybody = append(v.everybody, candidate{ID: i.ID, Weight: float64(i.Weight), Share: 1, hash: i.hash, at: i})
		}
	}
	slices.SortFunc(v.everybody, byID)
	median := v.median(v.everybody)
	for n := range v.everybody {
		v.everybody[n].Latency = median
	}
}

// median is of the latencies of those that were measured, the lower of two; 0 without any.
func (v *view) median(c []candidate) time.Duration {
	m := v.medians[:0]
	for n := range c {
		if l := &c[n].at.latency; l.measured() {
			m = append(m, l.value)
		}
	}
	v.medians = m
	if len(m) == 0 {
		return 0
	}
	slices.Sort(m)
	return m[(len(m)-1)/2]
}

// overprovision is how much of a group may be out before the next one gets requests: with 1.4, 28 % (Envoy's priority
// levels).
const overprovision = 1.4

// spill says which share of the requests each group gets: as much as its well instances may carry, the rest the next.
// When all together may not carry all, each gets in proportion.
func (v *view) spill() {
	rest := 1.0
	for n := range v.groups {
		g := &v.groups[n]
		g.share = min(rest, overprovision*g.wellW/g.allW)
		if rest -= g.share; rest < 1e-9 {
			rest = 0
		}
	}
	if carried := 1 - rest; carried > 0 {
		for n := range v.groups {
			v.groups[n].share /= carried
		}
	}
}

// group returns the index of the group that takes the request, -1 when no instance may take it.
func (b *Balancer) group(q Query, r *rand.Rand) int {
	groups := b.view.groups
	if len(groups) > 0 && groups[0].share >= 1 {
		return 0
	}
	var x float64
	if q.Hashed { // the same request goes to the same group
		x = fraction(mix(q.Hash))
	} else {
		x = r.Float64()
	}
	first := -1
	for n := range groups {
		if len(groups[n].may) == 0 {
			continue
		}
		if first < 0 {
			first = n
		}
		if x < groups[n].share {
			return n
		}
		x -= groups[n].share
	}
	return first // nobody is well, but some may be chosen
}

// second counts whole seconds since the balancer was made, by the monotonic clock.
func (b *Balancer) second(now time.Time) int64 { return max(0, int64(now.Sub(b.born)/time.Second)) }

// leastWarm is what an instance begins with.
const leastWarm = 0.1

// warm is how much of its weight an instance has while it starts slowly: Envoy's slow start with aggression 1.
func (i *instance) warm(now time.Time, slow time.Duration) float64 {
	if slow == 0 || i.warmSince.IsZero() {
		return 1
	}
	t := now.Sub(i.warmSince)
	if t >= slow {
		i.warmSince = time.Time{}
		return 1
	}
	return max(leastWarm, float64(t)/float64(slow))
}
