package balance

import "time"

// instance is one of the list with all that is known of it. The balancer's lock guards it.
type instance struct {
	Instance
	hash     uint64 // of the ID
	gone     bool   // not in the list any more
	inFlight int

	answers window
	latency latency
	badRow  int // bad answers since the last good one
	goodRow int // good answers since the last bad one, ejection or change of state

	down      bool // active checks say so
	state     state
	why       string    // it is not well
	out       time.Time // it was ejected last
	until     time.Time // its ejection lasts
	failed    bool      // it was on trial since it was well last, and failed
	times     int       // it was ejected; falls by one for each while that it was well
	wellSince time.Time
	warmSince time.Time // it is warming since then; zero = it is warm

	trialSince time.Time
	trying     bool      // the request that tries it is on its way
	tried      time.Time // the last such request was sent

	picks, ejections uint64
	outcomes         [3]uint64 // good, neutral, bad
}

// state is what requests have shown of an instance.
type state uint8

const (
	well    state = iota
	ejected       // until a time
	onTrial       // it gets one request at a time until two are good or one is bad
)

// mayTake says whether an instance gets its share of requests.
func (i *instance) mayTake() bool { return i.Weight > 0 && i.state == well && !i.down }

// isWell says whether it counts as well. Goodness counts too: else the half that may not be ejected would hide that all
// are bad.
func (i *instance) isWell(second int64) bool { return i.mayTake() && i.answers.goodness(second) >= 0.5 }
