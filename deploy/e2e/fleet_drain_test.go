//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// drainWords says what is wrong with what `hither drain pop` showed: each step once in its turn, and the end last. Steps may be too short to be seen.
func drainWords(pop, out string) error {
	steps := []string{"telling", "waiting", "stragglers", "stopping", "done"}
	at := 0
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, pop+" ")
		state, why, colon := strings.Cut(rest, ": ")
		i := slices.Index(steps, state)
		if !ok || !colon || why == "" || i < at {
			return fmt.Errorf("%q does not come after %s", line, steps[at])
		}
		at = i
	}
	if at != len(steps)-1 {
		return fmt.Errorf("it ended with %q", lines[len(lines)-1])
	}
	return nil
}

// newcomers are clients that ask DNS before each request and come on a connection of their own.
type newcomers struct {
	lost ledger
	mu   sync.Mutex
	at   map[string]int // answers by PoP
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// comers lets one newcomer of each protocol come again and again, from the network of client.
func (n *network) comers(t *testing.T, client string) *newcomers {
	t.Helper()
	c := &newcomers{at: make(map[string]int)}
	ctx, cancel := context.WithCancel(t.Context())
	c.stop = cancel
	ask := askersOf(t, n.nameServer(), dnsPort)[0]
	for i, from := range n.sources(len(protocols)) {
		proto := protocols[i]
		c.wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				records := ask.ask(t, "+subnet="+client, host, "A").records
				pop := ""
				for name, rest := range pops {
					if len(records) > 0 && strings.HasSuffix(records[0], " "+n.net+"."+rest) {
						pop = name
					}
				}
				if pop == "" {
					c.lost.add("DNS answers %q", records)
					continue
				}
				v := n.visitor(t, visit{proto: proto, pops: []string{pop}, from: from})
				path := fmt.Sprintf("/short/new/%s/%d", proto, k)
				got, err := v.get(context.WithoutCancel(ctx), path)
				v.http.CloseIdleConnections()
				if err := shortFault(path, got, err); err != nil {
					c.lost.add("%s at %s: %v", proto, pop, err)
					continue
				}
				c.mu.Lock()
				c.at[pop]++
				c.mu.Unlock()
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func (c *newcomers) end() {
	c.stop()
	c.wg.Wait()
}

// answered is how many answers came from a PoP.
func (c *newcomers) answered(pop string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[pop]
}

// TestFleetDrain takes PoPs out with `hither drain pop`, under load: nobody whose request was accepted notices, what is shown is what happens, and
// what was drained comes back.
func TestFleetDrain(t *testing.T) {
	scenario(t, "fleet-drain")
	a := newApp(t, "127.36")
	shortly(a)
	n := run(t, setup{net: "127.36", origin: a.url, edit: soonForgotten})
	n.hear(t, members, true, 1)
	const europe, asia = "193.0.6.0/24", "202.166.0.0/24"
	if pop := n.popOf(t, n.nameServer(), dnsPort, asia); pop != "sin" {
		t.Fatalf("DNS leads Asia to %s", pop)
	}
	stay := n.crowdOf(t, a, 2, "fra", "iad") // on connections that they keep
	stay.begin(t)
	come := n.comers(t, europe)
	if !until(crowdTime, func() bool { return come.answered("fra") >= 10 }) {
		t.Fatal("nobody comes to fra")
	}

	drain := start(t, program, "drain", "pop", "fra", "--state", n.dir)

	t.Log("meanwhile another one, interrupted, and taken back")
	other := start(t, program, "drain", "pop", "sin", "--stay", "--state", n.dir)
	if !other.stdout.wait(endTime, "sin ", 1) {
		t.Errorf("a drain shows nothing:\n%s%s", other.stdout, other.stderr)
	}
	other.cmd.Process.Signal(syscall.SIGINT)
	if s := other.status(t); s != 1 || !strings.Contains(other.stderr.String(), "--undo") {
		t.Errorf("a drain that is interrupted: status %d, %s", s, other.stderr)
	}
	asked := func(pop string, from string) bool {
		return until(10*time.Second, func() bool { return n.popOf(t, n.nameServer(), dnsPort, from) == pop })
	}
	if !until(10*time.Second, func() bool { return n.popOf(t, n.nameServer(), dnsPort, asia) != "sin" }) {
		t.Error("a drain that was interrupted is not in force")
	}
	out, stderr, status := call(t, "drain", "pop", "sin", "--undo", "-o", "json", "--state", n.dir)
	var doc struct{ Schema, State string }
	if err := json.Unmarshal([]byte(out), &doc); err != nil || status != 0 || doc.Schema != "hither/drain/1" || doc.State != "none" {
		t.Errorf("--undo: status %d, %v\n%s%s", status, err, out, stderr)
	}
	if !asked("sin", asia) {
		t.Error("a PoP whose drain was taken back is in no answer")
	}
	for _, c := range []struct {
		args   []string
		status int
		word   string
	}{
		{[]string{"sin", "--undo"}, 1, "does not drain"},
		{[]string{"nope"}, 2, "no PoP"},
		{[]string{"sin", "--undo", "--stay"}, 2, "undo stay"},
	} {
		stdout, stderr, status := call(t, append([]string{"drain", "pop", "--state", n.dir}, c.args...)...)
		if err := oneLine(stdout, stderr, status, c.status, c.word); err != nil {
			t.Errorf("drain pop %s: %v", c.args, err)
		}
	}

	if s := drain.status(t); s != 0 {
		t.Errorf("drain: status %d, %s", s, drain.stderr)
	}
	if err := drainWords("fra", drain.stdout.String()); err != nil {
		t.Errorf("what the drain shows: %v\n%s", err, drain.stdout)
	}
	if !n.up.stderr.wait(endTime, "edge-fra ended (exit status 0)", 1) {
		t.Errorf("the node of the drained PoP did not end with status 0:\n%s", n.up.stderr)
	}
	before := come.answered("iad")
	if !until(crowdTime, func() bool { return come.answered("iad") >= before+5 }) {
		t.Error("nobody comes to iad")
	}
	stay.further(t, 2)
	stay.end()
	stay.report(t, 0)
	come.end()
	come.lost.report(t)
	t.Logf("%d came to fra and %d to iad", come.answered("fra"), come.answered("iad"))

	t.Log("started again it stays out, until the drain is taken back")
	n.await(t, "edge-fra", start(t, program, "edge", "--name", "fra", "--state", n.state("edge-fra")))
	n.hear(t, []string{"edge-fra"}, true, 1)
	if pop := n.popOf(t, n.nameServer(), dnsPort, europe); pop == "fra" {
		t.Error("a drained PoP that was started again is in answers")
	}
	if out, stderr, status := call(t, "drain", "pop", "fra", "--undo", "--state", n.dir); status != 0 || !strings.Contains(out, "fra may be in DNS answers again") {
		t.Errorf("--undo: status %d, %s%s", status, out, stderr)
	}
	if !asked("fra", europe) {
		t.Error("it is in no answer after that")
	}
	if got := n.via(t, "h2", "fra").must(t, "/short/again"); got.status != http.StatusOK {
		t.Errorf("it answers %d", got.status)
	}

	t.Log("the checker, held to faults")
	good := drain.stdout.String()
	for name, bad := range map[string]string{
		"no end":       regexp.MustCompile("(?m)^fra done.*\n?").ReplaceAllString(good, ""),
		"ended early":  "fra done: its node has ended\n" + good,
		"another's":    strings.Replace(good, "fra ", "iad ", 1),
		"without why":  regexp.MustCompile("(?m)^(fra [a-z]+: ).*$").ReplaceAllString(good, "$1"),
		"nothing said": "",
	} {
		if drainWords("fra", bad) == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}
