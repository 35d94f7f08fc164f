//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A standing is how a node stands in the fleet: whether the hub lets it in, and what a client gets there that must come from the origin.
type standing struct {
	member bool
	status int
}

// outcast says what is wrong with how a node stands whose identity is revoked, or is not.
func outcast(s standing, revoked bool) error {
	switch {
	case revoked && s.member:
		return errors.New("its identity is revoked, and the hub has it still")
	case revoked && s.status != http.StatusBadGateway:
		return fmt.Errorf("its identity is revoked, and a gateway serves it: status %d", s.status)
	case !revoked && !s.member:
		return errors.New("the hub does not let it in")
	case !revoked && s.status != http.StatusOK:
		return fmt.Errorf("no gateway serves it: status %d", s.status)
	}
	return nil
}

// stands finds out how an edge stands; path is one that nobody has asked for.
func (n *network) stands(t *testing.T, pop, path string) standing {
	t.Helper()
	member, _, err := n.hears(t, "edge-"+pop)
	if err != nil {
		t.Fatal(err)
	}
	return standing{member, n.via(t, "h2", pop).must(t, path).status}
}

// stand waits until edges stand as they should.
func (n *network) stand(t *testing.T, revoked bool, all ...string) {
	t.Helper()
	k := 0
	for _, pop := range all {
		var err error
		if !until(endTime, func() bool {
			k++
			err = outcast(n.stands(t, pop, fmt.Sprintf("/short/%s/%s/%d", t.Name(), pop, k)), revoked)
			return err == nil
		}) {
			t.Errorf("edge-%s: %v", pop, err)
		}
	}
}

// done calls the program, which must end with status 0 and write each word.
func (n *network) done(t *testing.T, words []string, args ...string) string {
	t.Helper()
	out, stderr, status := call(t, append(args, "--state", n.dir)...)
	if status != 0 {
		t.Fatalf("hither %s: status %d, %s%s", strings.Join(args, " "), status, out, stderr)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("hither %s does not say %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
	return out
}

// again kills a node and starts it by hand; by is its process where it was started so before.
func (n *network) again(t *testing.T, node string, by *process, between func()) *process {
	t.Helper()
	if by != nil {
		by.cmd.Process.Kill()
		<-by.done
	} else if n.signal(t, node, syscall.SIGKILL); !n.up.stderr.wait(endTime, node+" ended", 1) {
		t.Fatalf("%s was killed and runs", node)
	}
	between()
	role, name, _ := strings.Cut(node, "-")
	p := start(t, program, role, "--name", name, "--state", n.state(node))
	n.await(t, node, p)
	return p
}

// TestFleetIdentity revokes, adds, renews and rotates identities while the network runs, and loses the hub's disk after a backup.
func TestFleetIdentity(t *testing.T) {
	scenario(t, "fleet-identity")
	a := newApp(t, "127.37")
	shortly(a)
	n := run(t, setup{net: "127.37", origin: a.url, edit: soonForgotten})
	n.hear(t, members, true, 1)
	certificate := func(node string) []byte {
		data, err := os.ReadFile(filepath.Join(n.state(node), "identity", "node.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	n.stand(t, false, "fra", "iad", "sin")
	keeps := n.via(t, "h2", "fra")
	keeps.must(t, "/short/first")

	t.Log("calls that are refused, without effect")
	damaged := filepath.Join(t.TempDir(), "damaged.tar")
	if err := os.WriteFile(damaged, bytes.Repeat([]byte("x"), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		call   string
		status int
		word   string
	}{
		{"revoke nonsense", 2, "ROLE-NAME"},
		{"revoke edge-nope", 1, "never issued"},
		{"revoke origin-us", 1, "--force"},
		{"revoke operator-main", 1, "last operator"},
		{"add pop fra", 1, "--again"},
		{"add pop x_y", 2, "x_y"},
		{"add tree oak", 2, "tree"},
		{"renew edge-nope", 1, "never issued"},
		{"rotate abandon", 1, "no rotation"},
		{"restore " + damaged, 1, "no backup"},
		{"restore /nonexistent", 2, "/nonexistent"},
		{"backup " + damaged, 2, "there already"},
		{"move-hub nope --url tls://127.37.0.2:4222", 2, "no gateway"},
	} {
		stdout, stderr, status := call(t, append(append([]string{"fleet"}, strings.Fields(c.call)...), "--state", n.dir)...)
		if err := oneLine(stdout, stderr, status, c.status, c.word); err != nil {
			t.Errorf("fleet %s: %v", c.call, err)
		}
	}

	t.Log("revoked: neither the hub nor a gateway has the node any more")
	var doc struct {
		Schema, Node string
		Behind       []string
	}
	out := n.done(t, nil, "fleet", "revoke", "edge-sin", "--why", "a test", "-o", "json")
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Schema != "hither/revoked/1" || doc.Node != "edge-sin" || len(doc.Behind) > 0 {
		t.Errorf("revoke: %v, %s", err, out)
	}
	n.stand(t, true, "sin")
	n.stand(t, false, "fra", "iad")
	sin := n.again(t, "edge-sin", nil, func() {})
	n.stand(t, true, "sin")
	n.again(t, "edge-sin", sin, func() { n.done(t, []string{"edge-sin"}, "fleet", "add", "pop", "sin", "--again") })
	n.stand(t, false, "sin")

	t.Log("renewed, and then by another authority")
	before := certificate("edge-fra")
	n.done(t, []string{"identities renewed: "}, "fleet", "renew", "--all")
	renewed := certificate("edge-fra")
	if bytes.Equal(before, renewed) {
		t.Error("edge-fra has the certificate of before")
	}
	n.done(t, []string{"all nodes believe both"}, "fleet", "rotate", "begin")
	n.done(t, []string{"stage trust", "edge-fra\tready"}, "fleet", "rotate", "status")
	n.done(t, []string{"believe the new authority alone"}, "fleet", "rotate", "finish")
	n.done(t, []string{"no rotation is under way"}, "fleet", "rotate", "finish")
	if bytes.Equal(renewed, certificate("edge-fra")) {
		t.Error("edge-fra has a certificate of the authority that is gone")
	}
	n.stand(t, false, "fra", "iad", "sin")
	if keeps.must(t, "/short/last"); keeps.dials.Load() != 1 {
		t.Errorf("a client needed %d connections", keeps.dials.Load())
	}

	t.Log("the hub's disk is lost, and restored")
	n.done(t, nil, "fleet", "token", "add", "cms")
	n.done(t, nil, "purge", "tag", "red", "--wait")
	for pop := range pops {
		n.via(t, "h2", pop).must(t, "/keep/1")
	}
	tar := filepath.Join(t.TempDir(), "backup.tar")
	n.done(t, []string{"hub: true"}, "fleet", "backup", tar)
	n.again(t, "origin-us", nil, func() {
		if err := os.RemoveAll(filepath.Join(n.state("origin-us"), "hub")); err != nil {
			t.Fatal(err)
		}
		n.done(t, []string{"hub: "}, "fleet", "restore", tar)
	})
	n.hear(t, members, true, 1)
	n.done(t, []string{"cms"}, "fleet", "token", "list")
	if out := n.done(t, nil, "purge", "tag", "blue", "--wait"); strings.HasPrefix(out, "purge 1:") {
		t.Errorf("numbers of purges begin anew: %s", out)
	}
	for pop := range pops {
		if k := n.counters(t, "edge-"+pop).sum("hither_fleet_flushes_total", "reason", "journal"); k != 1 {
			t.Errorf("%s held what it has for stale %d times after the hub's journal was lost, not once", pop, k)
		}
	}
	n.stand(t, false, "fra", "iad", "sin")

	t.Log("a hub of the new authority: what the fleet decides comes to the network file of `up`, which began with the old one")
	path := filepath.Join(n.dir, "network.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := string(text) + "# decided after the rotation\n"
	n.done(t, nil, "fleet", "apply", n.revised(t, "next.yaml", next), "--now", "--yes")
	if !until(time.Minute, func() bool {
		now, err := os.ReadFile(path)
		return err == nil && string(now) == next
	}) {
		t.Error("the network file did not follow")
	}

	t.Log("the checker, held to faults")
	for name, err := range map[string]error{
		"a revoked member":         outcast(standing{true, http.StatusBadGateway}, true),
		"a gateway that serves it": outcast(standing{false, http.StatusOK}, true),
		"a good node left out":     outcast(standing{false, http.StatusOK}, false),
		"a good node not served":   outcast(standing{true, http.StatusBadGateway}, false),
	} {
		if err == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}
