//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// A crowd is many clients that ask without a pause, each on a connection of its own,
// and check every answer.
type crowd struct {
	app      *app
	visitors []*visitor
	lost     ledger
	answered atomic.Int64
	perVisit []atomic.Int64 // answers of each visitor
	away     ledger         // visitors whom no edge takes any more
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// crowdOf makes clients of every protocol, but none busy yet.
func (n *network) crowdOf(t *testing.T, a *app, each int, pops ...string) *crowd {
	t.Helper()
	c := &crowd{app: a}
	// Each from an address of its own: one address may not begin so many handshakes.
	for i, from := range n.sources(each * len(protocols)) {
		c.visitors = append(c.visitors, n.visitor(t, visit{proto: protocols[i%len(protocols)], pops: pops, from: from}))
	}
	c.perVisit = make([]atomic.Int64, len(c.visitors))
	return c
}

// begin lets them ask until end. It returns when each has had an answer.
func (c *crowd) begin(t *testing.T) {
	t.Helper()
	// Handshakes are the dearest part, and not what is shown: a few at once.
	each(len(c.visitors), 20, func(i int) { c.turn(t.Context(), i, 0) })
	ctx, cancel := context.WithCancel(t.Context())
	c.stop = cancel
	for i := range c.visitors {
		c.wg.Go(func() {
			for k := 1; ctx.Err() == nil && c.turn(context.WithoutCancel(ctx), i, k); k++ {
			}
		})
	}
	t.Cleanup(c.end)
}

// turn is one request of a visitor. It reports whether the visitor goes on.
func (c *crowd) turn(ctx context.Context, i, k int) bool {
	v := c.visitors[i]
	err := c.ask(ctx, v, i, k)
	if refused := (dialError{}); errors.As(err, &refused) {
		c.away.add("%s, client %d, request %d: %v", v.proto, i, k, err)
	} else if err != nil {
		c.lost.add("%s, client %d, request %d: %v", v.proto, i, k, err)
	} else {
		c.answered.Add(1)
		c.perVisit[i].Add(1)
	}
	return err == nil
}

// further waits until each client has had so many more answers.
func (c *crowd) further(t *testing.T, answers int64) {
	t.Helper()
	from := make([]int64, len(c.perVisit))
	for i := range from {
		from[i] = c.perVisit[i].Load()
	}
	slowest := -1
	if !until(crowdTime, func() bool {
		if c.lost.lost()+c.away.lost() > 0 {
			return true // report tells
		}
		for i := range from {
			if c.perVisit[i].Load() < from[i]+answers {
				slowest = i
				return false
			}
		}
		return true
	}) {
		t.Errorf("client %d (%s) gets no more answers", slowest, c.visitors[slowest].proto)
	}
}

// end lets every client finish its request.
func (c *crowd) end() {
	c.stop()
	c.wg.Wait()
}

// ask sends one request, by turns for something stored, something that is not, and with
// content. A request with content may not be repeated by a client that is not told it
// was refused (RFC 9110 section 9.2.2), so nothing hides its loss.
func (c *crowd) ask(ctx context.Context, v *visitor, client, k int) error {
	path := fmt.Sprintf("/once/%d/%d", client, k)
	r, err := http.NewRequest(http.MethodGet, site+path, nil)
	switch k % 4 {
	case 1:
		path = fmt.Sprintf("/keep/%d", k%40)
		r, err = http.NewRequest(http.MethodGet, site+path, nil)
	case 3:
		path = fmt.Sprintf("/echo/%d/%d", client, k)
		r, err = http.NewRequest(http.MethodPost, site+path, bytes.NewReader(content(path)))
		if v.proto == "h1" {
			r.GetBody = nil // HTTP/2 and 3 have a way to say "not processed", HTTP/1.1 has not
		}
	}
	if err != nil {
		return err
	}
	got, err := v.do(ctx, r)
	if err != nil {
		return err
	}
	if got.status != http.StatusOK || !bytes.Equal(got.body, content(path)) {
		return fmt.Errorf("%s: status %d with %d bytes, not those of the application; %v", path, got.status, len(got.body), got.header)
	}
	if n := c.app.times(path); k%4 != 1 && n != 1 {
		return fmt.Errorf("%s reached the application %d times", path, n)
	}
	return nil
}

// report fails the test if a request was lost, or if not as many clients as told ended
// up with nobody to ask.
func (c *crowd) report(t *testing.T, away int) {
	t.Helper()
	t.Logf("%d clients had %d answers", len(c.visitors), c.answered.Load())
	if n := c.away.lost(); n != away {
		t.Errorf("%d clients found nobody who takes their connection, not %d", n, away)
		c.away.report(t)
	}
	c.lost.report(t)
}

// A held request has half of its answer.
type held struct {
	v    *visitor
	path string
	resp *http.Response
}

// hold begins requests whose answers the application does not finish until its release.
func (c *crowd) hold(t *testing.T, visitors []*visitor) (all []held) {
	t.Helper()
	for i, v := range visitors {
		h := held{v: v, path: fmt.Sprintf("/hold/%s/%d", v.proto, i)}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site+h.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if h.resp, err = v.http.Do(r); err != nil {
			t.Fatalf("%s: %v", h.path, err)
		}
		all = append(all, h)
	}
	return all
}

// finish reads what the application sends after its release.
func (h held) finish() error {
	defer h.resp.Body.Close()
	body, err := io.ReadAll(h.resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", h.path, err)
	}
	if h.resp.StatusCode != http.StatusOK || !bytes.Equal(body, content(h.path)) {
		return fmt.Errorf("%s: status %d with %d bytes", h.path, h.resp.StatusCode, len(body))
	}
	return nil
}
