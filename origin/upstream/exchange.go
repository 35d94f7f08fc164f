package upstream

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"hither/origin/balance"
	"hither/origin/limit"
	"hither/origin/pool"
)

// RoundTrip sends req to one instance, and to another one where the table of reasons allows it: see [RetryReasons]. What
// the [Sender] promises of trailers and informational responses holds here too. Errors are *[pool.Error], *[limit.Refusal]
// or *[Error]; when every attempt was answered and none well, the best answer is passed on. The response's body must be
// closed.
func (u *Upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	up := newUpload(req, u.cfg.Now)
	defer up.settle()
	if !u.begin() {
		return nil, &Error{u.cfg.Origin, errClosed}
	}
	defer u.calls.Done()
	u.requests.Add(1)
	p, err := u.enter(req.Context(), class(req.Context()))
	if err != nil {
		return nil, u.entering(req.Context(), err)
	}
	u.budget.request(u.second()) // not before: what is refused a place is no work that a share could be of
	x := &exchange{u: u, req: req, out: u.outgoing(req), up: up, place: p, further: u.cfg.Retry.Attempts, query: u.query(req)}
	x.wanted, x.spent = x.query.Want, x.query.Tried
	return x.run()
}

// begin counts a request, unless none is taken any more.
func (u *Upstream) begin() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if !u.closing {
		u.calls.Add(1)
	}
	return !u.closing
}

// entering makes the error of a request that waited for a place of the same type as that of one that was under way.
func (u *Upstream) entering(ctx context.Context, err error) error {
	var refusal *limit.Refusal
	if errors.As(err, &refusal) {
		return err
	}
	e := &pool.Error{Kind: pool.KindCanceled, Whose: pool.Client, Retry: true, Op: "wait for a place", From: u.cfg.Node, To: u.cfg.Origin, Cause: err}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Kind, e.Whose = pool.KindDeadline, pool.Us
	}
	return e
}

// exchange is one request on its way through attempts. The goroutine of RoundTrip owns it.
type exchange struct {
	u       *Upstream
	req     *http.Request // the caller's
	out     *http.Request // as it goes to an instance, but for its content
	up      *upload
	place   *place
	query   balance.Query
	wanted  string   // the instance that the cookie names
	further int      // attempts left
	asked   bool     // elsewhere, because one was busy
	spent   []string // instances that another connection would not help, and those to avoid
	held    *attempt // the best answer that was not handed on
}

// attempt is the request at one instance. Once it was carried it belongs to whoever has it.
type attempt struct {
	x      *exchange
	m      *member
	pick   *balance.Pick
	ctx    context.Context
	cancel context.CancelFunc // does nothing where nobody else may win
	sent   time.Time

	// What came of it.
	res       *http.Response
	err       error
	firstByte time.Duration
	whole     int64 // bytes of content, where all of it was read ahead
	verdict   balance.Verdict
	often     bool // an idle connection was closed under it, and under others, more often than by chance
}

// run attempts until there is something to hand on.
func (x *exchange) run() (*http.Response, error) {
	a, err := x.pick(x.query)
	if err != nil {
		return x.none(err)
	}
	for {
		a = x.race(a)
		why := a.again()
		next := x.next(a, why)
		if next == nil {
			return x.hand(a)
		}
		x.u.retries[why].Add(1)
		x.hold(a)
		a = next
	}
}

// pick chooses an instance for an attempt.
func (x *exchange) pick(q balance.Query) (*attempt, error) {
	x.u.mu.RLock()
	defer x.u.mu.RUnlock()
	pick, err := x.u.balancer.Pick(q)
	if err != nil {
		return nil, err
	}
	m := x.u.members[pick.Instance()]
	if m == nil { // closed, under our feet
		pick.Done(balance.Outcome{Kind: balance.Canceled})
		return nil, errClosed
	}
	m.calls.Add(1)
	return &attempt{x: x, m: m, pick: pick, ctx: x.req.Context(), cancel: func() {}}, nil
}

// next is another attempt after a, nil when there is none: for no reason, of such a request, any more, in the budget, or for
// want of an instance.
func (x *exchange) next(a *attempt, why reason) *attempt {
	r := reasons[why]
	x.spend(a, why)
	switch {
	case why == no, x.further == 0, x.req.Context().Err() != nil,
		r.processed && !(idempotent(x.req.Method) && x.up == nil),
		why == busy && x.asked,
		!x.up.rewind():
		return nil
	}
	q, tried := x.query, append(slices.Clip(x.query.Tried), a.m.ID)
	q.Tried, q.Want = tried, ""
	if !x.u.other(q.Tried) && !r.same || !r.free && !x.affords() { // so that balance is not asked in vain
		return nil
	}
	if why == unconnected {
		q.Tried = x.u.beside(tried)
	}
	next, err := x.pick(q)
	if why == unconnected {
		q.Tried = tried
	}
	if err != nil && r.same {
		q.Tried = slices.Clip(x.spent)
		next, err = x.pick(q)
	}
	if err != nil {
		q.Tried, q.Last = tried, true
		next, err = x.pick(q)
		q.Last = false
	}
	if err != nil {
		return nil
	}
	if !r.free && !x.u.budget.take(x.u.second()) {
		x.u.refused.Add(1)
		next.drop()
		return nil
	}
	x.query = q
	x.further--
	x.asked = x.asked || why == busy
	return next
}

// spend notes an instance that failed in a way which another connection to it does not mend.
func (x *exchange) spend(a *attempt, why reason) {
	if !reasons[why].same {
		x.spent = append(x.spent, a.m.ID)
	}
}

// affords says whether there is anything left in the budget, and counts where there is not.
func (x *exchange) affords() bool {
	allowed, used := x.u.budget.state(x.u.second())
	if used >= allowed {
		x.u.refused.Add(1)
		return false
	}
	return true
}

// other says whether there is an instance with weight that is none of these.
func (u *Upstream) other(than []string) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for id, m := range u.members {
		if m.weight.Load() > 0 && !slices.Contains(than, id) {
			return true
		}
	}
	return false
}

// beside are tried and those besides whose senders say that they have no connection and got none, unless nobody else is left:
// attempts are few, and where several have gone at once one after the other would use them up.
func (u *Upstream) beside(tried []string) []string {
	u.mu.RLock()
	defer u.mu.RUnlock()
	all, left := slices.Clip(tried), false
	for id, m := range u.members {
		if m.weight.Load() == 0 || slices.Contains(tried, id) {
			continue
		}
		if s, knows := m.sender.(interface{ Up() bool }); knows && !s.Up() {
			all = append(all, id)
		} else {
			left = true
		}
	}
	if !left {
		return tried
	}
	return all
}

// drop takes back an attempt that was not carried.
func (a *attempt) drop() {
	a.m.calls.Done()
	a.pick.Done(balance.Outcome{Kind: balance.Canceled})
}

// carry sends the request and judges what comes of it by its header.
func (a *attempt) carry() {
	defer a.m.calls.Done()
	x, now := a.x, a.x.u.cfg.Now
	out := x.out
	if x.up != nil || a.ctx != out.Context() {
		out = out.WithContext(a.ctx) // a copy
	}
	if x.up != nil {
		content := x.up.attempt()
		out.Body, out.Trailer = content, content.trailer
	}
	a.sent = now()
	a.res, a.err = a.m.sender.RoundTrip(out)
	a.often = a.m.closes(x.u.second(), idle(a.err))
	// The time that the client took for its content is not the instance's.
	from := a.sent
	if end := x.up.end(); end.After(from) {
		from = end
	}
	a.firstByte = max(1, now().Sub(from))
	if a.err == nil && a.ctx.Err() == nil { // else nobody wants it, and it may be what cancelling has made of it
		a.verdict = a.pick.Header(header(x.req, a.res))
		a.press()
		a.readAhead()
	}
}

// done ends an attempt that failed or whose answer is not handed on.
func (a *attempt) done() {
	a.cancel()
	o := balance.Outcome{FirstByte: a.firstByte, Bytes: -1}
	if a.err != nil {
		o.Kind = a.outcome()
	} else {
		a.res.Body.Close()
	}
	a.finish(o)
}

// lose ends an attempt that was canceled because another one was faster: that says nothing of its instance.
func (a *attempt) lose() {
	if a.res != nil {
		a.res.Body.Close()
	}
	a.finish(balance.Outcome{Kind: balance.Canceled})
}

// finish tells balance how it ended, and the log who is out or back by that.
func (a *attempt) finish(o balance.Outcome) {
	switch f, log := a.pick.Done(o), a.x.u.cfg.Log; {
	case f.Out:
		log.Warn("instance ejected", "origin", a.x.u.cfg.Origin, "instance", a.m.ID, "why", f.Why, "until", f.Until)
	case f.Back:
		log.Info("instance back after its ejection", "origin", a.x.u.cfg.Origin, "instance", a.m.ID)
	}
}

// hold keeps an answer in case no better one comes.
func (x *exchange) hold(a *attempt) {
	if worse := x.better(a); worse != nil {
		worse.done()
	}
}

// better leaves the better of a and what is held in x.held, and returns the other one, nil if there is none.
func (x *exchange) better(a *attempt) (worse *attempt) {
	if a.err != nil {
		return a
	}
	if x.held != nil && x.held.rank() > a.rank() {
		return a
	}
	worse, x.held = x.held, a
	return worse
}

// final says whether it is an answer to hand on, whatever else there is.
func (a *attempt) final() bool { return a.err == nil && a.again() == no }

// rank orders answers of which none is good. An honest error is better than content that is not what it should be: it may
// be answered with something stale (RFC 5861 section 4), and is not stored.
func (a *attempt) rank() int {
	if _, waits := a.wait(); waits {
		return 2 // it says when to come again
	}
	if a.res.StatusCode < 500 {
		return 0
	}
	return 1
}

// hand gives the caller what came of the last attempt, or a better answer of an earlier one.
func (x *exchange) hand(a *attempt) (*http.Response, error) {
	switch {
	case x.held == nil:
	case a.final():
		x.held.done()
	default:
		if worse := x.better(a); worse != nil {
			worse.done()
		}
		a = x.held
	}
	x.place.say(a.sample())
	if a.err != nil {
		x.place.leave()
		a.done()
		return nil, a.err
	}
	x.u.stick(x, a)
	a.res.Request = x.req
	a.attach()
	return a.res, nil
}

// none is the end of a request that no instance may take.
func (x *exchange) none(err error) (*http.Response, error) {
	x.place.leave()
	return nil, &Error{x.u.cfg.Origin, err}
}

func kind(err error) (pool.Kind, bool) {
	var e *pool.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Kind, true
}
