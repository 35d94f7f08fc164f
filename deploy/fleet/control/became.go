package control

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"
)

// This file tells what became of orders, by what receipts.go has collected.

// status says what is known of an order.
func (r *receipts) status(id uint64) (Purge, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.of(id)
	if e == nil {
		return Purge{}, refuse(http.StatusNotFound, "control: purge %d is none of the last %d, of which it is known what became of them", id, r.orders)
	}
	r.refresh()
	return r.document(e, id), nil
}

// last returns the newest orders, the newest first.
func (r *receipts) last(n int) []Purge {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	out := []Purge{}
	for i := len(r.entries) - 1; i >= 0 && len(out) < n; i-- {
		e := r.entries[i]
		for k := len(e.orders) - 1; k >= 0 && len(out) < n; k-- {
			out = append(out, r.document(e, e.first+uint64(k)))
		}
	}
	return out
}

// document makes an order's. mu is held.
func (r *receipts) document(e *entry, id uint64) Purge {
	i := int(id - e.first)
	o := e.orders[i]
	out := Purge{ID: id, Kind: o.Kind, Value: o.Value, Soft: o.Soft, At: e.at, PoPs: []PoPPurge{}, Objects: e.objects[i]}
	network, now := r.c.o.Network(), time.Now()
	var times []float64
	var of []found // by [popState.index]
	if e.found != nil {
		of = make([]found, len(r.names))
		for _, f := range e.found[i] {
			if int(f.pop) < len(of) {
				of[f.pop] = f
			}
		}
	}
	for _, name := range r.names {
		p, x := r.pops[name], PoPPurge{PoP: name, State: Done}
		switch {
		case p.at.Journal == r.at.Journal && p.at.Sequence >= e.sequence:
			if int(p.index) < len(e.times) && e.times[p.index] > 0 {
				ms := max(float64(e.times[p.index])-float64(e.taken[i].Sub(e.taken[0]))/float64(time.Millisecond), 0)
				ms = math.Round(ms*1000) / 1000
				x.MS = &ms
				times = append(times, ms)
			}
			if int(p.index) < len(of) {
				objects, fills := int(of[p.index].objects), int(of[p.index].fills)
				x.Objects, x.Fills, x.Error = &objects, &fills, e.faults[fault{p.index, uint16(i)}]
			}
			// A PoP has nothing of a site that it does not serve.
			if x.Error != "" && Serves(network, name, o) {
				x.State = Failed
			} else {
				x.Error = ""
			}
		case now.Sub(p.heard) > awayAfter:
			x.State = Away
			x.Error = fmt.Sprintf("it has not been heard of for %v; it will do it when it is back", now.Sub(p.heard).Round(time.Second))
			if r.c.drains.lostIdentity(name) {
				x.Error = "its identity was revoked; it will not do it before it is added again"
			}
		default:
			x.State = Pending
		}
		if x.State == Done {
			out.Done++
		}
		out.PoPs = append(out.PoPs, x)
	}
	out.Complete = len(r.names) > 0 && out.Done == len(r.names)
	slices.Sort(times)
	if n := len(times); n > 0 {
		out.P50, out.P99 = times[(n-1)*50/100], times[(n*99+99)/100-1]
	}
	return out
}
