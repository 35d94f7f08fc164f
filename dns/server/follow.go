package server

import (
	"fmt"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
	"hither/dns/steer"
)

// Words of what became of a PoP's message, for the label result.
const (
	heardTaken    = "taken"
	heardGarbage  = "garbage"  // no message of its kind, or of a newer version
	heardFlood    = "flood"    // one too many
	heardStranger = "stranger" // the network has no such PoP
)

// Follow has the server hear what edges say of themselves over the hub, and what the other DNS servers send on, from now on and until it
// ends. The connection stays the caller's, who may close it at any time: then nothing more is heard. Where it is away answers go on with
// what is known.
func (s *Server) Follow(conn *bus.Conn) error {
	if err := s.subscribe(conn, bus.UpSubject(fleet.RoleDNS, "*", bus.UpReport), func(m *bus.Message) {
		if role, server, _, ok := bus.SpeakerOf(m.Subject); ok && role == fleet.RoleDNS {
			s.hearPeer(server, m.Data)
		}
	}); err != nil {
		return err
	}
	for kind, hear := range map[string]func(string, []byte) string{bus.UpReport: s.hearReport, bus.UpRTT: s.hearRTT} {
		if err := s.subscribe(conn, bus.UpSubject(fleet.RoleEdge, "*", kind), func(m *bus.Message) {
			role, pop, said, ok := bus.SpeakerOf(m.Subject)
			if !ok || role != fleet.RoleEdge || said != kind {
				return
			}
			s.hear(kind, pop, m.Data, hear)
		}); err != nil {
			return err
		}
	}
	return nil
}

// subscribe has a subject heard until the server ends.
func (s *Server) subscribe(conn *bus.Conn, subject string, hear func(*bus.Message)) error {
	end, err := conn.Subscribe(subject, hear)
	if err != nil {
		return fmt.Errorf("dns: follow the fleet: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unfollow = append(s.unfollow, end)
	return nil
}

// hearPeer takes what another DNS server says of what it sends on, and counts what became of it. The hub has made sure that it sent it
// itself; its own report comes to this server as well, and says nothing new.
func (s *Server) hearPeer(name string, data []byte) {
	if name == s.o.Name {
		return
	}
	var r bus.Report
	err := bus.Decode(data, &r)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	p := s.told.peers[name]
	switch {
	case p == nil:
		s.count.peers.WithLabelValues("other", heardStranger).Inc()
		s.said.Warn("a DNS server speaks that is none of the network's", "server", name)
	case !p.reports.take(now):
		s.count.peers.WithLabelValues(name, heardFlood).Inc()
		s.said.Warn("a DNS server says too much; the rest is not heard", "server", name)
	case err != nil:
		s.count.peers.WithLabelValues(name, heardGarbage).Inc()
		s.said.Warn("a DNS server's report cannot be read", "server", name, "error", err)
	default:
		s.count.peers.WithLabelValues(name, heardTaken).Inc()
		s.told.heardPeer(p, &r, now)
	}
}

// hear takes a message of a kind, and counts what became of it. The hub has made sure that pop itself sent it.
func (s *Server) hear(kind, pop string, data []byte, take func(pop string, data []byte) string) {
	result := heardStranger
	s.mu.Lock()
	p := s.told.pops[pop]
	if p != nil {
		b := &p.reports
		if kind == bus.UpRTT {
			b = &p.rtts
		}
		if result = heardFlood; b.take(s.o.Now()) {
			result = ""
		}
	}
	s.mu.Unlock()
	if result == "" {
		result = take(pop, data)
	}
	label := pop
	if p == nil {
		label = "other"
	}
	s.count.heard.WithLabelValues(label, kind, result).Inc()
	switch result {
	case heardFlood:
		s.said.Warn("a PoP says too much; the rest is not heard", "pop", pop, "kind", kind)
	case heardStranger:
		s.said.Warn("an edge speaks that is none of the network's", "edge", pop)
	}
}

// hearReport takes what a PoP says of its state and its load.
func (s *Server) hearReport(pop string, data []byte) string {
	var r bus.Report
	if err := bus.Decode(data, &r); err != nil {
		s.said.Warn("a PoP's report cannot be read", "pop", pop, "error", err)
		return heardGarbage
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.told.pops[pop]
	if p == nil {
		return heardStranger // since a moment ago
	}
	now := s.o.Now()
	left := s.told.leaving(pop, now)
	if s.told.heard(p, &r, now) {
		if leaving := s.told.leaving(pop, now); leaving != left {
			s.o.Log.Info("a PoP says its state", "pop", pop, "state", r.State)
		}
		s.publish(s.world.Load())
	}
	return heardTaken
}

// hearRTT takes what a PoP has measured of its clients.
func (s *Server) hearRTT(pop string, data []byte) string {
	var r bus.RTTReport
	err := bus.Decode(data, &r)
	if err == nil && len(r.Prefixes) > bus.MostPrefixes {
		err = fmt.Errorf("%d prefixes; %d are taken at most", len(r.Prefixes), bus.MostPrefixes)
	}
	if err != nil {
		s.said.Warn("a PoP's round-trip times cannot be read", "pop", pop, "error", err)
		return heardGarbage
	}
	samples := make([]steer.Sample, len(r.Prefixes))
	for i, p := range r.Prefixes {
		samples[i] = steer.Sample{Prefix: p.Prefix, MS: p.MS, N: p.Samples}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.world.Load().pops.now.Index(pop)
	if !ok {
		return heardStranger
	}
	l := s.told.times.Report(i, samples, s.o.Now())
	for result, n := range map[string]int{"taken": l.Taken, "light": l.Light, "invalid": l.Invalid, "place": l.Place, "full": l.Full, "aside": l.Aside} {
		if n > 0 {
			s.count.rtts.WithLabelValues(pop, result).Add(float64(n))
		}
	}
	if l.Light > 0 {
		s.said.Warn("a PoP claims round trips that are faster than light; they do not count", "pop", pop, "prefixes", l.Light)
	}
	if l.Lied {
		s.o.Log.Warn("a PoP claims to be much nearer than this server's own probes find; its round trips are set aside", "pop", pop)
	}
	return heardTaken
}

// Drained tells that the operator drains a PoP, or that the fleet takes its identity no more, or, by nil, does not any more. It may be a PoP that no network file has yet.
func (s *Server) Drained(pop string, d *bus.Drain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, drained := s.told.drains[pop]
	switch {
	case d == nil && !drained, d != nil && drained && before == *d:
		return
	case d == nil:
		delete(s.told.drains, pop)
		s.o.Log.Info("the operator drains a PoP no more", "pop", pop)
	case !d.Asked():
		s.told.drains[pop] = *d
		s.o.Log.Info("a PoP's identity was revoked; it is left out of answers", "pop", pop)
	default:
		s.told.drains[pop] = *d
		s.o.Log.Info("the operator drains a PoP", "pop", pop, "by", d.By)
	}
	s.unkept = true
	s.publish(s.world.Load())
}

// connected takes how long a probe took to connect.
func (s *Server) connected(t target, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.world.Load().pops.now.Index(t.pop); ok {
		s.told.times.Probe(i, float64(took)/float64(time.Millisecond), s.o.Now())
	}
}

// tick brings to now what changes with time alone.
func (s *Server) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told.tick(s.o.Now()) {
		s.publish(s.world.Load())
	}
	s.count.prefixes.Set(float64(s.told.times.Len()))
	s.count.timed.Set(float64(s.told.view.Len()))
}

// watch ticks until the server ends.
func (s *Server) watch() {
	each := time.NewTicker(time.Second)
	defer each.Stop()
	for {
		select {
		case <-each.C:
			s.tick()
		case <-s.stopped:
			return
		}
	}
}

// FillReport adds to a node's report what this role knows of itself.
func (s *Server) FillReport(r *bus.Report) {
	r.State = s.life.State().String()
	r.Requests = s.count.served.Load()
	s.mu.Lock()
	r.Sheds = s.told.sheds(s.o.Now())
	s.mu.Unlock()
	if len(r.Status) == 0 {
		if doc, err := ops.MarshalDocument("status", s.Status()); err == nil {
			r.Status = doc
		}
	}
}
