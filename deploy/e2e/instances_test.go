//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// instancesRate is what the clients here ask per second.
const instancesRate = 100

// A mix is traffic of GET, HEAD and POST, each over every protocol. It remembers the
// POSTs that were answered.
type mix struct {
	*traffic
	mu       sync.Mutex
	answered []string
}

// posted reports whether request k of a mix is a POST: one that nobody may send again
// who does not know that it was not processed (RFC 9110 section 9.2.2).
func posted(k int) bool { return k%4 == 1 }

// mixed makes the traffic of a network.
func (n *network) mixed(t *testing.T, rate int) *mix {
	t.Helper()
	var all []*visitor
	for _, proto := range protocols {
		all = append(all, n.via(t, proto, "fra"))
	}
	m := &mix{}
	m.traffic = &traffic{rate: rate, most: 400, ask: func(ctx context.Context, k int) error {
		v, path := all[k%len(all)], fmt.Sprintf("/once/%d", k)
		r, err := http.NewRequest(http.MethodGet, site+path, nil)
		switch {
		case posted(k):
			r, err = http.NewRequest(http.MethodPost, site+path, strings.NewReader("content of "+path))
		case k%4 == 3:
			r, err = http.NewRequest(http.MethodHead, site+path, nil)
		}
		if err != nil {
			return err
		}
		got, err := v.do(ctx, r)
		if err == nil && r.Method == http.MethodHead && got.status == http.StatusOK && len(got.body) == 0 {
			return nil
		}
		if err == nil {
			err = isLine(path, got)
		}
		if err != nil {
			return fmt.Errorf("%s over %s: %w", r.Method, v.proto, err)
		}
		if posted(k) {
			m.mu.Lock()
			m.answered = append(m.answered, r.Method+" "+path)
			m.mu.Unlock()
		}
		return nil
	}}
	return m
}

// counting are the failures that count, from one request to before another. A POST's may
// not, where an instance has died: it may have acted on it.
func (m *mix) counting(from, to int, died bool) (failed []failure) {
	for _, f := range m.failures(from, to) {
		if !died || !posted(f.k) {
			failed = append(failed, f)
		}
	}
	return failed
}

// lost fails the test with the requests whose failures count.
func (m *mix) lost(t *testing.T, what string, from, to int, died bool) {
	t.Helper()
	failed := m.counting(from, to, died)
	t.Logf("%s: %d requests, %d failed, %d of them count", what, to-from, len(m.failures(from, to)), len(failed))
	for _, w := range append(tooMany(failed, to-from, 0), tooMany(m.failures(from, to), to-from, 10)...) {
		t.Errorf("%s: %s", what, w)
	}
}

// TestInstances kills, stops, starts, drains, adds and removes instances under load, and then
// restarts all of them in turn, as a deployment does.
func TestInstances(t *testing.T) {
	scenario(t, "instances")
	const net127 = "127.93"
	var s []*server
	for i := range 5 {
		s = append(s, newServer(t, string(rune('a'+i)), fmt.Sprintf("%s.0.%d:3000", net127, 11+i)))
	}
	a, b, c, e := s[0], s[1], s[2], s[4]
	weights := map[*server]int{a: 1, b: 1, c: 1, s[3]: 1}
	app := func() string {
		var list []listed
		for _, one := range s {
			if w, ok := weights[one]; ok {
				list = append(list, listed{one.url(), fmt.Sprintf("weight: %d", w)})
			}
		}
		return instancesKey(list...)
	}
	now := app()
	n := run(t, setup{net: net127, edit: []string{exampleApp, now, exampleBalance,
		"balance: {slow_start: 2s, health: {path: " + checkPath + ", interval: 1s, timeout: 500ms}, eject: {time: 1s}}"}})
	m := n.mixed(t, instancesRate)
	m.begin(t)
	part := 0
	over := func(what string, died bool) {
		t.Helper()
		m.further(t, 1)
		to := int(m.sent.Load())
		// Those that have begun are to be over before they are judged.
		m.further(t, instancesRate/2)
		m.lost(t, what, part, to, died)
		part = to
	}
	set := func(one *server, weight int) {
		t.Helper()
		if weights[one] = weight; weight < 0 {
			delete(weights, one)
		}
		was := now
		now = app()
		n.change(t, was, now)
	}
	for _, one := range s[:4] {
		one.gets(t, 10)
	}
	over("nothing happens", false)

	for _, how := range []struct {
		name   string
		signal syscall.Signal
		status int
	}{{"killed", syscall.SIGKILL, -1}, {"stopped", syscall.SIGTERM, 0}} {
		a.endWith(t, how.signal, how.status)
		m.further(t, instancesRate/2)
		over(how.name, true)
		m.further(t, instancesRate/2)
		over("away", false)
		a.start(t)
		a.gets(t, 5)
		over("started", false)
	}

	set(b, 0)
	b.gotNone(t, m.traffic, 2*instancesRate)
	over("drained", false)

	set(e, 1)
	e.gets(t, 10)
	over("added", false)

	long := n.longs(t, c)
	set(c, -1)
	c.gotNone(t, m.traffic, 2*instancesRate)
	if status := c.signal(t, syscall.SIGTERM); status != 0 {
		t.Errorf("server c ended with status %d", status)
	}
	over("removed", false)
	for _, err := range long() {
		t.Errorf("begun before the removal: %v", err)
	}

	set(b, 1)
	for _, one := range s {
		if one == c {
			continue
		}
		set(one, 0)
		m.further(t, instancesRate/5)
		if status := one.signal(t, syscall.SIGTERM); status != 0 {
			t.Errorf("server %s ended with status %d", one.name, status)
		}
		one.start(t)
		set(one, 1)
		one.gets(t, 5)
	}
	over("rolling restart", false)
	m.end()
	m.lost(t, "the end", part, int(m.sent.Load()), false)

	var all []string
	for _, one := range s {
		all = append(all, one.arrived()...)
	}
	wrong, repeated := posts(all, m.answered)
	for _, w := range wrong {
		t.Error(w)
	}
	t.Logf("%d of %d requests failed; %d POSTs were answered; %d other requests arrived twice",
		len(m.failures(0, int(m.sent.Load()))), m.sent.Load(), len(m.answered), repeated)
	if len(m.answered) == 0 || repeated == 0 {
		t.Error("no POST was answered, or no request was sent again: this shows nothing")
	}
}

// longs begins answers that take long, of which a server has half of one at least. What it
// returns waits for them, and says what is wrong with any.
func (n *network) longs(t *testing.T, s *server) (wait func() []error) {
	t.Helper()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrong []error
	)
	for i := range 8 * len(protocols) {
		v, path := n.via(t, protocols[i%len(protocols)], "fra"), fmt.Sprintf("%s%d", longPath, i)
		wg.Go(func() {
			got, err := v.get(context.Background(), path)
			if want := bytes.Repeat(line(path), 2); err == nil && (got.status != http.StatusOK || !bytes.Equal(got.body, want)) {
				err = fmt.Errorf("status %d with %d bytes, not %d", got.status, len(got.body), len(want))
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				wrong = append(wrong, fmt.Errorf("%s over %s: %w", path, v.proto, err))
			}
		})
	}
	begun := "\n" + http.MethodGet + " " + longPath
	if !s.lives[len(s.lives)-1].stdout.wait(10*time.Second, begun, 1) {
		t.Errorf("server %s has none of the long answers", s.name)
	}
	return func() []error {
		wg.Wait()
		return wrong
	}
}
