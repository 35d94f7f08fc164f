//go:build e2e

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A situation is what nobody but an operator may change.
type situation struct {
	orders   int64             // purges that were given
	sequence map[string]int64  // of the journal, by edge
	purged   map[string]int64  // orders that had their effect, and times that all became stale, by edge
	revision map[string]int    // by node
	stored   []string          // addresses of edges that have a page stored
	tokens   int               // lines of the list
	history  int               // the same
	answers  map[string]string // PoP by client
}

// situation looks.
func (n *network) situation(t *testing.T, all []home, visitors []*visitor, path string) situation {
	t.Helper()
	s := situation{
		orders: n.counters(t, "origin-us").sum("hither_control_orders_total"), sequence: map[string]int64{}, purged: map[string]int64{}, revision: map[string]int{},
		stored: still(t, visitors, path), answers: n.answers(t, all),
		tokens: strings.Count(n.done(t, nil, "fleet", "token", "list"), "\n"), history: strings.Count(n.done(t, nil, "fleet", "history"), "\n"),
	}
	for pop := range pops {
		c := n.counters(t, "edge-"+pop)
		s.sequence[pop] = c.sum("hither_fleet_journal_sequence")
		s.purged[pop] = c.sum("hither_fleet_purges_total") + c.sum("hither_fleet_flushes_total")
	}
	for _, node := range members {
		connected, revision, err := n.hears(t, node)
		if s.revision[node] = revision; err != nil || !connected || n.status(t, node).State.String() != "ready" {
			s.revision[node] = -1
		}
	}
	return s
}

// answers asks DNS for each home's PoP.
func (n *network) answers(t *testing.T, all []home) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for _, h := range all {
		a, err := answerFor(n.at("0.1", dnsPort), h)
		if err != nil {
			t.Fatal(err)
		}
		got[h.net.String()] = "nobody"
		for pop, rest := range pops {
			if a == n.net+"."+rest {
				got[h.net.String()] = pop
			}
		}
	}
	return got
}

// mostMoved is the part of other PoPs' clients that a thief may move in the time of the scenario.
const mostMoved = 0.05

// harm says what has changed between two situations that a thief of an identity of a PoP may not change.
func harm(before, after situation, of string) (wrong []string) {
	is := func(what string, was, now any) {
		if fmt.Sprint(was) != fmt.Sprint(now) { // of maps in the order of their keys
			wrong = append(wrong, fmt.Sprintf("%s: %v, and were %v", what, now, was))
		}
	}
	is("purges that were given", before.orders, after.orders)
	is("ends of the journal", before.sequence, after.sequence)
	is("purges and flushes", before.purged, after.purged)
	is("revisions", before.revision, after.revision)
	is("edges that have the page", before.stored, after.stored)
	is("tokens", before.tokens, after.tokens)
	is("revisions that there are", before.history, after.history)
	others, moved := 0, movedFrom(before, after, of)
	for _, pop := range before.answers {
		if pop != of {
			others++
		}
	}
	if others == 0 || float64(len(moved)) > mostMoved*float64(others) {
		wrong = append(wrong, fmt.Sprintf("%d of %d clients of other PoPs were moved: %q", len(moved), others, moved))
	}
	return wrong
}

// movedFrom lists the clients of other PoPs than one that get another PoP than before.
func movedFrom(before, after situation, but string) (moved []string) {
	for client, pop := range before.answers {
		if pop != but && after.answers[client] != pop {
			moved = append(moved, client+" from "+pop+" to "+after.answers[client])
		}
	}
	return moved
}

// A logLine is one of a node's log.
type logLine struct {
	Time                                                     time.Time
	Level, Msg, Reason, Who, Kind, Pop, Node, Operator, Verb string
}

// logOf reads a node's log, from a time on.
func (n *network) logOf(t *testing.T, node string, from time.Time) (all []logLine) {
	t.Helper()
	f, err := os.Open(filepath.Join(n.state(node), "node.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		var l logLine
		if json.Unmarshal(in.Bytes(), &l) == nil && !l.Time.Before(from) {
			all = append(all, l)
		}
	}
	return all
}

// noisy says what stands in a log more than once a minute. Two lines may be nearer to each other than that where a minute ended between them.
func noisy(all []logLine) (wrong []string) {
	seen := make(map[logLine][]time.Time)
	for _, l := range all {
		at := l.Time
		if l.Level != "WARN" && l.Level != "ERROR" {
			continue
		}
		l.Time = time.Time{}
		seen[l] = append(seen[l], at)
	}
	for l, at := range seen {
		for i := 2; i < len(at); i++ {
			if at[i].Sub(at[i-2]) < time.Minute-time.Second {
				wrong = append(wrong, fmt.Sprintf("%d times, three of them within %v: %+v", len(at), at[i].Sub(at[i-2]), l))
				break
			}
		}
	}
	return wrong
}

// An account is what is to be counted, and how often it was before.
type account struct {
	what *meter
	most int64 // it grew by so much at least
}

// logged holds the logs to having each thing once a minute, and to having it.
func (n *network) logged(t *testing.T, from time.Time) {
	t.Helper()
	const hubSays = "the hub refused somebody"
	for _, node := range members {
		all := n.logOf(t, node, from)
		for _, w := range noisy(all) {
			t.Errorf("the log of %s: %s", node, w)
		}
		has := func(want logLine) bool {
			return slices.ContainsFunc(all, func(l logLine) bool {
				return l.Msg == want.Msg && (want.Reason == "" || l.Reason == want.Reason) && (want.Verb == "" || l.Verb == want.Verb)
			})
		}
		for _, want := range map[string][]logLine{
			"origin-us": {
				{Msg: hubSays, Reason: "certificate"}, {Msg: hubSays, Reason: "revoked"}, {Msg: hubSays, Reason: "nobody"}, {Msg: hubSays, Reason: "handshake"},
				{Msg: hubSays, Reason: "denied"}, {Msg: hubSays, Reason: "flood"}, {Msg: hubSays, Reason: "banned"},
				{Msg: "a connection was refused"}, {Msg: "what a node published cannot be read; it is passed over"}, {Msg: "a report is passed over"},
				{Msg: "a purge over HTTP without a token that holds"}, {Msg: "what an operator asked was not done", Verb: "apply"},
			},
			"dns-ns1": {
				{Msg: "a PoP's report cannot be read"}, {Msg: "a PoP's round-trip times cannot be read"}, {Msg: "a PoP says too much; the rest is not heard"},
				{Msg: "a PoP claims round trips that are faster than light; they do not count"},
			},
		}[node] {
			if !has(want) {
				t.Errorf("the log of %s has no line %+v", node, want)
			}
		}
	}
}

// plantBad has an operator's identity be the stolen one, which does harm that must be seen, and shows the checkers logs and answers with faults.
func (n *network) plantBad(t *testing.T, all []home, visitors []*visitor) {
	t.Helper()
	var fresh []*visitor
	for i, pop := range []string{"fra", "iad", "sin"} {
		fresh = append(fresh, n.via(t, protocols[i], pop))
	}
	still(t, fresh, "/keep/1")
	before := n.situation(t, all, fresh, "/keep/1")
	if wrong := harm(before, before, "fra"); len(wrong) > 0 {
		t.Errorf("where nothing has happened: %q", wrong)
	}
	x := n.thief(t, filepath.Join(n.dir, "operator"))
	if _, err := x.nc.Request("control.main.purge", []byte(`{"kind":"all","wait":true,"timeout":20}`), endTime); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Join(harm(before, n.situation(t, all, fresh, "/keep/1"), "fra"), "\n")
	for _, w := range []string{"purges that were given", "ends of the journal", "purges and flushes", "edges that have the page"} {
		if !strings.Contains(wrong, w) {
			t.Errorf("an operator's thief purges, and it is not seen in the %s:\n%s", w, wrong)
		}
	}
	moved := func(part float64) situation {
		s := before
		s.answers = map[string]string{}
		others, k := 0, 0
		for _, pop := range before.answers {
			if pop != "fra" {
				others++
			}
		}
		for client, pop := range before.answers {
			if s.answers[client] = pop; pop != "fra" && float64(k) < part*float64(others) {
				s.answers[client] = "fra"
				k++
			}
		}
		return s
	}
	for part, seen := range map[float64]bool{0.03: false, 0.08: true} {
		if wrong := harm(before, moved(part), "fra"); (len(wrong) > 0) != seen {
			t.Errorf("%.0f %% of clients moved: %q", 100*part, wrong)
		}
	}
	at := time.Now()
	said := func(times ...time.Duration) (lines []logLine) {
		for _, d := range times {
			lines = append(lines, logLine{Time: at.Add(d), Level: "WARN", Msg: "refused", Who: "x"}, logLine{Time: at.Add(d), Level: "INFO", Msg: "ready"})
		}
		return lines
	}
	for _, c := range []struct {
		lines []logLine
		seen  bool
	}{{said(0), false}, {said(0, time.Second), false}, {said(0, time.Second, 2*time.Second), true}, {said(0, 61*time.Second, 122*time.Second), false}} {
		if wrong := noisy(c.lines); (len(wrong) > 0) != c.seen {
			t.Errorf("%v: %q", c.lines, wrong)
		}
	}
}
