//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// soonSeen are the edits by which DNS soon knows which PoPs are up.
var soonSeen = []string{"fall: 3, rise: 2", "fall: 2, rise: 1", "interval: 2s, timeout: 1s", "interval: 500ms, timeout: 500ms"}

// operator has the container of the operator run a command, which must succeed.
func (c *composed) operator(t *testing.T, words ...string) string {
	t.Helper()
	return c.run(t, append([]string{"run", "--rm", "-T", "operator"}, words...)...)
}

// together waits until all nodes run a revision, and have heard all that was ordered.
func (c *composed) together(t *testing.T, revision int) {
	t.Helper()
	var last string
	if !until(readyTime, func() bool {
		// A node is healthy without the hub, so the control may not be there yet; then it says so.
		out, err := exec.CommandContext(t.Context(), c.path, c.args("run", "--rm", "-T", "operator", "fleet", "nodes", "-o", "json")...).Output()
		last = fmt.Sprintf("%s (%v)", out, err)
		return err == nil && together(string(out), revision, composedNodes)
	}) {
		t.Fatalf("not all run revision %d:\n%s", revision, last)
	}
}

// led leads the fleet by the container of the operator: what is purged is gone, and a network file is the next revision.
func (c *composed) led(t *testing.T, revision int) {
	t.Helper()
	c.together(t, revision)
	status := c.operator(t, "status")
	for _, node := range composedNodes {
		if !slices.ContainsFunc(strings.Split(status, "\n"), func(line string) bool {
			words := strings.Fields(line)
			return len(words) > 1 && words[0] == node && words[1] == "ready"
		}) {
			t.Errorf("status does not say that %s is ready:\n%s", node, status)
		}
	}
	c.purged(t, func() string { return c.operator(t, "purge", "all", "--wait", "-o", "json") })

	path := filepath.Join(c.folder, "network.yaml")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(edited(t, string(text), "rules: []", `rules: [{path: "/ruled/*", ttl: 1h}]`)), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out := c.operator(t, "fleet", "apply", "/network/network.yaml", "--yes", "--now"); !strings.Contains(out, fmt.Sprintf("revision %d: stable", revision+1)) {
		t.Errorf("apply:\n%s", out)
	}
	c.together(t, revision+1)
}

// purged holds a purge of everything to what its receipts say: each PoP has it stored before, and not after.
func (c *composed) purged(t *testing.T, purge func() string) {
	t.Helper()
	for pop := range pops {
		c.stored(t, pop)
		if !c.stored(t, pop) {
			t.Errorf("%s does not store the page", pop)
		}
	}
	var doc purgeDoc
	out := purge()
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatalf("purge: %v in %q", err, out)
	}
	if err := receipts(doc); err != nil {
		t.Error(err)
	}
	for pop := range pops {
		if c.stored(t, pop) {
			t.Errorf("%s has given its receipt, and has the page stored", pop)
		}
	}
}

// drained begins to drain a PoP. What it returns waits until that is over, and looks at what is then: Docker has started the node again, and it gets
// no clients.
func (c *composed) drained(t *testing.T, pop string) (over func()) {
	t.Helper()
	drain := start(t, c.path, c.args("run", "--rm", "-T", "operator", "drain", "pop", pop)...)
	return func() {
		t.Helper()
		if s := drain.status(t); s != 0 {
			t.Fatalf("drain: status %d: %s", s, drain.stderr)
		}
		if err := drainWords(pop, drain.stdout.String()); err != nil {
			t.Errorf("what the drain shows: %v\n%s", err, drain.stdout)
		}
		c.healthy(t)
		if got := c.inspect(t, "edge-"+pop).RestartCount; got != 1 {
			t.Errorf("edge-%s was started %d times again by Docker", pop, got)
		}
		address := c.net + "." + pops[pop]
		if got := c.ask(t, continents[pop], host, "A").records; len(got) != 1 || strings.HasSuffix(got[0], " "+address) {
			t.Errorf("a PoP that drained and runs again: clients get %q", got)
		}
	}
}

// undrained takes a drain back. Until then Docker had nothing to do again.
func (c *composed) undrained(t *testing.T, pop string) {
	t.Helper()
	c.operator(t, "drain", "pop", pop, "--undo")
	c.answers(t, continents[pop], pop)
	if got := c.inspect(t, "edge-"+pop).RestartCount; got != 1 {
		t.Errorf("edge-%s was started %d times again by Docker", pop, got)
	}
}

// TestComposeNATS makes three NATS servers the hub of the network in containers, by the commands that deploy/compose/README.md shows, and leads the
// fleet by the operator's container, also when one server was killed.
func TestComposeNATS(t *testing.T) {
	scenario(t, "compose-nats")
	c := composition(t, "127.61", "10.213.61")
	c.write(t, nil, soonSeen...)
	c.build(t)
	c.buildNATS(t)
	c.copied(t)
	steps := c.shown(t, "### A NATS cluster elsewhere")
	if len(steps) != 2 {
		t.Fatalf("the README shows %d times what to do, not twice", len(steps))
	}
	c.follow(t, steps[0])
	c.healthy(t)
	c.confined(t)
	c.confinedServers(t)
	c.trust(t)
	t.Log("the network is up")

	c.led(t, 1)
	t.Log("it is led")
	over := c.drained(t, "sin")
	if nodes := c.follow(t, steps[1]); strings.Count(nodes, "done") != len(pops) {
		t.Errorf("with two servers of three a purge is not done everywhere:\n%s", nodes)
	}
	if state := c.containers(t)["nats-n1"]; !strings.HasPrefix(state, "Up") {
		t.Errorf("the server that was killed and started: %s", state)
	}
	t.Log("one server was killed, and started again")
	over()
	c.undrained(t, "sin")
	c.together(t, 2)
	t.Log("a PoP was drained, and is back")
	c.run(t, "down")
	c.nothing(t)
}

// buildNATS makes the image of a NATS server, as the official one is: the program and nothing besides.
func (c *composed) buildNATS(t *testing.T) {
	t.Helper()
	program, err := os.ReadFile(buildNATS(t, "bin/nats-server"))
	folder := t.TempDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "nats-server"), program, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte("FROM scratch\nCOPY nats-server /\nENTRYPOINT [\"/nats-server\"]\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	docker(t, "build", "--quiet", "--tag", natsImage, folder)
}

// copied goes on with a copy of the compose files beside the scenario's settings and state, where the README's commands find them by their names.
func (c *composed) copied(t *testing.T) {
	t.Helper()
	c.settings = []string{"--project-name", project, "--env-file", filepath.Join(c.base, ".env")}
	for _, name := range []string{"docker-compose.yaml", "external-nats.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "deploy", "compose", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(c.base, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.settings = append(c.settings, "--file", filepath.Join(c.base, name))
	}
}

// shown returns the commands of a section of the README, block by block, with the scenario's addresses.
func (c *composed) shown(t *testing.T, heading string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", "compose", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the README has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for {
		_, rest, more := strings.Cut(section, "\n```sh\n")
		if !more {
			return blocks
		}
		block, rest, _ := strings.Cut(rest, "\n```\n")
		blocks = append(blocks, strings.ReplaceAll(block, "10.83.0.", c.bridge+"."))
		section = "\n" + rest
	}
}

// follow runs commands of the README, and returns what they write.
func (c *composed) follow(t *testing.T, commands string) string {
	t.Helper()
	return outputIn(t, c.base, "bash", "-euo", "pipefail", "-c", commands)
}

// confinedServers looks at what Docker lets the NATS servers be.
func (c *composed) confinedServers(t *testing.T) {
	t.Helper()
	for _, name := range []string{"n1", "n2", "n3"} {
		o := c.inspect(t, "nats-"+name)
		if wrong := o.loose(); wrong != nil {
			t.Errorf("nats-%s: %v; %+v", name, wrong, o)
		}
		if len(o.Mounts) != 2 {
			t.Errorf("nats-%s has %d mounts", name, len(o.Mounts))
		}
		for _, m := range o.Mounts {
			if m.RW && m.Source != filepath.Join(c.dir, "nodes", "hub-"+name) || !m.RW && m.Source != filepath.Join(c.dir, "nats") {
				t.Errorf("nats-%s sees %s at %s, writable: %t", name, m.Source, m.Destination, m.RW)
			}
		}
	}
}
