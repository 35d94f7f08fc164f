package server

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"hither/deploy"
	"hither/dns/steer"
)

// A health is what probes have found so far. Its owner guards it.
type health struct {
	rise, fall int // the network file's
	known      map[target]*steer.Health
	drains     map[target]bool   // said so, and has not been seen back since
	why        map[target]string // of the last probe, where it failed
}

// of keeps what is known of w's targets. With other counts of probes it begins anew. At a server's start what was never asked counts as
// up; an address that a later network file adds counts as down until its first probes succeed, for there it may take a while
// until anything answers.
func (h *health) of(n *deploy.Network, targets []target) *health {
	next := &health{
		rise: n.DNS.Probe.Rise, fall: n.DNS.Probe.Fall,
		known: make(map[target]*steer.Health), drains: make(map[target]bool), why: make(map[target]string),
	}
	for _, t := range targets {
		if h != nil && h.drains[t] {
			next.drains[t] = true
		}
		if h != nil && h.rise == next.rise && h.fall == next.fall && h.known[t] != nil {
			next.known[t], next.why[t] = h.known[t], h.why[t]
			continue
		}
		next.known[t] = &steer.Health{Rise: next.rise, Fall: next.fall}
		if h != nil && !h.probed(t) {
			fail(next.known[t])
			next.why[t] = "not seen up yet"
		}
	}
	return next
}

// probed reports whether an address was probed before, by whichever name and however often.
func (h *health) probed(t target) bool {
	for k := range h.known {
		if k.pop == t.pop && k.at == t.at {
			return true
		}
	}
	return false
}

// fail takes an address down that was never asked. It did so at no time, so that no penalty is left of it when its first probe ends.
func fail(h *steer.Health) {
	for h.Up() {
		h.Observe(false, time.Time{})
	}
}

// state is that of a PoP's addresses of a family: the best of its targets of that family or, where probes go to another
// one, of all its targets. What is not probed counts as up. down are the targets that are not.
func (h *health) state(targets []target, family int) (s steer.State, down []netip.AddrPort) {
	if h == nil || len(targets) == 0 {
		return steer.Up, nil
	}
	var same []target
	for _, t := range targets {
		if t.at.Addr().Is4() == (family == 4) {
			same = append(same, t)
		}
	}
	if same == nil {
		same = targets
	}
	for _, t := range same {
		one := h.known[t].State()
		s = max(s, one)
		if one != steer.Up {
			down = append(down, t.at)
		}
	}
	return s, down
}

// draining reports whether a PoP has said that it will go.
func (h *health) draining(targets []target) bool {
	return h != nil && slices.ContainsFunc(targets, func(t target) bool { return h.drains[t] })
}

// probed takes the result of one probe. A PoP that says it drains is struck out at once: it still answers, but not for long. It
// stays so until a probe passes again.
func (s *Server) probed(t target, err error) {
	s.count.probed(t.pop, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.health.known[t]
	if h == nil {
		return // a network file without it was taken meanwhile
	}
	before := h.State()
	drains := errors.Is(err, errDraining)
	changed := h.Observe(err == nil || drains, s.o.Now())
	delete(s.health.why, t)
	if h.State() == steer.Down {
		delete(s.health.drains, t) // it has gone; should this address never come back, the PoP's others must not wait for it
	}
	switch {
	case drains && !s.health.drains[t]:
		s.health.drains[t] = true
		s.o.Log.Info("a PoP drains", "pop", t.pop, "address", t.at)
		defer s.publish(s.world.Load())
	case err == nil && s.health.drains[t]:
		delete(s.health.drains, t)
		s.o.Log.Info("a PoP that drained is back", "pop", t.pop, "address", t.at)
		defer s.publish(s.world.Load())
	case err != nil && !drains:
		s.health.why[t] = cause(err)
	}
	if after := h.State(); changed {
		log := s.o.Log.With("pop", t.pop, "address", t.at, "before", before.String(), "after", after.String())
		if after == steer.Up {
			log.Info("a PoP's address is up")
		} else {
			log.Warn("a PoP's address is "+after.String(), "error", err)
		}
		s.publish(s.world.Load())
	}
}

// cause is what is at the bottom of an error; what stands around it repeats the address.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// publish makes w, with the health of now, what questions are answered from. s.mu is held.
func (s *Server) publish(w *world) {
	next := *w
	pops, err := newPopTable(w.network, s.health, s.told, s.o.Now())
	if err != nil { // the same PoPs were taken before
		s.o.Log.Error("steering stays as it was", "error", err)
		return
	}
	next.pops = pops
	if before := s.world.Swap(&next); before != nil {
		for i := range before.pops.list {
			if name := before.pops.list[i].name; w.network.PoP(name) == nil {
				s.count.forget(name)
			}
		}
	}
	for i := range pops.list {
		p := &pops.list[i]
		up := 0.0
		if p.up() {
			up = 1
		}
		s.count.up.WithLabelValues(p.name).Set(up)
		s.count.shed.WithLabelValues(p.name).Set(s.told.shareOf(p.name))
	}
}

// up reports whether the PoP answers at any address.
func (p *popEntry) up() bool { return max(p.state[0], p.state[1]) == steer.Up }
