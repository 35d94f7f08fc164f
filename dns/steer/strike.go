package steer

// A rule says who of a site's PoPs is struck out for one client. It is asked in the client's order, once per PoP.
//
// It is as strict as leaves somebody. PoPs that are up and do not drain; else those that are up: they still answer while they drain,
// and the others do not; else those of a lost identity, which have what they stored; else all are taken as up, and those that drain or are of a lost identity
// are left out if others remain.
type rule struct {
	s       *Snapshot
	family  int
	key     uint64
	zero    bool // no PoP of the site has a weight above 0: weights count as equal
	drain   bool // those that drain are let in
	revoked bool // those of a lost identity are let in
	allDown bool // those that are down are let in
	shed    bool // load moves clients
	moved   bool // a PoP before sent this client on
	hashed  bool // so far the hash of the client mattered
}

func (s *Snapshot) rule(q *Question, o *order) rule {
	r := rule{s: s, family: q.Family, key: o.key, zero: true}
	for i := range s.pops {
		if s.pops[i].Weight > 0 && o.serves(i) {
			r.zero = false
			break
		}
	}
	var good, draining, revoked, down, out, shedding int
	for i := range s.pops {
		p := &s.pops[i]
		state := p.state(q.Family)
		switch {
		case state == Absent || p.Weight == 0 && !r.zero || !o.serves(i):
		case state == Up && p.Revoked:
			revoked++
		case state == Up && p.Draining:
			draining++
		case state == Up:
			good++
			if p.Shed > 0 {
				shedding++
			}
		case p.Draining || p.Revoked:
			out++
		default:
			down++
		}
	}
	switch {
	case good > 0:
		r.shed = shedding < good // where all shed nobody can take over
	case draining > 0:
		r.drain = true
	case revoked > 0:
		r.drain, r.revoked = true, true
	case down > 0:
		r.allDown = true
	case out > 0:
		r.allDown, r.drain, r.revoked = true, true, true
	}
	return r
}

// strike says why a PoP is struck out, "" where it is not.
func (r *rule) strike(i int) Strike {
	p := &r.s.pops[i]
	switch state := p.state(r.family); {
	case state == Absent && r.family == 6:
		return StrikeIPv6
	case state == Absent:
		return StrikeIPv4
	case p.Weight == 0 && !r.zero:
		return StrikeWeight
	case state == Down && !r.allDown:
		return StrikeDown
	case state == Flapping && !r.allDown:
		return StrikeFlapping
	case p.Revoked && !r.revoked:
		return StrikeRevoked
	case p.Draining && !r.drain:
		return StrikeDraining
	case r.shed && p.Shed > 0 && r.moves(p):
		return StrikeShed
	}
	return ""
}

// moves says whether a PoP that sheds sends this client on. A client that was sent on once goes to the first PoP that
// does not shed at all, so that the load of one never topples the next.
func (r *rule) moves(p *pop) bool {
	if !r.moved && p.Shed < 1 {
		r.hashed = true
	}
	r.moved = r.moved || draw(r.key, p.hash, saltShed) < p.Shed
	return r.moved
}

// reason is why the first PoP that was not struck out is the answer.
func (r *rule) reason(why Reason) Reason {
	switch {
	case r.allDown:
		return ReasonAllDown
	case r.revoked:
		return ReasonAllRevoked
	case r.drain:
		return ReasonAllDraining
	case r.moved:
		return ReasonShed
	case why == ReasonDistance:
		return ReasonNearest
	}
	return why
}
