//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// balanceRate is what the clients here ask per second: four instances could each answer
// many times as much.
const balanceRate = 160

// several starts instances that all answer in the same manner.
func several(t *testing.T, net127 string, count int, m manner) (all []*instance) {
	t.Helper()
	for i := range count {
		all = append(all, newInstance(t, fmt.Sprintf("i%d", i+1), fmt.Sprintf("%s.0.%d:3000", net127, 11+i), m))
	}
	return all
}

// behind starts a network in front of instances.
func behind(t *testing.T, net127 string, all []*instance, balance string) *network {
	t.Helper()
	return run(t, setup{net: net127, edit: []string{exampleApp, instancesKey(urls(all)...), exampleBalance, balance}})
}

// uncached makes traffic that no edge may answer by itself, over each protocol
// in turn.
func (n *network) uncached(t *testing.T, rate int) *traffic {
	t.Helper()
	var all []*visitor
	for _, proto := range protocols {
		all = append(all, n.via(t, proto, "fra"))
	}
	return &traffic{rate: rate, most: 400, ask: func(ctx context.Context, k int) error {
		path := fmt.Sprintf("/once/%d", k)
		got, err := all[k%len(all)].get(ctx, path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return isLine(path, got)
	}}
}

// beyond names those who got more than a share of the requests.
func beyond(got map[string]int64, names []string, of int, percent float64) (wrong []string) {
	for _, name := range names {
		if share := 100 * float64(got[name]) / float64(of); share > percent {
			wrong = append(wrong, fmt.Sprintf("%s got %d of %d requests, %.2f %%, more than %v %%", name, got[name], of, share, percent))
		}
	}
	return wrong
}

// below names those who got less than a share of the requests.
func below(got map[string]int64, names []string, of int, percent float64) (wrong []string) {
	for _, name := range names {
		if share := 100 * float64(got[name]) / float64(of); share < percent {
			wrong = append(wrong, fmt.Sprintf("%s got %d of %d requests, %.2f %%, less than %v %%", name, got[name], of, share, percent))
		}
	}
	return wrong
}

// TestBalance puts a network in front of four instances of which some fail, and counts at
// the instances what they get. Its parts wait for the clock most of the time: they are
// side by side, each with a network of its own.
func TestBalance(t *testing.T) {
	scenario(t, "balance")
	t.Parallel()
	t.Run("fast failures", balanceFastFailures)
	t.Run("one slow", balanceOneSlow)
	t.Run("all bad", balanceAllBad)
}

// failFast is the application that fools a balancer which goes by response times: one
// instance fails at once, one says nothing at once, and two answer.
func failFast(t *testing.T, net127 string) []*instance {
	t.Helper()
	all := several(t, net127, 4, manner{status: http.StatusOK, after: 20 * time.Millisecond})
	all[0].name, all[1].name = "failing", "empty"
	all[0].manner.Store(&manner{status: http.StatusInternalServerError, after: time.Millisecond})
	all[1].manner.Store(&manner{status: http.StatusOK, empty: true, after: time.Millisecond})
	return all
}

// fooled says what is wrong with how the requests were spread and answered.
func fooled(got map[string]int64, failed []failure, of int) []string {
	return append(beyond(got, []string{"failing", "empty"}, of, 1), tooMany(failed, of, 0.5)...)
}

// balanceFastFailures: from second 10 on each bad instance gets less than one request of
// a hundred. Both pass their checks, which are answered by what is not broken.
func balanceFastFailures(t *testing.T) {
	t.Parallel()
	const from, to = 10 * balanceRate, 120 * balanceRate
	all := failFast(t, "127.90")
	n := behind(t, "127.90", all, "balance: {expect: {min_bytes: 1}, health: {path: "+checkPath+"}}")
	l := n.uncached(t, balanceRate)
	before := arrived(all)
	l.begin(t)
	l.reach(t, from)
	t.Logf("in the first ten seconds: %v, %d failed", since(before, arrived(all)), len(l.failures(0, from)))
	before = arrived(all)
	l.reach(t, to)
	l.end()
	got := since(before, arrived(all))
	t.Logf("then, of %d requests: %v, checks %d and %d, %d failed", to-from, got, all[0].checks.Load(), all[1].checks.Load(), len(l.failures(from, to)))
	for _, w := range fooled(got, l.failures(from, to), to-from) {
		t.Error(w)
	}
	if all[0].checks.Load() == 0 || all[1].checks.Load() == 0 {
		t.Error("no check has arrived, and they are part of what is counted")
	}
	out, errs, status := call(t, "explain", "origin", "www", "--pop", "fra", "--state", n.dir)
	for _, word := range []string{"ejected", "answered 500", "answered 200, short", "next: the request goes to 127.90.0.1"} {
		if !strings.Contains(out, word) {
			t.Errorf("explain origin: status %d, no %q:\n%s%s", status, word, out, errs)
		}
	}
}

// balanceOneSlow: an instance that needs thirty times as long as its peers gets less. What waits for a processor here is late for all of them alike.
func balanceOneSlow(t *testing.T) {
	t.Parallel()
	const from, to = 5 * balanceRate, 25 * balanceRate
	all := several(t, "127.91", 4, manner{status: http.StatusOK, after: 20 * time.Millisecond})
	all[2].manner.Store(&manner{status: http.StatusOK, after: 600 * time.Millisecond})
	n := behind(t, "127.91", all, "balance: {expect: {min_bytes: 1}, health: {path: "+checkPath+"}}")
	l := n.uncached(t, balanceRate)
	l.begin(t)
	l.reach(t, from)
	before := arrived(all)
	l.reach(t, to)
	l.end()
	got := since(before, arrived(all))
	t.Logf("of %d requests: %v; i3 is slow", to-from, got)
	for _, w := range slices.Concat(
		beyond(got, []string{"i3"}, to-from, 15),
		below(got, []string{"i1", "i2", "i4"}, to-from, 15),
		tooMany(l.failures(0, to), to, 0)) {
		t.Error(w)
	}
}

// balanceAllBad: with nobody well, everybody is asked; and when they are well again,
// their next check is the latest moment to find it.
func balanceAllBad(t *testing.T) {
	t.Parallel()
	names := []string{"i1", "i2", "i3", "i4"}
	good := manner{status: http.StatusOK, after: 20 * time.Millisecond}
	all := several(t, "127.92", 4, good)
	n := behind(t, "127.92", all, "balance: {expect: {min_bytes: 1}, health: {path: "+checkPath+", interval: 2s, timeout: 1s}}")
	l := n.uncached(t, balanceRate)
	l.begin(t)
	l.reach(t, balanceRate)
	for i, in := range all {
		bad := manner{status: http.StatusInternalServerError, after: time.Millisecond, sick: true}
		if i%2 == 1 {
			bad = manner{status: http.StatusOK, empty: true, after: time.Millisecond, sick: true}
		}
		in.manner.Store(&bad)
	}
	// Three failed checks are enough for each of them to be down.
	checks := func() (least int64) {
		least = all[0].checks.Load()
		for _, in := range all {
			least = min(least, in.checks.Load())
		}
		return least
	}
	seen := checks()
	if !until(30*time.Second, func() bool { return checks() >= seen+4 }) {
		t.Fatalf("no four checks of each, but %d", checks()-seen)
	}
	before := arrived(all)
	from := int(l.sent.Load())
	l.further(t, 5*balanceRate)
	to := int(l.sent.Load())
	got := since(before, arrived(all))
	t.Logf("all bad, of %d requests: %v", to-from, got)
	for _, w := range below(got, names, to-from, 5) {
		t.Error(w)
	}

	was := make([]int64, len(all))
	for i, in := range all {
		in.manner.Store(&good)
		was[i] = in.checks.Load()
	}
	from = int(l.sent.Load())
	if !until(30*time.Second, func() bool {
		for i, in := range all {
			if in.checks.Load() == was[i] {
				return false
			}
		}
		return true
	}) {
		t.Error("nobody checks whether they have recovered")
	}
	checked := l.further(t, 3*balanceRate)
	// A check ends no ejection, for who answers with nothing passes it as well; a trial does.
	before = arrived(all)
	if !until(60*time.Second, func() bool {
		return len(below(since(before, arrived(all)), names, balanceRate, 20)) == 0
	}) {
		t.Errorf("not everybody is asked again: %v", since(before, arrived(all)))
	}
	l.end()
	to = int(l.sent.Load())
	t.Logf("well again: %d of %d requests failed until each was checked once, then %d of %d; %v",
		len(l.failures(from, checked)), checked-from, len(l.failures(checked, to)), to-checked, since(before, arrived(all)))
	for _, w := range tooMany(l.failures(checked, to), to-checked, 0) {
		t.Error(w)
	}
}
