package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
	"hither/edge/node"
)

func refusedWith(status int, says string) error {
	return fmt.Errorf("ops: ask: %w", &ops.Refusal{Status: status, Cause: errors.New(says)})
}

// What the edges say becomes one document, and what is wrong with the call one line.
func TestPurgeWords(t *testing.T) {
	call := node.PurgeCall{Kind: "url", Value: "www.test/", Soft: true}
	nodes := []string{"/s/edge-sin", "/s/edge-fra"}
	sin := node.PoPPurge{PoP: "sin", State: "done", MS: 2, Objects: 3, Fills: 1}
	host := refusedWith(http.StatusNotFound, `proxy: no site has the host "www.test"`)
	for _, c := range []struct {
		errs     []error
		states   string
		complete bool
		status   int
		says     string
	}{
		{[]error{nil, nil}, "fra done, sin done", true, 0, ""},
		{[]error{nil, host}, "fra done, sin done", true, 0, ""},
		{[]error{nil, fmt.Errorf("x: %w", ops.ErrNotRunning)}, "fra away, sin done", false, 0, ""},
		{[]error{nil, errors.New("reset")}, "fra failed, sin done", false, 0, ""},
		{[]error{host, host}, "", false, exitWrong, "no site has the host"},
		{[]error{nil, refusedWith(http.StatusBadRequest, "cache: malformed request target")}, "", false, exitUsage, "malformed request target"},
	} {
		pops := []node.PoPPurge{sin, {PoP: "fra", State: "done", MS: 1}}
		p, err := purgeWords(call, nodes, pops, c.errs)
		var exit *exitError
		if c.status != 0 {
			if !errors.As(err, &exit) || exit.status != c.status || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v: %v", c.errs, err)
			}
			continue
		}
		var states []string
		for _, x := range p.PoPs {
			states = append(states, x.PoP+" "+x.State)
		}
		if err != nil || strings.Join(states, ", ") != c.states || p.Complete != c.complete {
			t.Errorf("%v: %v, %+v", c.errs, err, p)
		}
	}
}

// networkOf is a network file with these PoPs.
func networkOf(pops ...string) []byte {
	var b bytes.Buffer
	b.WriteString("version: 1\nname: demo\norigins:\n  - {name: us, gateway: {addresses: [\"127.0.2.1:9443\"]}, app: {static: {}}}\n" +
		"sites:\n  - {name: www, hosts: [www.example.org], origin: us}\npops:\n")
	for i, name := range pops {
		fmt.Fprintf(&b, "  - {name: %s, place: {lat: 50.11, lon: 8.68}, addresses: [127.0.1.%d]}\n", name, i+1)
	}
	return b.Bytes()
}

// fakeEdges are edges of which only the socket is there, and a network file that names them. told gets their names as purges come; those in shields say that they
// are shields, and those in silent have no status to give.
func fakeEdges(t *testing.T, names, shields, silent []string) (dir string, told func() []string) {
	t.Helper()
	dir = t.TempDir()
	var mu sync.Mutex
	var order []string
	up := upState{Schema: "hither/up/1"}
	for _, name := range names {
		folder := filepath.Join(dir, "nodes", "edge-"+name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		up.Nodes = append(up.Nodes, upChild{Node: "edge-" + name, Socket: filepath.Join(folder, ops.SocketName)})
		a := ops.NewAdmin()
		if !slices.Contains(silent, name) {
			a.Handle("GET /v1/status", func(*http.Request) (string, any, error) {
				s := ops.NodeStatus{Node: "edge-" + name}
				if slices.Contains(shields, name) {
					s.ShieldOf = []string{"us"}
				}
				return "status", ops.Status{Nodes: []ops.NodeStatus{s}}, nil
			})
		}
		a.Handle("POST /v1/purge", func(r *http.Request) (string, any, error) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return "purge", node.Join(node.PurgeCall{Kind: "all"}, []node.PoPPurge{{PoP: name, State: "done", MS: 1, Objects: 2}}), nil
		})
		if err := a.Open(folder); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close(context.Background()) })
	}
	if err := errors.Join(writeJSON(filepath.Join(dir, "up.json"), up), replace(filepath.Join(dir, "network.yaml"), networkOf(names...))); err != nil {
		t.Fatal(err)
	}
	return dir, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return order
	}
}

// No edge is told before the one that it may fetch from.
func TestPurgeOrder(t *testing.T) {
	for _, c := range []struct {
		shields, silent []string
		rounds          []string // sorted within
	}{
		{nil, nil, []string{"fra iad sin"}},
		{[]string{"iad"}, nil, []string{"iad", "fra sin"}},
		{nil, []string{"iad"}, []string{"iad", "fra sin"}},
		{[]string{"iad", "sin"}, nil, []string{"iad sin", "fra iad sin"}},
	} {
		dir, told := fakeEdges(t, []string{"fra", "iad", "sin"}, c.shields, c.silent)
		done, err := purgeAll(t.Context(), dir, node.PurgeCall{Kind: "all"})
		if err != nil || !done.Complete || len(done.PoPs) != 3 {
			t.Fatalf("%+v: %v, %+v", c, err, done)
		}
		order := told()
		for _, round := range c.rounds {
			n := min(len(strings.Fields(round)), len(order))
			got := slices.Sorted(slices.Values(order[:n]))
			if order = order[n:]; strings.Join(got, " ") != round {
				t.Errorf("shields %v: a round of %v, want %s", c.shields, got, round)
			}
		}
		if len(order) > 0 {
			t.Errorf("shields %v: %v told too often", c.shields, order)
		}
		for _, p := range done.PoPs { // what was found in two rounds adds up
			want := 2
			if len(c.shields) > 1 && slices.Contains(c.shields, p.PoP) {
				want = 4
			}
			if p.Objects != want {
				t.Errorf("shields %v: %s found %d objects, want %d", c.shields, p.PoP, p.Objects, want)
			}
		}
	}
}

// A PoP of the network file whose node runs elsewhere is not told, and the purge is not complete.
func TestPurgeElsewhere(t *testing.T) {
	dir, told := fakeEdges(t, []string{"fra", "sin"}, nil, nil)
	purge := func() (status int, stdout, stderr string) {
		var out, errs bytes.Buffer
		status = run(t.Context(), []string{"purge", "tag", "red", "--wait", "--state", dir, "-o", "json"}, &out, &errs)
		return status, out.String(), errs.String()
	}
	if status, stdout, stderr := purge(); status != 0 || !strings.Contains(stdout, `"complete": true`) {
		t.Errorf("all are here: status %d\n%s%s", status, stdout, stderr)
	}
	network := filepath.Join(dir, "network.yaml")
	if err := replace(network, networkOf("fra", "iad", "sin")); err != nil {
		t.Fatal(err)
	}
	var p node.Purge
	status, stdout, stderr := purge()
	if err := json.Unmarshal([]byte(stdout), &p); err != nil {
		t.Fatal(err)
	}
	if status != exitWrong || p.Complete || len(p.PoPs) != 3 || p.PoPs[1].PoP != "iad" || p.PoPs[1].State != "away" || !strings.Contains(p.PoPs[1].Error, "runs elsewhere") ||
		!strings.Contains(stderr, "tell it again") {
		t.Errorf("one is elsewhere: status %d\n%s%s", status, stdout, stderr)
	}
	// Several are one document, as where the control does them.
	var several struct {
		Schema   string
		Purges   []node.Purge
		Complete bool
	}
	for pops, complete := range map[string]bool{"fra sin": true, "fra iad sin": false} {
		if err := replace(network, networkOf(strings.Fields(pops)...)); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		run(t.Context(), []string{"purge", "tag", "red", "blue", "--state", dir, "-o", "json"}, &out, &errs)
		if err := json.Unmarshal(out.Bytes(), &several); err != nil || several.Schema != "hither/purges/1" || several.Complete != complete || len(several.Purges) != 2 {
			t.Errorf("several, of %s: %v\n%s%s", pops, err, &out, &errs)
		}
	}
	// What cannot be read is what the nodes have in use.
	state := filepath.Join(dir, "nodes", "edge-fra")
	if err := errors.Join(replace(network, []byte("pops: x")), fleet.RevisionsIn(state).Accept(networkOf("fra", "sin", "syd"))); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := purge(); status != exitWrong || !strings.Contains(stdout, "syd") || !strings.Contains(stderr, "not every PoP has done it") {
		t.Errorf("by the file of a node: status %d\n%s%s", status, stdout, stderr)
	}
	if err := os.RemoveAll(filepath.Join(state, "revision")); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := purge(); status != exitWrong || strings.Contains(stdout, `"complete": true`) || !strings.Contains(stderr, "which PoPs there are is not known") {
		t.Errorf("no file: status %d\n%s%s", status, stdout, stderr)
	}
	if n := len(told()); n != 16 {
		t.Errorf("the two that are here were told %d times", n)
	}
}

// Without its hub a fleet's purge is told by sockets, and who asked hears that the hub does not know of it.
func TestPurgeHubAway(t *testing.T) {
	dir, _ := fakeEdges(t, []string{"fra"}, nil, nil)
	authority, err := fleet.OpenAuthority(filepath.Join(dir, "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := &deploy.Hub{URLs: []string{"tls://127.0.0.1:1"}, EmbeddedIn: "us"}
	if _, err := authority.Issue(filepath.Join(dir, fleet.OperatorFolder), fleet.RoleOperator, fleet.FirstOperator, nowhere); err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(dir, "network.yaml"), networkOf("fra", "iad")); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"purge", "all", "--wait", "--state", dir}, &out, &errs)
	if status != exitWrong || !strings.Contains(out.String(), "fra  done") || !strings.Contains(out.String(), "iad  away   -        -      -\n") ||
		!strings.Contains(errs.String(), "the hub has not heard of it") || !strings.Contains(errs.String(), "tell it again when the hub answers") {
		t.Errorf("status %d\n%s%s", status, out.String(), errs.String())
	}
}

func TestPrintPurge(t *testing.T) {
	var b bytes.Buffer
	printPurge(&b, node.Join(node.PurgeCall{Kind: "tag", Value: "red", Soft: true}, []node.PoPPurge{
		{PoP: "fra", State: "done", MS: 1.26, Objects: 3, Fills: 1}, {PoP: "iad", State: "done"}, {PoP: "sin", State: "away", Error: "nobody answers"},
	}))
	want := "purge tag red, soft\n\nPOP  STATE  OBJECTS  FILLS  TIME\nfra  done   3        1      1.3 ms\niad  done   0        0      -\nsin  away   -        -      -\nsin: nobody answers\n"
	if b.String() != want {
		t.Errorf("%q", b.String())
	}
	if got := tagWords(strings.Fields(strings.Repeat("x ", 14))); !strings.HasSuffix(got, "x, x and 2 more") {
		t.Error(got)
	}
}

// A call that is wrong ends with 2 and one line, one about a network that is not there with 1.
func TestPurgeCalls(t *testing.T) {
	empty, sleeping := t.TempDir(), t.TempDir()
	up := upState{Schema: "hither/up/1", Nodes: []upChild{{Node: "edge-fra", Socket: filepath.Join(sleeping, "nodes", "edge-fra", ops.SocketName)}, {Node: "dns-ns1", Socket: filepath.Join(sleeping, "nodes", "dns-ns1", ops.SocketName)}}}
	if err := errors.Join(writeJSON(filepath.Join(sleeping, "up.json"), up), replace(filepath.Join(sleeping, "network.yaml"), networkOf("fra"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, exitUsage, "purge what?"},
		{[]string{"--all", "--tag", "x"}, exitUsage, "--tag and --all: one kind of purge at a time"},
		{[]string{"--url", "x", "--prefix", "x", "--host", "x"}, exitUsage, "--url, --prefix and --host: one kind of purge at a time"},
		{[]string{"--all", "--timeout", "-1s", "--state", sleeping}, exitUsage, "--timeout -1s"},
		{[]string{"all", "--timeout", "0s", "--state", sleeping}, exitUsage, "--timeout 0s"},
		{[]string{"all", "--timeout", "601s", "--state", sleeping}, exitUsage, "10m at most"},
		{[]string{"--tag", strings.Repeat("x", bus.MostOrderBytes+1)}, exitUsage, "8192 are taken at most"},
		{[]string{"x"}, exitUsage, "unknown command"},
		{[]string{"url"}, exitUsage, "at least 1 arg"},
		{[]string{"all", "x"}, exitUsage, "unknown command"},
		{append([]string{"tag"}, slices.Repeat([]string{"x"}, bus.MostOrders+1)...), exitUsage, "513 purges at once"},
		{[]string{"tag", "x", "--bundle", filepath.Join(empty, "none")}, exitUsage, "--bundle"},
		{[]string{"all", "--state", sleeping}, exitWrong, "not every PoP has done it"},
		{[]string{"--all", "--state", filepath.Join(empty, "none")}, exitUsage, "--state"},
		{[]string{"--all", "--state", empty}, exitWrong, "no network runs"},
		{[]string{"--all", "--state", sleeping}, exitWrong, "not every PoP has done it"},
	} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), append([]string{"purge"}, c.args...), &out, &errs); status != c.status || !strings.Contains(errs.String(), c.says) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%.60q: status %d, %q", c.args, status, errs.String())
		}
		if c.says == "not every PoP has done it" && (!strings.Contains(out.String(), "fra  away") || strings.Contains(out.String(), "ns1")) {
			t.Errorf("printed %q", out.String())
		}
	}
}

// edges answer the fleet's purges and warm what they are told to, but for those in away.
func (f *smallFleet) edges(names ...string) {
	f.t.Helper()
	operator := f.identity(fleet.OperatorFolder)
	for _, name := range names {
		conn, err := bus.Dial(bus.Options{URLs: operator.Hub, Embedded: "us", Identity: f.identity("nodes/edge-" + name + "/identity"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(conn.Close)
		live := func(m *bus.Message) {
			var b bus.Batch
			if bus.Decode(m.Data, &b) == nil {
				conn.Publish(bus.UpSubject("edge", name, bus.UpReceipt), bus.Encode(bus.Receipt{
					At: bus.Position{Journal: b.Journal, Sequence: m.Sequence}, Done: []bus.Done{{ID: b.First, Objects: 2, Fills: 1}},
				}))
			}
		}
		warm := func(m *bus.Message) {
			doc := fmt.Sprintf(`{"urls":[{"url":"www.example.org/a","status":200,"verdict":"uri-miss","stored":true,"bytes":3,"ms":1.5},{"url":"www.example.org/b","error":"from %s"}]}`, name)
			m.Respond(bus.Encode(bus.Answer{Status: 200, Doc: []byte(doc)}))
		}
		for subject, take := range map[string]func(*bus.Message){bus.LiveJournal: live, bus.CallSubject("edge", name): warm} {
			if _, err := conn.Subscribe(subject, take); err != nil {
				f.t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
		defer cancel()
		for conn.Flush(ctx) != nil && ctx.Err() == nil {
		}
	}
}

// TestFleetPurge purges, warms and makes tokens with the program itself.
func TestFleetPurge(t *testing.T) {
	f := newSmallFleet(t)
	f.edges("fra")
	f.does(1, []string{"purge 1: tag red, soft\n\nPOP  STATE    OBJECTS  FILLS  TIME\nfra  done     2        1 ", " ms\niad  pending  -        -      -\n", "within 2s", "hither fleet purges"},
		"purge", "tag", "red", "--soft", "--wait", "--timeout", "2s")
	f.does(1, []string{"purge 2: url www.example.org/a\n", "within 100ms"}, "purge", "--url", "www.example.org/a", "--timeout", "100ms")
	f.edges("iad")
	f.does(0, []string{"purge 3: all\n", "fra  done", "iad  done"}, "purge", "all", "--wait")
	f.does(0, []string{"purge 4: host www.example.org\n"}, "purge", "host", "www.example.org")
	out := f.does(0, []string{`"schema": "hither/purge/1"`, `"complete": true`, `"id": 5`, `"p99_ms"`}, "purge", "prefix", "www.example.org/x", "--wait", "-o", "json")
	if strings.Contains(out, "null") {
		t.Error(out)
	}
	f.does(0, []string{"purge 6: tag a", "purge 7: tag b"}, "purge", "tag", "a", "b", "--wait")
	f.does(0, []string{`"schema": "hither/purges/1"`}, "purge", "tag", "a", "b", "-o", "json")
	f.does(0, []string{"purge 10: url www.example.org/a,b\n", "purge 11: url www.example.org/c\n"}, "purge", "--url", "www.example.org/a,b", "--url", "www.example.org/c")
	f.does(2, []string{"two hexadecimal digits"}, "purge", "url", "https://www.example.org/%zz")
	f.does(1, []string{"no site has the host"}, "purge", "url", "www.elsewhere.test/")
	f.does(2, []string{"neither https nor http"}, "purge", "url", "ftp://www.example.org/")
	f.does(0, []string{"PURGE", "2/2", "tag b"}, "fleet", "purges", "--last", "3")
	f.does(0, []string{"purge 6: tag a", "fra  done"}, "fleet", "purges", "6")
	f.does(2, []string{"--last 0"}, "fleet", "purges", "--last", "0")
	f.does(2, []string{"--last 51"}, "fleet", "purges", "--last", "51")
	f.does(1, []string{"purge 4242 is none of the last"}, "fleet", "purges", "4242")
	f.does(2, []string{`"x" is no purge's number`}, "fleet", "purges", "x")
	f.does(2, []string{"it is called as `hither purge tag TAG... [flags]`"}, "purge", "tag")
	f.does(1, []string{"fra  200     uri-miss  yes     3 B", "iad: www.example.org/b: from iad", "not every PoP got every URL"}, "warm", "https://www.example.org/a", "www.example.org/b")
	f.does(1, []string{`"schema": "hither/warm/1"`}, "warm", "www.example.org/a", "--pop", "iad", "-o", "json")
	f.does(2, []string{"is no https URL"}, "warm", "http://www.example.org/a")
	f.does(2, []string{`no PoP "x"`}, "warm", "www.example.org/a", "--pop", "x")
	token := f.does(0, []string{"hither_", "not shown again"}, "fleet", "token", "add", "cms", "--site", "www", "--kind", "url,prefix", "--for", "1h")
	f.does(0, []string{"TOKEN  SITES  KINDS       UNTIL", "cms    www    url,prefix  20"}, "fleet", "token", "list")
	if out := f.does(0, nil, "fleet", "token", "list", "-o", "json"); strings.Contains(out, strings.TrimSpace(token)) {
		t.Error(out)
	}
	f.does(1, []string{"remove it first"}, "fleet", "token", "add", "cms")
	f.does(2, []string{"could purge nothing"}, "fleet", "token", "add", "none", "--site", "www", "--kind", "all")
	f.does(0, nil, "fleet", "token", "add", "ever")
	f.does(0, []string{"ever   all    all         no end "}, "fleet", "token", "list")
	f.does(0, []string{"opens nothing any more"}, "fleet", "token", "remove", "cms")
	f.does(1, []string{"there is no token"}, "fleet", "token", "remove", "cms")
	f.does(2, []string{"no name of a token"}, "fleet", "token", "add", "A")
}
