//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hither/deploy/fleet/control"
)

// How long the events of fleet-chaos go on: each kind comes at least once, and then again until the time is over.
const (
	chaosTime     = 15 * time.Second
	chaosSoakTime = 5 * time.Minute
)

// chaosSeed is by HITHER_SEED, or the same each time; a soak goes by the time.
func chaosSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(1)
	if os.Getenv("HITHER_SOAK") != "" {
		seed = uint64(time.Now().UnixNano()) % 1e6
	}
	if s := os.Getenv("HITHER_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("HITHER_SEED: %v", err)
		}
	}
	t.Logf("again: HITHER_SEED=%d", seed)
	return seed
}

// A chaos is a network to which things happen while clients read and a publisher publishes.
type chaos struct {
	t         *testing.T
	n         *network
	relay     *relay
	library   *library
	publisher *publisher
	readers   *readers
	backup    string // the last
	backups   int
	rules     int // how many good revisions there were

	gateways sync.Mutex // held while one is away: clients need the other
}

// chaosNodes are those of the network: one PoP has a disk, and the origin a second gateway, so that nobody needs the one with the hub.
var chaosNodes = []string{"origin-us", "origin-us-2", "edge-fra", "edge-iad", "edge-sin", "dns-ns1"}

// diskBytes is the size of the file systems of the PoP with a disk, and of the hub.
const diskBytes = "64m"

// newChaos starts the network. It needs root, for a file system that can be full.
func newChaos(t *testing.T, net string) *chaos {
	t.Helper()
	c := &chaos{t: t, library: newLibrary(t, net+".0.9:0")}
	c.n = run(t, setup{net: net, origin: c.library.url, edit: []string{
		fmt.Sprintf(`urls: ["tls://%s.0.1:4222"], embedded_in: us`, net), fmt.Sprintf(`urls: ["tls://%s.0.7:4222"], bind: "%[1]s.0.1:4222", embedded_in: us`, net),
		`# gateways: [`, fmt.Sprintf(`gateways: [{name: us-2, addresses: ["%s.0.2:9443"]}] # [`, net),
		fmt.Sprintf("addresses: [%s.1.3]\n", net), fmt.Sprintf("addresses: [%s.1.3]\n    cache: {memory: 128KiB, disk: 16MiB, memory_limit: 1GiB}\n", net),
		"stale_if_error: 1h", "stale_if_error: 0s",
		soonForgotten[0], soonForgotten[1],
		exampleBalance, `balance: {algorithm: p2c-ewma, eject: {time: 1s, max_time: 2s}}`, // what is back is used again soon
		"rules: []", "rules: [] # so far",
	}, before: func(n *network) {
		small(t, n.state("edge-sin"))
		small(t, filepath.Join(n.state("origin-us"), "hub"))
		c.relay = newRelay(t, n, net+".0.7:4222", net+".0.1:4222")
	}})
	if wrong := c.alike(40 * time.Second); wrong != "" {
		t.Fatal(wrong)
	}
	return c
}

// small makes a folder a file system of its own, that can be full.
func small(t *testing.T, folder string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("hither-e2e", folder, "tmpfs", 0, "mode=0700,size="+diskBytes); err != nil {
		t.Fatalf("a file system for %s, for which root is needed: %v", folder, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, 0); err != nil {
			t.Errorf("unmount %s: %v", folder, err)
			syscall.Unmount(folder, 2) // MNT_DETACH
		}
	})
}

// alike waits until the whole fleet is one again: all nodes hear the hub, run the same network file, and all PoPs are as far in the journal. It says what is
// wrong when that is not so in time.
func (c *chaos) alike(limit time.Duration) (wrong string) {
	until(limit, func() bool {
		wrong = c.differs()
		return wrong == ""
	})
	return wrong
}

// differs says in what the fleet is not one.
func (c *chaos) differs() string {
	out, _, err := c.n.operate("fleet", "nodes", "-o", "json")
	if err != nil {
		return err.Error()
	}
	var doc control.NodesDoc
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		return err.Error()
	}
	var wrong []string
	var first control.NodeLine
	for _, l := range doc.Nodes {
		i := slices.Index(chaosNodes, l.Node)
		if i < 0 || !l.Named {
			continue
		}
		if first.Node == "" || first.Role != "edge" && l.Role == "edge" {
			first = l
		}
		connected, _, err := c.n.hears(c.t, l.Node)
		switch at := l.Journal; {
		case err != nil || !connected || time.Since(l.Seen) > 6*time.Second:
			wrong = append(wrong, fmt.Sprintf("%s: hub %t, %v, seen %v ago", l.Node, connected, err, time.Since(l.Seen)))
		case l.State != "ready":
			wrong = append(wrong, l.Node+" is "+l.State)
		case l.Revision != first.Revision || l.Revision != l.Target || !l.Runs:
			wrong = append(wrong, fmt.Sprintf("%s runs revision %d, and is to run %d; %s", l.Node, l.Revision, l.Target, l.Why))
		case l.Role == "edge" && at != first.Journal:
			wrong = append(wrong, fmt.Sprintf("%s is at %v of the journal, and %s at %v", l.Node, at, first.Node, first.Journal))
		}
	}
	if len(wrong) == 0 && len(doc.Nodes) < len(chaosNodes) {
		wrong = append(wrong, fmt.Sprintf("the fleet has %d nodes", len(doc.Nodes)))
	}
	return strings.Join(wrong, "\n")
}

// hold lets a while pass in which things are as they are. It is over early when ctx ends.
func hold(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// kill ends a node with no warning.
func (c *chaos) kill(node string) error {
	if pop, ok := strings.CutPrefix(node, "edge-"); ok {
		c.library.alive(pop, false)
	}
	all := c.processes(node)
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	if !until(endTime, func() bool { return !slices.ContainsFunc(all, func(pid int) bool { return !gone(pid) }) }) {
		return fmt.Errorf("%s was killed and runs", node)
	}
	return nil
}

// processes are those of a node.
func (c *chaos) processes(node string) []int { return processes(c.n.state(node) + "\x00") }

// begin starts a node from its folder alone, and waits until it is ready.
func (c *chaos) begin(node string) error {
	role, name, _ := strings.Cut(node, "-")
	log, err := os.OpenFile(c.log(node), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	c.t.Cleanup(func() { log.Close() })
	p := startBeside(c.t, log, program, role, "--name", name, "--state", c.n.state(node))
	if !until(readyTime, func() bool {
		return exec.Command(program, "ready", "--state", c.n.state(node)).Run() == nil
	}) {
		return fmt.Errorf("%s is not ready again:\n%s", node, p.stderr)
	}
	if pop, ok := strings.CutPrefix(node, "edge-"); ok {
		c.library.alive(pop, true)
	}
	if role == "origin" && !until(40*time.Second, func() bool { return c.picked(name) }) {
		return fmt.Errorf("%s is back, and an edge does not use it:\n%s", node, p.stderr)
	}
	return nil
}

// log is where the errors of a node go that was started by hand. It is not in the node's folder, whose disk may be full.
func (c *chaos) log(node string) string { return filepath.Join(filepath.Dir(c.n.dir), node+".log") }

// warnings writes what nodes that were started by hand had to say, the last of it, where the test has failed.
func (c *chaos) warnings() {
	if !c.t.Failed() {
		return
	}
	for _, node := range chaosNodes {
		text, err := os.ReadFile(c.log(node))
		if err != nil {
			continue // it was never started by hand
		}
		var all []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "WARN") || strings.Contains(line, "ERROR") || strings.Contains(line, "ready") || strings.Contains(line, "the hub") {
				all = append(all, line)
			}
		}
		c.t.Logf("%s:\n%s", node, strings.Join(all[max(0, len(all)-60):], ""))
	}
}

// picked reports whether all edges that run would send requests to a gateway, so that the other one may go.
func (c *chaos) picked(gateway string) bool {
	for pop := range pops {
		states, err := c.n.gatewaysOf(c.t.Context(), "edge-"+pop)
		if err == nil && states[gateway] != "well" && states[gateway] != "warming" {
			return false
		}
	}
	return true
}

// happen lets events happen, each once in any order, and then again until the time is over.
func (c *chaos) happen(ctx context.Context, all []event, random *rand.Rand) error {
	for round := 0; ; round++ {
		for _, i := range random.Perm(len(all)) {
			if round > 0 && ctx.Err() != nil {
				return nil
			}
			c.t.Logf("%s %s", time.Now().Format("15:04:05.000"), all[i].name)
			if err := all[i].do(c, ctx, random); err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			hold(ctx, time.Duration(random.IntN(1000))*time.Millisecond)
		}
	}
}

// TestFleetChaos lets things happen to a network for a while: clients never see a failed request but at a PoP that is killed, never anything that a PoP has said to have
// forgotten, and when all is well again the whole fleet is one.
func TestFleetChaos(t *testing.T) {
	scenario(t, "fleet-chaos")
	seed := chaosSeed(t)
	long := chaosTime
	if os.Getenv("HITHER_SOAK") != "" {
		long = chaosSoakTime
	}
	c := newChaos(t, "127.33")
	c.storm(long, seed)
}

// storm lets events happen and then looks at what is left.
func (c *chaos) storm(long time.Duration, seed uint64) {
	t := c.t
	c.publisher = newPublisher(c.n, c.library, rand.New(rand.NewPCG(seed, 1)))
	if err := c.backUp(); err != nil {
		t.Fatal(err)
	}
	c.readers = c.n.read(t, c.library, seed)
	publishing, stop := context.WithCancel(t.Context())
	published := make(chan error, 1)
	go func() { published <- c.publisher.run(publishing) }()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	lanes := make(chan error, 2)
	go func() { lanes <- c.happen(ctx, hubEvents, rand.New(rand.NewPCG(seed, 2))) }()
	go func() { lanes <- c.happen(ctx, edgeEvents, rand.New(rand.NewPCG(seed, 3))) }()
	for range 2 {
		if err := <-lanes; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%s nothing happens any more", time.Now().Format("15:04:05.000"))
	stop()
	if err := <-published; err != nil {
		t.Error(err)
	}
	if wrong := c.alike(40 * time.Second); wrong != "" {
		t.Errorf("the fleet is not one:\n%s", wrong)
	}
	path, err := c.revision("rules: []", "rules: [] # the last")
	if err == nil {
		var doc control.RolloutDoc
		if doc, err = c.apply(path); err == nil && doc.Outcome != "stable" {
			err = fmt.Errorf("%s: %s", doc.Outcome, doc.Why)
		}
	}
	if err != nil {
		t.Errorf("a last revision, with all well: %v", err)
	}
	if wrong := c.alike(40 * time.Second); wrong != "" {
		t.Errorf("the fleet is not one after a last revision:\n%s", wrong)
	}
	c.readers.end()
	wrong := c.n.outdated(t, c.library, "fra", "iad", "sin")
	for _, w := range wrong[:min(len(wrong), 5)] {
		t.Errorf("what is left: %s", w)
	}
	t.Logf("%d purges in %d rounds, %d calls without a hub; %d answers, %d failed at PoPs that were not there", c.publisher.purged.Load(), c.publisher.rounds.Load(),
		c.publisher.refused.Load(), c.readers.good.Load(), c.readers.excused.Load())
	if c.publisher.purged.Load() < 20 || c.readers.good.Load() < 500 {
		t.Error("that is too little to show anything")
	}
	c.readers.lost.report(t)
	c.readers.stale.report(t)
	c.warnings()
}
