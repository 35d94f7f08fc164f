package rtt

import (
	"fmt"
	"math"
	"slices"
	"time"

	"hither/bench/visit"
)

// Distances are the round trips between places.
type Distances struct{ ClientEdge, EdgeOrigin, ClientOrigin time.Duration }

// Rounds are round trips by segment.
type Rounds struct {
	ClientEdge   int `json:"client_edge"`
	EdgeOrigin   int `json:"edge_origin"`
	ClientOrigin int `json:"client_origin"`
}

// Limit is how long they take over the distances, if nothing else takes any time.
func (d Distances) Limit(r Rounds) time.Duration {
	return time.Duration(r.ClientEdge)*d.ClientEdge + time.Duration(r.EdgeOrigin)*d.EdgeOrigin + time.Duration(r.ClientOrigin)*d.ClientOrigin
}

// A Sample is one visit: when each step was done, counted from when the client began to connect. What a protocol does
// not have is zero.
type Sample struct {
	DNS       time.Duration // how long the lab's DNS server took before that
	Connect   time.Duration
	Handshake time.Duration
	First     time.Duration // byte of the answer
	Last      time.Duration

	// Rounds are the round trips until the first byte, counted on the wire; nil if they could not be told, as happens
	// when a packet on the way was lost.
	Rounds *Rounds
}

// newSample turns a visit's instants into times.
func newSample(v visit.Visit) Sample {
	since := func(at time.Time) time.Duration {
		if at.IsZero() {
			return 0
		}
		return at.Sub(v.Start)
	}
	return Sample{Connect: since(v.Connected), Handshake: since(v.Shaken), First: since(v.First), Last: since(v.Last)}
}

// A Row is what was measured of one case.
type Row struct {
	Case
	Samples []Sample
}

// The times of a sample, to choose from.
func dnsTime(s Sample) time.Duration       { return s.DNS }
func connectTime(s Sample) time.Duration   { return s.Connect }
func handshakeTime(s Sample) time.Duration { return s.Handshake }
func firstTime(s Sample) time.Duration     { return s.First }
func lastTime(s Sample) time.Duration      { return s.Last }

// DNS, and those below, are medians; zero if the case has no such step.
func (r Row) DNS() time.Duration       { return r.percentile(0.5, dnsTime) }
func (r Row) Connect() time.Duration   { return r.percentile(0.5, connectTime) }
func (r Row) Handshake() time.Duration { return r.percentile(0.5, handshakeTime) }
func (r Row) First() time.Duration     { return r.percentile(0.5, firstTime) }
func (r Row) Last() time.Duration      { return r.percentile(0.5, lastTime) }

// FirstP95 is the first byte's 95th percentile.
func (r Row) FirstP95() time.Duration { return r.percentile(0.95, firstTime) }

// percentile is the smallest of the times that a share of all does not exceed (nearest rank), so always one that was
// measured.
func (r Row) percentile(share float64, of func(Sample) time.Duration) time.Duration {
	var all []time.Duration
	for _, s := range r.Samples {
		if t := of(s); t > 0 {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[max(int(math.Ceil(share*float64(len(all))))-1, 0)]
}

// Rounds are the round trips that most samples took, and how many did; of equally many samples, those that took the
// fewest. ok is false if none was counted.
func (r Row) Rounds() (most Rounds, samples int, ok bool) {
	count := map[Rounds]int{}
	for _, s := range r.Samples {
		if s.Rounds != nil {
			count[*s.Rounds]++
		}
	}
	sum := func(x Rounds) int { return x.ClientEdge + x.EdgeOrigin + x.ClientOrigin }
	for x, n := range count {
		switch {
		case n < samples, n == samples && sum(x) > sum(most), n == samples && sum(x) == sum(most) && x.EdgeOrigin > most.EdgeOrigin:
		default:
			most, samples = x, n
		}
	}
	return most, samples, samples > 0
}

// Limit is the time that the round trips take by distance alone; zero if they were not counted.
func (r Row) Limit(d Distances) time.Duration {
	x, _, ok := r.Rounds()
	if !ok {
		return 0
	}
	return d.Limit(x)
}

// Ratio is the first byte's time over its limit; zero where there is no limit.
func (r Row) Ratio(d Distances) float64 {
	limit := r.Limit(d)
	if limit == 0 {
		return 0
	}
	return float64(r.First()) / float64(limit)
}

// A Result is what was measured.
type Result struct {
	Distances
	Loss       float64
	LabError   time.Duration // by how much an echo takes longer than its distance: the worse of the near and the far one's median
	Congestion string        // what TCP uses
	Rows       []Row
}

// A Verdict says whether what must hold does.
type Verdict struct {
	Claim string  `json:"claim"`
	Holds bool    `json:"holds"`
	Value float64 `json:"value"` // the worst
	Bound float64 `json:"bound"`
	Why   string  `json:"why,omitempty"` // which case, where it does not hold
}

// The most that a first byte may take of its limit, for TLS 1.3 and HTTP/3.
const (
	hitRatio  = 1.10
	missRatio = 1.05
)

// Verdicts holds the rows to what was promised. Where packets get lost, nothing is.
func (r *Result) Verdicts() []Verdict {
	if r.Loss > 0 {
		return nil
	}
	rounds := Verdict{Claim: "cases that do not take the round trips of their protocol", Holds: true}
	hit := Verdict{Claim: "first byte of a hit over its limit, TLS 1.3 and HTTP/3", Holds: true, Bound: hitRatio}
	miss := Verdict{Claim: "first byte of a miss on a warm pool over its limit, TLS 1.3 and HTTP/3", Holds: true, Bound: missRatio}
	for _, row := range r.Rows {
		if x, _, ok := row.Rounds(); !ok || x != row.Expected() {
			rounds.Holds = false
			rounds.Value++
			rounds.Why = fmt.Sprintf("%v: counted %+v, expected %+v", row.Case, x, row.Expected())
		}
		if row.Protocol != visit.TLS13 && row.Protocol != visit.H3 {
			continue
		}
		switch row.Cache {
		case Hit:
			hit.take(row, r.Distances)
		case MissWarm:
			miss.take(row, r.Distances)
		}
	}
	all := []Verdict{rounds}
	for _, v := range []Verdict{hit, miss} {
		if v.Value > 0 {
			all = append(all, v)
		}
	}
	return all
}

// take holds one row to a bound of ratios.
func (v *Verdict) take(row Row, d Distances) {
	ratio := row.Ratio(d)
	v.Value = max(v.Value, ratio)
	if ratio > v.Bound {
		v.Holds = false
		v.Why = fmt.Sprintf("%v: %.1f ms of %.1f ms", row.Case, row.First().Seconds()*1000, row.Limit(d).Seconds()*1000)
	}
}
