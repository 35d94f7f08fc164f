package upstream

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"hither/origin/balance"
	"hither/origin/health"
	"hither/origin/limit"
	"hither/origin/pool"
)

// Explanation is what the next request would do, and why. It is made to be JSON; the fields of balance.Explanation are its
// own.
type Explanation struct {
	Origin   string `json:"origin"`
	Node     string `json:"node,omitempty"`
	Sentence string `json:"sentence"`
	balance.Explanation
	Limit    *LimitExplanation      `json:"limit,omitempty"` // absent = there is none
	Retry    RetryExplanation       `json:"retry"`
	Affinity *AffinityExplanation   `json:"affinity,omitempty"`
	Checks   []CheckExplanation     `json:"checks,omitempty"`
	Senders  map[string]pool.Status `json:"senders"` // by instance
}

// LimitExplanation is limit.Status.
type LimitExplanation struct {
	Adaptive     bool              `json:"adaptive"`
	Limit        int               `json:"limit"`
	In           int               `json:"in"`
	Waiting      int               `json:"waiting"`
	WaitingMost  int               `json:"waiting_most"`
	Standing     bool              `json:"standing"`
	Floor        int               `json:"floor"`
	Starting     bool              `json:"starting"`
	Baseline     float64           `json:"baseline_ms,omitempty"`
	Long         float64           `json:"long_ms,omitempty"`
	Hold         float64           `json:"hold_ms,omitempty"`
	Last         LimitWindow       `json:"last"`
	RefusedTotal map[string]uint64 `json:"refused_total"`
}

// LimitWindow is limit.Window.
type LimitWindow struct {
	FirstByte  float64 `json:"first_byte_ms,omitempty"`
	Requests   int     `json:"requests"`
	Good       int     `json:"good"`
	Overloaded int     `json:"overloaded"`
	Busy       bool    `json:"busy"`
}

// RetryExplanation is what may be sent again.
type RetryExplanation struct {
	Attempts     int               `json:"attempts"` // further ones for one request
	Percent      int               `json:"percent"`
	Statuses     []int             `json:"statuses"`
	Hedge        float64           `json:"hedge_ms,omitempty"`
	Tokens       int               `json:"tokens"` // left of the last ten seconds' budget
	Used         int               `json:"used"`
	RetriesTotal map[string]uint64 `json:"retries_total"`
	RefusedTotal uint64            `json:"retries_refused_total"`
}

// AffinityExplanation is what keeps a client with an instance.
type AffinityExplanation struct {
	Cookie    string  `json:"cookie,omitempty"`
	Header    string  `json:"header,omitempty"`
	Rebalance float64 `json:"rebalance_ms,omitempty"`
	Wanted    string  `json:"wanted,omitempty"` // the instance that the request's cookie names
}

// CheckExplanation is health.Status.
type CheckExplanation struct {
	ID           string     `json:"id"`
	Up           bool       `json:"up"`
	Why          string     `json:"why,omitempty"`
	Last         *time.Time `json:"last,omitempty"`
	Passes       int        `json:"passes"`
	Fails        int        `json:"fails"`
	PassTotal    uint64     `json:"pass_total"`
	FailTotal    uint64     `json:"fail_total"`
	TimeoutTotal uint64     `json:"timeout_total"`
	ExcusedTotal uint64     `json:"excused_total"`
}

// Explain says what req would do now: wait, be refused, or go to which instance and why. It changes nothing; the choice is
// made by the code that makes it for a request. A nil req is GET /.
func (u *Upstream) Explain(req *http.Request) Explanation {
	if req == nil {
		req = &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}}
	}
	s, q := u.Status(), u.query(req)
	allowed, used := u.budget.state(u.second())
	e := Explanation{
		Origin: u.cfg.Origin, Node: u.cfg.Node, Explanation: u.balancer.Explain(q), Senders: s.Senders,
		Retry: RetryExplanation{
			Attempts: u.cfg.Retry.Attempts, Percent: u.cfg.Retry.Percent, Statuses: u.cfg.Retry.Statuses, Hedge: ms(u.cfg.Retry.Hedge),
			Tokens: max(0, allowed-used), Used: used, RetriesTotal: s.RetriesTotal, RefusedTotal: s.RetriesRefusedTotal,
		},
	}
	if f := u.cfg.Affinity; f.Cookie != "" || f.Header != "" {
		e.Affinity = &AffinityExplanation{f.Cookie, f.Header, ms(f.Rebalance), q.Want}
	}
	if l := s.Limit; l != nil {
		e.Limit = &LimitExplanation{
			l.Adaptive, l.Limit, l.In, l.Waiting, l.WaitingMost, l.Standing, l.Floor, l.Starting, ms(l.Baseline), ms(l.Long), ms(l.Hold),
			LimitWindow{ms(l.Last.FirstByte), l.Last.Requests, l.Last.Good, l.Last.Overloaded, l.Last.Busy}, l.RefusedTotal,
		}
	}
	for _, c := range s.Checks {
		e.Checks = append(e.Checks, checked(c))
	}
	e.Sentence = e.sentence(class(req.Context()))
	return e
}

func checked(c health.Status) CheckExplanation {
	e := CheckExplanation{
		ID: c.ID, Up: c.Up, Why: c.Why, Passes: c.Passes, Fails: c.Fails,
		PassTotal: c.PassTotal, FailTotal: c.FailTotal, TimeoutTotal: c.TimeoutTotal, ExcusedTotal: c.ExcusedTotal,
	}
	if !c.Last.IsZero() {
		e.Last = &c.Last
	}
	return e
}

func (e *Explanation) sentence(c limit.Class) string {
	var s string
	switch l := e.Limit; {
	case l == nil || l.In < l.Limit:
	case c == limit.Background:
		return fmt.Sprintf("the request is refused: all %d places are taken, and nobody waits for it", l.Limit)
	case l.WaitingMost == 0:
		return fmt.Sprintf("the request is refused: all %d places are taken, and none may wait", l.Limit)
	default:
		s = fmt.Sprintf("the request waits: all %d places are taken, and %d of at most %d wait; then ", l.Limit, l.Waiting, l.WaitingMost)
	}
	if e.Next == nil {
		return s + "the request fails: no instance takes requests"
	}
	return s + "the request goes to " + e.Next.Instance + ": " + e.Next.Sentence
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
