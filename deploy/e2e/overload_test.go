//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A slowApp is the part of an application that is slow: what it has at once is counted.
//
//	/hang/ID  not stored, answers when go on is called
//	/slow/ID  not stored, takes workTime
type slowApp struct {
	in, most atomic.Int64
	gate     chan struct{}
}

// workTime is long enough for others to come meanwhile.
const workTime = 20 * time.Millisecond

func newSlowApp(a *app) *slowApp {
	s := &slowApp{gate: make(chan struct{})}
	serve := func(w http.ResponseWriter, r *http.Request, ready <-chan struct{}, after <-chan time.Time) {
		in := s.in.Add(1)
		defer s.in.Add(-1)
		for most := s.most.Load(); in > most && !s.most.CompareAndSwap(most, in); most = s.most.Load() {
		}
		select {
		case <-ready:
		case <-after:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Write(content(r.URL.Path))
	}
	a.mux.HandleFunc("/hang/", func(w http.ResponseWriter, r *http.Request) { serve(w, r, s.gate, nil) })
	a.mux.HandleFunc("/slow/", func(w http.ResponseWriter, r *http.Request) { serve(w, r, nil, time.After(workTime)) })
	return s
}

// peak says how the most that it had at once differs from what it should be.
func (s *slowApp) peak(want int64) error {
	if most := s.most.Load(); most != want {
		return fmt.Errorf("the application had %d requests at once, not %d", most, want)
	}
	return nil
}

// refusedWell says what is wrong with the answer to a request for which an origin has no place.
func refusedWell(a answer) error {
	var errs []error
	if a.status != http.StatusServiceUnavailable {
		errs = append(errs, fmt.Errorf("status %d, not 503", a.status))
	}
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 || n > 60 {
		errs = append(errs, fmt.Errorf("Retry-After: %q, not seconds from 1 to 60", a.header.Get("Retry-After")))
	}
	if said := a.header.Get("Proxy-Status"); said != "fra; error=connection_limit_reached" {
		errs = append(errs, fmt.Errorf("Proxy-Status: %q", said))
	}
	if a.header.Get("Cache-Control") != "no-store" {
		errs = append(errs, fmt.Errorf("it may be stored: %v", a.header))
	}
	return errors.Join(errs...)
}

// staleWell says what is wrong with a stored answer that stands in for such an origin.
func staleWell(a answer, want []byte) error {
	if a.status != http.StatusOK || !bytes.Equal(a.body, want) {
		return fmt.Errorf("status %d with %d bytes, not what is stored", a.status, len(a.body))
	}
	if v := a.verdict(); !strings.Contains(v, "fwd=stale") || !strings.Contains(v, "detail=origin-overload") || a.header.Get("Retry-After") != "" {
		return fmt.Errorf("not stale for want of a place: %v", a.header)
	}
	return nil
}

// TestOverload puts an edge that lets four requests at once to its origin, and eight wait, in front of an application that is
// slow, and then hangs: it has never more than four, everybody else is told when to come again, and what is stored is
// served as ever.
func TestOverload(t *testing.T) {
	scenario(t, "overload")
	const places, askers, hits, storm = 4, 60, 300, 10
	a := newApp(t, "127.66")
	s := newSlowApp(a)
	n := run(t, setup{net: "127.66", origin: a.url, edit: []string{"limits: {concurrent: 0,", fmt.Sprintf("limits: {concurrent: %d,", places), "waiting: 100,", "waiting: 8,"}})
	from := n.sources(askers)
	crowd := make([]*visitor, askers)
	for i := range crowd {
		crowd[i] = n.visitor(t, visit{proto: protocols[i%len(protocols)], pops: []string{"fra"}, from: from[i]})
	}
	each(askers, 4, func(i int) { // handshakes are no part of this
		if got, err := crowd[i].get(t.Context(), fmt.Sprint("/keep/", i%3)); err != nil || got.status != http.StatusOK {
			t.Errorf("%s: the first request of a connection: status %d, %v", crowd[i].proto, got.status, err)
		}
	})
	if t.Failed() {
		return
	}

	t.Log("a slow origin")
	app := a.meter(t)
	errors503 := n.meter(t, "edge-fra", "hither_edge_requests_total", "verdict", "error", "code", "503")
	var lost ledger
	var good, refused atomic.Int64
	ask := func(v *visitor, path string) {
		got, err := v.get(t.Context(), path)
		switch {
		case err != nil:
			lost.add("%s %s: %v", v.proto, path, err)
		case got.status == http.StatusOK && bytes.Equal(got.body, content(path)):
			good.Add(1)
		default:
			refused.Add(1)
			if err := refusedWell(got); err != nil {
				lost.add("%s %s: %v", v.proto, path, err)
			}
		}
	}
	each(askers*storm, askers, func(i int) { ask(crowd[i%askers], fmt.Sprint("/slow/", i)) })
	t.Logf("of %d requests %d were answered, and %d told to come again", askers*storm, good.Load(), refused.Load())
	if good.Load() < places || refused.Load() < 1 {
		t.Errorf("%d answered and %d refused: nothing is shown by that", good.Load(), refused.Load())
	}
	app.expect(t, good.Load())
	errors503.expect(t, refused.Load())
	if err := s.peak(places); err != nil {
		t.Error(err)
	}

	t.Log("an origin that hangs")
	inside := make(chan error, places)
	ctx, cancel := context.WithTimeout(t.Context(), crowdTime)
	defer cancel()
	for i := range places {
		path := fmt.Sprint("/hang/", i)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		v := n.via(t, protocols[i%len(protocols)], "fra")
		go func() {
			resp, err := v.http.Do(r)
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d", resp.StatusCode)
				}
			}
			inside <- err
		}()
	}
	if !until(crowdTime, func() bool { return s.in.Load() == places }) {
		t.Fatalf("the application has %d requests, not %d", s.in.Load(), places)
	}
	if _, stderr, status := call(t, "purge", "--prefix", site+"/keep/2", "--soft", "--state", n.dir); status != 0 {
		t.Fatalf("purge: status %d, %s", status, stderr)
	}
	app.expect(t, places)
	background := n.meter(t, "edge-fra", "hither_limit_refused_total", "reason", "background")
	all := n.meter(t, "edge-fra", "hither_limit_refused_total")
	served := n.meter(t, "edge-fra", "hither_edge_requests_total", "verdict", "hit")
	good.Store(0)
	refused.Store(0)
	var busy sync.WaitGroup
	busy.Go(func() { each(askers, askers, func(i int) { ask(crowd[i], fmt.Sprint("/hang/", places+i)) }) })
	busy.Go(func() {
		each(hits, 6, func(i int) {
			path := fmt.Sprint("/keep/", i%2)
			if got, err := crowd[i%6].get(t.Context(), path); err != nil || got.status != http.StatusOK || !bytes.Equal(got.body, content(path)) || !strings.Contains(got.verdict(), "; hit") {
				lost.add("%s %s: %v, %d %v", crowd[i%6].proto, path, err, got.status, got.header)
			}
		})
	})
	busy.Go(func() {
		each(len(protocols), 1, func(i int) {
			got, err := crowd[i].get(t.Context(), "/keep/2")
			if err == nil {
				err = staleWell(got, content("/keep/2"))
			}
			if err != nil {
				lost.add("%s /keep/2, which is stale: %v", crowd[i].proto, err)
			}
		})
	})
	busy.Wait()
	if g := good.Load(); g != 0 || refused.Load() != askers {
		t.Errorf("%d of %d were answered while the origin hung, and %d told to come again", g, askers, refused.Load())
	}
	app.expect(t, 0)
	errors503.expect(t, askers)
	background.expect(t, int64(len(protocols)))
	all.expect(t, askers+int64(len(protocols)))
	served.expect(t, hits)
	if err := s.peak(places); err != nil {
		t.Error(err)
	}
	if out, _, status := call(t, "explain", "origin", "www", "--pop", "fra", "--state", n.dir); status != 0 || !strings.Contains(out, "4 at once (given), 4 under way, 0 of at most 8 waiting") || !strings.Contains(out, "all 4 places are taken") {
		t.Errorf("explain origin: status %d\n%s", status, out)
	}
	if out, _, status := call(t, "status", "--state", n.dir); status != 0 || !strings.Contains(out, "edge-fra: origin us has all the 4 requests that it may have at once") {
		t.Errorf("status: status %d\n%s", status, out)
	}

	t.Log("and goes on")
	close(s.gate)
	for range places {
		if err := <-inside; err != nil {
			t.Errorf("a request that hung: %v", err)
		}
	}
	for _, v := range crowd[:len(protocols)] {
		if got := v.must(t, "/slow/end"); got.status != http.StatusOK {
			t.Errorf("%s: status %d when all is over", v.proto, got.status)
		}
	}
	if got := crowd[0].must(t, "/keep/2"); got.status != http.StatusOK || strings.Contains(got.verdict(), "detail=origin-overload") {
		t.Errorf("what was stale: %d %v", got.status, got.header)
	}
	lost.report(t)
}

// plantOverload shows the checkers of the scenario failing.
func plantOverload(t *testing.T) {
	fine := func() answer {
		return answer{status: 503, header: http.Header{
			"Retry-After": {"2"}, "Proxy-Status": {"fra; error=connection_limit_reached"}, "Cache-Control": {"no-store"},
		}}
	}
	if err := refusedWell(fine()); err != nil {
		t.Error(err)
	}
	for says, plant := range map[string]func(*answer){
		"status 200, not 503":    func(a *answer) { a.status = 200 },
		`Retry-After: ""`:        func(a *answer) { a.header.Del("Retry-After") },
		`Retry-After: "0"`:       func(a *answer) { a.header.Set("Retry-After", "0") },
		`Retry-After: "61"`:      func(a *answer) { a.header.Set("Retry-After", "61") },
		"error=http_request":     func(a *answer) { a.header.Set("Proxy-Status", "fra; error=http_request_error") },
		"it may be stored":       func(a *answer) { a.header.Del("Cache-Control") },
		"Retry-After: \"soon\",": func(a *answer) { a.header.Set("Retry-After", "soon") },
	} {
		a := fine()
		plant(&a)
		if err := refusedWell(a); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("planted %s: %v", says, err)
		}
	}
	stale := func() answer {
		return answer{status: 200, body: []byte("x"), header: http.Header{"Cache-Status": {"fra; fwd=stale; ttl=-1; detail=origin-overload"}}}
	}
	if err := staleWell(stale(), []byte("x")); err != nil {
		t.Error(err)
	}
	for says, plant := range map[string]func(*answer){
		"status 503":                     func(a *answer) { a.status = 503 },
		"status 200 with 1":              func(a *answer) { a.body = []byte("y") },
		"fra; hit":                       func(a *answer) { a.header.Set("Cache-Status", "fra; hit; ttl=1") },
		"not stale for want of a place:": func(a *answer) { a.header.Set("Retry-After", "1") },
	} {
		a := stale()
		plant(&a)
		if err := staleWell(a, []byte("x")); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("planted %s: %v", says, err)
		}
	}
	s := new(slowApp)
	s.most.Store(5)
	if err := s.peak(4); err == nil || !strings.Contains(err.Error(), "had 5 requests at once, not 4") {
		t.Errorf("one too many at once: %v", err)
	}
}
