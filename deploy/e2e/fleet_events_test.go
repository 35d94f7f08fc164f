//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"hither/deploy/fleet/control"
)

// An event is something that happens, and is over when it returns.
type event struct {
	name string
	do   func(c *chaos, ctx context.Context, random *rand.Rand) error
}

// hubEvents happen to the hub and to what the fleet is told, edgeEvents to the other nodes. One of each goes on at a time.
var (
	hubEvents = []event{
		{"the hub is killed", (*chaos).hubKilled},
		{"the hub's disk is lost", (*chaos).hubLost},
		{"the hub's disk is full", (*chaos).hubFull},
		{"a good revision", (*chaos).good},
		{"a bad revision", (*chaos).bad},
	}
	edgeEvents = []event{
		{"an edge is killed", (*chaos).edgeKilled},
		{"an edge is cut off from the hub", (*chaos).edgeCut},
		{"a disk is full", (*chaos).diskFull},
		{"an edge's messages are slow", (*chaos).edgeSlow},
		{"the DNS server and the other gateway are killed", (*chaos).othersKilled},
	}
)

func (c *chaos) hubKilled(ctx context.Context, random *rand.Rand) error {
	c.gateways.Lock()
	defer c.gateways.Unlock()
	if err := c.kill("origin-us"); err != nil {
		return err
	}
	hold(ctx, time.Duration(random.IntN(3000))*time.Millisecond)
	return c.begin("origin-us")
}

// hubLost loses what the hub has. It is restored from a backup, which is older than what was lost, or begins with nothing.
func (c *chaos) hubLost(ctx context.Context, random *rand.Rand) error {
	c.gateways.Lock()
	defer c.gateways.Unlock()
	if err := c.kill("origin-us"); err != nil {
		return err
	}
	c.publisher.hubs.Add(1)
	files, err := filepath.Glob(filepath.Join(c.n.state("origin-us"), "hub", "*"))
	for _, file := range files {
		err = errors.Join(err, os.RemoveAll(file))
	}
	if err != nil {
		return err
	}
	if random.IntN(3) > 0 {
		if _, _, err := c.n.operate("fleet", "restore", c.backup); err != nil {
			return err
		}
	}
	hold(ctx, time.Duration(random.IntN(1000))*time.Millisecond)
	return c.begin("origin-us")
}

// backUp saves the authority and what the hub has.
func (c *chaos) backUp() error {
	c.backups++
	out := filepath.Join(filepath.Dir(c.n.dir), fmt.Sprintf("backup-%d.tar", c.backups))
	if _, _, err := c.n.operate("fleet", "backup", out); err != nil {
		return err
	}
	c.backup = out
	return nil
}

// revision writes the network file in force, with a change, to a file.
func (c *chaos) revision(old, now string) (path string, err error) {
	data, err := os.ReadFile(c.n.path())
	if err != nil {
		return "", err
	}
	i := bytes.Index(data, []byte(old))
	if i < 0 {
		return "", fmt.Errorf("there is no %q in %s", old, c.n.path())
	}
	end := i + bytes.IndexByte(data[i:], '\n')
	path = filepath.Join(filepath.Dir(c.n.dir), "next.yaml")
	return path, os.WriteFile(path, slices.Concat(data[:i], []byte(now), data[end:]), 0o600)
}

// hubTime is how long the hub may be away after an event that is over.
const hubTime = 30 * time.Second

// apply makes a file the next revision, one PoP first, and returns what became of it.
func (c *chaos) apply(path string) (doc control.RolloutDoc, err error) {
	var out string
	// A hub whose disk was full a moment ago may need longer than the command waits.
	until(hubTime, func() bool {
		out, _, err = c.n.operate("fleet", "apply", path, "--yes", "--window", "2s", "--requests", "20", "--patience", "20s", "-o", "json")
		return err == nil || !strings.Contains(err.Error(), "the hub does not answer")
	})
	if bad := json.Unmarshal([]byte(out), &doc); bad != nil {
		return doc, errors.Join(err, bad)
	}
	return doc, nil
}

// good makes a revision that harms nobody. Where its canary is killed or cut off meanwhile it goes back, and rightly so.
func (c *chaos) good(ctx context.Context, random *rand.Rand) error {
	c.rules++
	path, err := c.revision("rules: []", fmt.Sprintf("rules: [] # %d", c.rules))
	if err != nil {
		return err
	}
	doc, err := c.apply(path)
	if err != nil {
		return err
	}
	c.t.Logf("revision %d: %s: %s", doc.Number, doc.Outcome, doc.Why)
	return c.backUp()
}

// bad makes a revision that no node can take: it must come to one PoP and no other node.
func (c *chaos) bad(ctx context.Context, random *rand.Rand) error {
	path, err := c.revision("rules: []", fmt.Sprintf("rules: []\n  - {name: bad, hosts: [bad.hither.test], origin: us, trust: main, tls: {certificate: {cert: %[1]s, key: %[1]s}}}",
		filepath.Join(c.n.dir, "nowhere.pem")))
	if err != nil {
		return err
	}
	for _, node := range chaosNodes {
		for _, name := range []string{"refused.yaml", "refused.txt"} {
			if err := os.Remove(filepath.Join(c.n.state(node), "revision", name)); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	doc, err := c.apply(path)
	if err != nil {
		return err
	}
	c.t.Logf("revision %d: %s: %s", doc.Number, doc.Outcome, doc.Why)
	if doc.Outcome == "stable" {
		return fmt.Errorf("a bad revision is in force: %s", doc.Why)
	}
	return onlyAt(doc.Canary, c.n.refusedAt(c.t, chaosNodes...))
}

// onlyAt says that others than the canary had a bad revision. That it had none itself is possible: it may have been away.
func onlyAt(canary string, had []string) error {
	if had = slices.DeleteFunc(had, func(node string) bool { return node == canary }); len(had) > 0 {
		return fmt.Errorf("a bad revision came to %s; the canary was %s", strings.Join(had, ", "), canary)
	}
	return nil
}

// anEdge is one of the PoPs' nodes.
func anEdge(random *rand.Rand) string {
	return []string{"edge-fra", "edge-iad", "edge-sin"}[random.IntN(3)]
}

func (c *chaos) edgeKilled(ctx context.Context, random *rand.Rand) error {
	node := anEdge(random)
	if err := c.kill(node); err != nil {
		return err
	}
	hold(ctx, time.Duration(random.IntN(3000))*time.Millisecond)
	return c.begin(node)
}

func (c *chaos) edgeCut(ctx context.Context, random *rand.Rand) error {
	node := anEdge(random)
	c.relay.set(node, []road{cut, silent}[random.IntN(2)])
	hold(ctx, time.Duration(2000+random.IntN(4000))*time.Millisecond)
	if random.IntN(2) == 0 { // what it has on disk is behind, and so is its word on how far it is
		if err := c.kill(node); err != nil {
			return err
		}
		if err := c.begin(node); err != nil {
			return err
		}
	}
	c.relay.set(node, open)
	return nil
}

func (c *chaos) edgeSlow(ctx context.Context, random *rand.Rand) error {
	node := anEdge(random)
	c.relay.set(node, slow)
	hold(ctx, time.Duration(2000+random.IntN(3000))*time.Millisecond)
	c.relay.set(node, open)
	return nil
}

// diskFull leaves a PoP no byte on its disk, kills it then or not, and gives it room again.
func (c *chaos) diskFull(ctx context.Context, random *rand.Rand) error {
	filler, err := fill(c.n.state("edge-sin"))
	if err != nil {
		return err
	}
	hold(ctx, time.Duration(1000+random.IntN(2000))*time.Millisecond)
	again := random.IntN(2) == 0
	if again {
		if err := c.kill("edge-sin"); err != nil {
			return err
		}
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if again {
		return c.begin("edge-sin")
	}
	return nil
}

// hubFull leaves the hub no byte on its disk for a while.
func (c *chaos) hubFull(ctx context.Context, random *rand.Rand) error {
	filler, err := fill(filepath.Join(c.n.state("origin-us"), "hub"))
	if err != nil {
		return err
	}
	hold(ctx, time.Duration(1000+random.IntN(3000))*time.Millisecond)
	return os.Remove(filler)
}

// fill takes all room on the disk of a folder by a file.
func fill(folder string) (filler string, err error) {
	filler = filepath.Join(folder, "filler")
	f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, endless{})
	if err = errors.Join(err, f.Close()); !errors.Is(err, syscall.ENOSPC) {
		return "", fmt.Errorf("the disk of %s does not become full: %w", folder, err)
	}
	return filler, nil
}

// endless has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func (c *chaos) othersKilled(ctx context.Context, random *rand.Rand) error {
	c.gateways.Lock()
	defer c.gateways.Unlock()
	for _, node := range []string{"dns-ns1", "origin-us-2"} {
		if err := c.kill(node); err != nil {
			return err
		}
		if err := c.begin(node); err != nil {
			return err
		}
	}
	return nil
}
