//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
)

// cutShort has the hub killed, and the newest file of its journal cut short, while a PoP is away. It begins another journal; PoPs hold what they have
// for stale, once, and nobody serves what was purged by what was cut off.
func (n *network) cutShort(t *testing.T, visitors []*visitor) {
	t.Helper()
	for range 3 { // what is asked for again goes to the disk
		still(t, visitors, "/keep/lost")
	}
	n.signal(t, "edge-sin", syscall.SIGTERM) // what it has is on its disk then
	if !until(endTime, func() bool { return len(processes(n.state("edge-sin"))) == 0 }) {
		t.Fatal("edge-sin was told to end and runs")
	}
	before := map[string]int64{}
	for _, pop := range []string{"fra", "iad"} {
		before[pop] = n.counters(t, "edge-"+pop).sum("hither_fleet_flushes_total")
	}
	for i := range 10 {
		n.purge(t, 1, "url", fmt.Sprintf("%s/keep/none/%d", host, i), "--wait", "--timeout", "100ms")
	}
	if err := receipts(n.purge(t, 1, "url", host+"/keep/lost", "--wait", "--timeout", "2s"), "sin"); err != nil {
		t.Error(err)
	}
	end := n.counters(t, "edge-fra").sum("hither_fleet_journal_sequence")
	began := time.Now()
	us := n.again(t, "origin-us", nil, func() {
		files, _ := filepath.Glob(filepath.Join(n.state("origin-us"), "hub", "jetstream", "*", "streams", bus.StreamJournal, "msgs", "*.blk"))
		slices.Sort(files)
		if len(files) == 0 {
			t.Fatal("no file of the journal is found")
		}
		newest := files[len(files)-1]
		info, err := os.Stat(newest)
		if err == nil {
			err = os.Truncate(newest, info.Size()/2)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	sin := start(t, program, "edge", "--name", "sin", "--state", n.state("edge-sin"))
	n.await(t, "edge-sin", sin)
	n.hear(t, members, true, 1)
	for pop := range pops {
		c := n.counters(t, "edge-"+pop)
		if !until(endTime, func() bool {
			c = n.counters(t, "edge-"+pop)
			return c.sum("hither_fleet_flushes_total", "reason", "journal") == before[pop]+1
		}) {
			t.Errorf("%s has held what it has for stale %d times, not once: %v", pop, c.sum("hither_fleet_flushes_total")-before[pop], c["hither_fleet_flushes_total"])
		}
	}
	var back []*visitor
	for _, pop := range []string{"fra", "iad", "sin"} {
		back = append(back, n.via(t, "h2", pop))
	}
	if found := still(t, back, "/keep/lost"); len(found) > 0 {
		t.Errorf("what was purged before the journal was cut short is served by %q", found)
	}
	if err := receipts(n.purge(t, 0, "url", host+"/keep/lost", "--wait")); err != nil {
		t.Errorf("a purge after that: %v", err)
	}
	for pop := range pops {
		c := n.counters(t, "edge-"+pop)
		if now := c.sum("hither_fleet_journal_sequence"); now >= end {
			t.Errorf("%s is at %d, and was at %d: nothing was cut off", pop, now, end)
		}
		if k := c.sum("hither_fleet_flushes_total") - before[pop]; k != 1 {
			t.Errorf("%s has held what it has for stale %d times in the end", pop, k)
		}
	}
	lines := n.logOf(t, "origin-us", began)
	if len(lines) == 0 { // it was started by hand, and writes to its own standard error
		if k := us.stderr.count("the hub's journal is not what it was"); k != 1 {
			t.Errorf("the hub says %d times that its journal is not what it was:\n%s", k, us.stderr)
		}
	}
}

// newerOnDisk has a node start with a network file in its folder that is of a newer version, as after its program was put back to an older one.
func (n *network) newerOnDisk(t *testing.T) {
	t.Helper()
	folder := filepath.Join(n.state("edge-iad"), "revision")
	iad := n.again(t, "edge-iad", nil, func() {
		data, err := os.ReadFile(filepath.Join(folder, "current.yaml"))
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "previous.yaml"), data, 0o600)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "current.yaml"), []byte(strings.Replace(string(data), "version: 1", "version: 2", 1)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	n.hear(t, members, true, 1)
	if k := n.counters(t, "edge-iad").sum("hither_fleet_refused_total", "kind", "revision"); k != 1 {
		t.Errorf("it has counted %d revisions that it could not take", k)
	}
	if k := iad.stderr.count("is of a newer version; starting with the one before it"); k != 1 {
		t.Errorf("it says %d times what is wrong with its file:\n%s", k, iad.stderr)
	}
	if got := n.via(t, "h2", "iad").must(t, "/keep/1"); got.status != http.StatusOK {
		t.Errorf("it answers with status %d", got.status)
	}
}
