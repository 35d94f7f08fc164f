// Package conformance is a cache held to the public suite http-tests/cache-tests: the suite's own origin and client run
// around a real network, and what they say is scored by the suite's rules.
//
// The suite is a folder outside of this project; nothing is written into it. An origin that follows a script stands behind the
// network, a client in front of it asks and says of each case what came. Which cases a cache may fail, and why, is an Expected.
package conformance

import "fmt"

// A Kind is what the suite demands of a case.
type Kind string

// The kinds of case.
const (
	Required Kind = "required" // the RFCs demand it
	Optimal  Kind = "optimal"  // the RFCs allow it, and a good cache does it
	Check    Kind = "check"    // a question without a right answer
)

// Kinds lists them in the order in which they are told.
var Kinds = []Kind{Required, Optimal, Check}

// A Case is one of the suite.
type Case struct {
	ID, Group string
	Kind      Kind
	Needs     []string // cases that must pass before this one says anything
	Browser   bool     // for caches in browsers only: it is not run here, and does not count
}

// An Outcome is how a case ended.
type Outcome string

// The outcomes. All but Pass are no pass, and a Check with Fail is a "no".
const (
	Pass       Outcome = "pass"
	Fail       Outcome = "fail"
	Setup      Outcome = "setup"      // what the case takes for granted was not so
	Dependency Outcome = "dependency" // a case that it needs did not pass
	Harness    Outcome = "harness"    // the client gave up, after 10 s as a rule
	Retry      Outcome = "retry"      // the origin saw a request of the client twice
	Untested   Outcome = "untested"   // the client says nothing of it
)

// A Scored is a case with its outcome.
type Scored struct {
	Case
	Outcome Outcome
	Said    string // by the client, why it does not pass; of a Dependency, the cases that are to blame
}

// A Count is how many cases of a kind pass, of how many.
type Count struct {
	Pass  int `json:"pass"`
	Total int `json:"total"`
}

func (c Count) String() string {
	if c.Total == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", c.Pass, c.Total)
}

// Tally counts the cases of a kind and, unless group is "", of a group.
func Tally(cases []Scored, kind Kind, group string) Count {
	var c Count
	for _, s := range cases {
		if s.Kind != kind || group != "" && s.Group != group {
			continue
		}
		c.Total++
		if s.Outcome == Pass {
			c.Pass++
		}
	}
	return c
}
