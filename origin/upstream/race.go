package upstream

import (
	"context"
	"slices"
	"time"

	"hither/origin/balance"
	"hither/origin/limit"
)

// race carries a, and when no answer has come after Retry.Hedge a second attempt at another instance beside it, where
// there is one, the budget allows it and a place is free. It returns the first answer that need not be asked for again, or
// the better of two that must (Dean and Barroso, The Tail at Scale, CACM 56(2), 2013: hedged requests).
func (x *exchange) race(a *attempt) *attempt {
	// One on trial is alone: what another one answers faster would say nothing of it. And what nobody waits for is not late.
	if x.u.cfg.Retry.Hedge == 0 || !safe(x.req.Method) || x.up != nil || a.pick.Why() == balance.Trial ||
		class(x.req.Context()) == limit.Background {
		a.carry()
		return a
	}
	answers := make(chan *attempt, 2)
	start := func(a *attempt) {
		a.ctx, a.cancel = context.WithCancel(x.req.Context())
		x.u.work.Go(func() { a.carry(); answers <- a })
	}
	start(a)
	timer := time.NewTimer(x.u.cfg.Retry.Hedge)
	defer timer.Stop()
	select {
	case <-answers:
		return a
	case <-timer.C:
	}
	second, place := x.hedge(a)
	if second == nil {
		return <-answers
	}
	start(second)
	first := <-answers
	if first.final() {
		other := a
		if first == a {
			other = second
		}
		other.cancel()
		x.u.work.Go(func() {
			(<-answers).lose()
			place.leave()
		})
		return first
	}
	// The first is not good: the other may be.
	other := <-answers
	place.leave()
	if !other.final() && (other.err != nil || first.err == nil && first.rank() > other.rank()) {
		first, other = other, first
	}
	x.spend(first, first.again())
	first.done()
	return other
}

// hedge is the second attempt, nil where there is none.
func (x *exchange) hedge(a *attempt) (*attempt, *place) {
	q := x.query
	q.Tried, q.Want, q.Trial = append(slices.Clip(q.Tried), a.m.ID), "", false
	if !x.u.other(q.Tried) || !x.affords() {
		return nil, nil
	}
	second, err := x.pick(q)
	if err != nil {
		return nil, nil
	}
	place, err := x.u.enter(x.req.Context(), limit.Background) // a free one or none
	if err != nil {
		second.drop()
		return nil, nil
	}
	if !x.u.budget.take(x.u.second()) {
		x.u.refused.Add(1)
		place.leave()
		second.drop()
		return nil, nil
	}
	x.u.retries[hedged].Add(1)
	x.query = q
	x.query.Tried = append(x.query.Tried, second.m.ID)
	return second, place
}
