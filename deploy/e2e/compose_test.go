//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// large is a file of which a client that takes it slowly has much to come when its edge is
// told to stop, whatever buffers are in between.
const large, largeBytes, slowly = "/large.bin", 48 << 20, "4M"

// TestCompose runs the network of deploy/compose as its README says: the same questions
// and fetches as anywhere else, a fleet that is led, an edge that is stopped in the middle of downloads, and
// everything again from the state that the first run left.
func TestCompose(t *testing.T) {
	scenario(t, "compose")
	peer(t, "curl", "curl")
	c := composition(t, "127.60", "10.213.60")
	content := make([]byte, largeBytes)
	rand.NewChaCha8([32]byte{}).Read(content)
	c.write(t, map[string][]byte{"site/index.html": []byte("<h1>from a container</h1>"), "site" + large: content},
		append([]string{`folder: ""`, "folder: /network/site"}, soonSeen...)...)
	c.build(t)
	c.up(t)
	c.confined(t)
	c.alone(t)
	for place, client := range continents {
		c.answers(t, client, place)
	}
	c.fetches(t)

	t.Log("the fleet is led")
	c.led(t, 1)
	over := c.drained(t, "sin")

	t.Log("an edge is stopped while clients download")
	downloads := []*download{c.download(t, "--http1.1", "fra"), c.download(t, "--http2", "fra")}
	for _, d := range downloads {
		if !until(hangTime, func() bool { return d.size() > largeBytes/16 }) {
			t.Fatalf("%s has %d bytes", d.p.cmd, d.size())
		}
	}
	stopped := start(t, c.path, c.args("stop", "edge-fra")...)
	var sizes []int64
	for _, d := range downloads {
		sizes = append(sizes, d.size())
	}
	c.answers(t, continents["fra"], "iad")
	for i, d := range downloads {
		if s := d.p.status(t); s != 0 {
			t.Errorf("%s: status %d: %s", d.p.cmd, s, d.p.stderr)
		}
		if sizes[i] > largeBytes*3/4 {
			t.Errorf("%s had %d bytes already when the edge was stopped", d.p.cmd, sizes[i])
		}
		got, err := os.ReadFile(d.file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes differ from the %d of the file, from byte %d on", d.p.cmd, len(got), largeBytes, firstDifference(got, content))
		}
	}
	if s := stopped.status(t); s != 0 {
		t.Errorf("%s: status %d: %s", stopped.cmd, s, stopped.stderr)
	}
	if state := c.containers(t)["edge-fra"]; !strings.HasPrefix(state, "Exited (0)") {
		t.Errorf("the edge that was stopped: %s", state)
	}
	if log := c.run(t, "logs", "--no-color", "edge-fra"); strings.Count(log, `"target":"`+large+`","`) != len(downloads) {
		t.Errorf("the log of the edge does not have the %d downloads:\n%s", len(downloads), log)
	}
	c.run(t, "start", "edge-fra")
	c.answers(t, continents["fra"], "fra")
	over()
	c.undrained(t, "sin")

	t.Log("down, and up again")
	key := filepath.Join(c.dir, "nodes", "edge-fra", "identity", "node.key")
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, "down")
	c.nothing(t)
	c.up(t)
	if after, err := os.ReadFile(key); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the second start made another key (%v)", err)
	}
	for place, client := range continents {
		c.answers(t, client, place)
	}
	c.fetches(t)
	c.together(t, 2)
}

// continents have a client each, by the PoP that is theirs.
var continents = map[string]string{"fra": "193.0.6.0/24", "iad": "24.48.0.0/24", "sin": "165.21.83.0/24"}

// answers asks the DNS server, as soon as it knows of its PoPs, where a client goes: over
// UDP and TCP, for addresses and for the service.
func (c *composed) answers(t *testing.T, client, pop string) {
	t.Helper()
	address := c.net + "." + pops[pop]
	if !until(endTime, func() bool {
		got := c.ask(t, client, host, "A").records
		return len(got) == 1 && strings.HasSuffix(got[0], " "+address)
	}) {
		t.Errorf("clients in %s do not get %s: %v", client, pop, c.ask(t, client, host, "A").records)
	}
	x := c.explain(t, client)
	if !slices.Equal(x.Answer.PoPs, []string{pop}) || x.Place.Source != "embedded" || x.Scope < 1 || x.Scope > 24 {
		t.Errorf("the explanation for %s: %+v", client, x)
	}
	service := "_8443._https." + host
	for _, q := range []struct {
		words   []string
		name    string
		records []string
	}{
		{[]string{host, "A"}, host, []string{host + ". 1 IN A " + address}},
		{[]string{"+tcp", host, "A"}, host, []string{host + ". 1 IN A " + address}},
		{[]string{service, "HTTPS"}, service, []string{service + ". 1 IN HTTPS 1 " + host + ". alpn=h3,h2 port=8443 ipv4hint=" + address}},
	} {
		want := expected{flags: "qr aa", name: q.name + ".", scope: x.Scope, records: q.records}
		if err := c.ask(t, client, q.words...).differs(want); err != nil {
			t.Errorf("%s: %v", client, err)
		}
	}
}

// fetches gets a page through each edge, over each protocol: by curl at the address that
// DNS gives, and by HTTP/3.
func (c *composed) fetches(t *testing.T) {
	t.Helper()
	c.trust(t)
	for place, client := range continents {
		records := c.ask(t, client, host, "A").records
		if len(records) != 1 {
			t.Fatalf("clients in %s get %v", client, records)
		}
		address := records[0][strings.LastIndexByte(records[0], ' ')+1:]
		for _, proto := range []string{"--http1.1", "--http2"} {
			p := start(t, "curl", c.curl(address, proto, "--include", site+"/")...)
			if s := p.status(t); s != 0 {
				t.Errorf("%s: status %d: %s", p.cmd, s, p.stderr)
			}
			said := strings.ToLower(p.stdout.String())
			if !strings.Contains(said, "\ncache-status: "+place+";") || !strings.HasSuffix(said, "<h1>from a container</h1>") {
				t.Errorf("%s:\n%s", p.cmd, said)
			}
		}
		if got := c.via(t, "h3", place).must(t, "/"); got.status != 200 || !strings.HasPrefix(got.verdict(), place+";") {
			t.Errorf("h3 through %s: status %d, Cache-Status: %s", place, got.status, got.verdict())
		}
	}
}

// A download is a curl that takes the large file slowly.
type download struct {
	p    *process
	file string
}

func (c *composed) download(t *testing.T, proto, pop string) *download {
	t.Helper()
	d := &download{file: filepath.Join(t.TempDir(), "got")}
	d.p = start(t, "curl", c.curl(c.net+"."+pops[pop], proto, "--limit-rate", slowly, "--output", d.file, site+large)...)
	return d
}

func (d *download) size() int64 {
	info, err := os.Stat(d.file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// curl is a call of curl that finds the site at an address.
func (c *composed) curl(address string, args ...string) []string {
	return append([]string{
		"--silent", "--show-error", "--fail", "--max-time", fmt.Sprint(int(endTime / time.Second)),
		"--cacert", filepath.Join(c.dir, "ca.pem"), "--resolve", fmt.Sprintf("%s:8443:%s", host, address),
	}, args...)
}
