package member

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"hither/deploy/fleet/bus"
)

const (
	// mostReport bounds a report. Above it the status is left out.
	mostReport = 256 << 10
	// mostRTT bounds the prefixes that are told at a time.
	mostRTT = 10 * bus.MostPrefixes
	// pokeTime is how long a report that is asked for waits for others that are asked for as well.
	pokeTime = 20 * time.Millisecond
	// problemTime is for how long a flush stands among the node's problems.
	problemTime = time.Hour
	// mostProblems bounds them.
	mostProblems = 8
)

// A reporter says what the node is, every [bus.ReportEvery] and when it is asked to.
type reporter struct {
	m       *Member
	started time.Time
	asked   chan struct{}

	mu       sync.Mutex // guards what follows
	problems []problem
}

type problem struct {
	at   time.Time
	text string
}

func newReporter(m *Member) *reporter {
	return &reporter{m: m, started: m.o.Now(), asked: make(chan struct{}, 1)}
}

// Report has a report sent at once: the node's state, or its revision, has changed.
func (m *Member) Report() { m.report.poke() }

func (r *reporter) poke() {
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

// problem notes what people should know.
func (r *reporter) problem(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for i := range r.problems {
		if r.problems[i].text == text {
			r.problems[i].at = now
			return
		}
	}
	if len(r.problems) >= mostProblems {
		r.problems = r.problems[1:]
	}
	r.problems = append(r.problems, problem{now, text})
}

// Problems are what people should know of the node's part in the fleet, one line each. They stand in the status of its reports.
func (m *Member) Problems() (lines []string) {
	m.report.mu.Lock()
	defer m.report.mu.Unlock()
	for _, p := range m.report.problems {
		if time.Since(p.at) < problemTime {
			lines = append(lines, p.text+" ("+p.at.UTC().Format(time.DateTime)+")")
		}
	}
	return lines
}

// run reports until ctx ends, and once more then.
func (r *reporter) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := false // one that was asked for is on its way; who asks again and again does not put it off
	for {
		select {
		case <-ctx.Done():
			r.send()
			return
		case <-r.asked:
			if !soon {
				soon = true
				timer.Reset(pokeTime)
			}
			continue
		case <-timer.C:
			soon = false
		}
		if r.m.o.Conn.Connected() {
			r.send()
			r.sendRTT()
		}
		timer.Reset(bus.ReportEvery*9/10 + rand.N(bus.ReportEvery/5))
	}
}

// make makes a report.
func (r *reporter) make() bus.Report {
	m := r.m
	report := bus.Report{Started: r.started, Journal: m.claimed(), Tables: m.tables.reached(), Expires: m.o.Identity.NotAfter(), Issued: m.o.Identity.Issued(), Trust: bus.HashOf(m.o.Identity.Trust())}
	if m.o.Running != nil {
		report.Revision, report.Hash = m.o.Running()
	}
	if m.revisions != nil {
		report.Refused, report.Why = m.revisions.problem()
	}
	if m.o.Report != nil {
		m.o.Report(&report)
	}
	if problems := m.Problems(); len(problems) > 0 {
		report.Status = withProblems(report.Status, problems)
	}
	return report
}

// send publishes a report. One that is lost is followed by the next.
func (r *reporter) send() {
	report := r.make()
	data := bus.Encode(report)
	if len(data) > mostReport {
		r.m.refuse("report", fmt.Errorf("the status of this node makes a report of %d bytes; it is sent without", len(data)))
		report.Status = nil
		data = bus.Encode(report)
	}
	peer := r.m.o.Identity.Peer
	_ = r.m.o.Conn.Publish(bus.UpSubject(peer.Role, peer.Name, bus.UpReport), data)
}

// sendRTT publishes what was measured since the last time.
func (r *reporter) sendRTT() {
	if r.m.o.RTT == nil {
		return
	}
	all := r.m.o.RTT()
	all = all[:min(len(all), mostRTT)]
	peer := r.m.o.Identity.Peer
	for len(all) > 0 {
		n := min(len(all), bus.MostPrefixes)
		if r.m.o.Conn.Publish(bus.UpSubject(peer.Role, peer.Name, bus.UpRTT), bus.Encode(bus.RTTReport{Prefixes: all[:n]})) != nil {
			return
		}
		all = all[n:]
	}
}

// withProblems adds lines to the problems of each node in a document "status", and leaves what is none as it is.
func withProblems(status json.RawMessage, lines []string) json.RawMessage {
	var doc map[string]json.RawMessage
	var nodes []map[string]json.RawMessage
	if json.Unmarshal(status, &doc) != nil || json.Unmarshal(doc["nodes"], &nodes) != nil {
		return status
	}
	for _, node := range nodes {
		var problems []string
		if json.Unmarshal(node["problems"], &problems) != nil {
			return status
		}
		node["problems"], _ = json.Marshal(append(problems, lines...))
	}
	var err error
	if doc["nodes"], err = json.Marshal(nodes); err != nil {
		return status
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return status
	}
	return out
}
