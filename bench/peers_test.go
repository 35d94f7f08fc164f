package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/bench/contest"
	"hither/bench/peers"
)

func caseNamed(t *testing.T, name string) contest.Case {
	t.Helper()
	cases, err := contest.Select([]string{name})
	if err != nil || len(cases) != 1 {
		t.Fatalf("%s: %v, %v", name, cases, err)
	}
	return cases[0]
}

// peersMeasured is a result of three pairs against two peers, a third of which did not do as it should, and a fourth is missing.
func peersMeasured(t *testing.T) *peersDocument {
	t.Helper()
	run := func(us float64) contest.Run {
		return contest.Run{
			PerRequest: time.Duration(us * 1000), Helper: 40 * time.Microsecond, Rate: 20_000, P50: time.Millisecond, P99: 5 * time.Millisecond,
			RSS: 60 << 20, Answered: 60_000, Busy: 0.97, Others: 0.01,
		}
	}
	runs := func(us ...float64) (all []contest.Run) {
		for _, v := range us {
			all = append(all, run(v))
		}
		return all
	}
	own := func(us ...float64) []contest.Run {
		all := runs(us...)
		for i := range all {
			all[i].P999 = 9 * time.Millisecond
		}
		return all
	}
	idle := func(kib ...int64) (all []contest.Run) {
		for _, v := range kib {
			all = append(all, contest.Run{PerConnection: v << 10, RSS: 100 << 20, Answered: 2000})
		}
		return all
	}
	d := &peersDocument{
		Commit: "0123456789ab", Machine: "A Processor, 2 cores, Linux 6.1", Pairs: 4, Seconds: 3, Memory: true, Idle: 2000, Clients: map[string]string{"wrk": "4.1.0", "h2load": "1.52.0"},
		Servers: []peersServer{
			{Name: "hither", Version: "0123456789ab"}, {Name: "nginx", Version: "1.22.1"}, {Name: "haproxy", Version: "2.6.12"},
			{Name: "varnish", Missing: true, Package: "hitch"}, {Name: "caddy", Version: "2.6.2", Note: "has no cache: hits are files"},
		},
	}
	d.add("nginx", []contest.Row{
		{Case: caseNamed(t, "hit/h1/1k"), Ours: runs(30, 33, 36), Peer: runs(20, 30, 40)},
		{Case: caseNamed(t, "idle/h1/1k"), Ours: idle(40, 44), Peer: idle(10, 11)},
		{Case: caseNamed(t, "miss/h1/1k"), Ours: runs(120, 130, 140), Peer: runs(60, 65, 70)},
	})
	d.add("haproxy", []contest.Row{
		{Case: caseNamed(t, "hit/h1/1k"), Ours: runs(31, 31, 31), Peer: runs(31, 62, 15.5)},
		{Case: caseNamed(t, "proxy/h2/1k"), Err: errors.New("contest: haproxy is not ready for proxy/h2/1k: for 20 requests it asked its upstream 0 times"), Ours: runs(1), Peer: runs(1)},
	})
	d.add("caddy", []contest.Row{{Case: caseNamed(t, "hit/h3/1k"), Ours: own(90, 91, 92), Peer: own(100, 110, 120)}})
	d.fail("caddy", errors.New("peers: caddy ended while it was measured (signal: killed): it wrote nothing"))
	d.finish()
	return d
}

func TestPeersDocument(t *testing.T) {
	d := peersMeasured(t)
	var out bytes.Buffer
	if err := printDocument(&out, "bench-peers", d); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"schema":"hither/bench-peers/1","commit":"0123456789ab","machine":`)) {
		t.Errorf("begins with %.80s", out.Bytes())
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-peers.json", indented.Bytes())
	out.Reset()
	if err := d.table(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-peers.txt", out.Bytes())
	golden(t, "bench-peers.md", []byte(d.markdown("bin/bench peers --pairs 4")))
}

// TestPeersRatio works the ratios out by hand: they are of pairs, not of medians.
func TestPeersRatio(t *testing.T) {
	d := peersMeasured(t)
	hit := d.Rows[0]
	if hit.Best != "nginx" || *hit.Ratio != (peersSpread{Median: 1.1, Min: 0.9, Max: 1.5}) {
		t.Errorf("hits: %s %+v; pairs 30/20, 33/30, 36/40", hit.Best, *hit.Ratio)
	}
	i := slices.IndexFunc(hit.Results, func(r peersResult) bool { return r.Server == "haproxy" })
	if r := hit.Results[i]; *r.Ratio != (peersSpread{Median: 1, Min: 0.5, Max: 2}) || r.CPU.Median != 31 {
		t.Errorf("haproxy: %+v; pairs 31/31, 31/62, 31/15.5", r)
	}
	if ours := hit.Results[0]; ours.Server != ourName || ours.CPU.Median != 31 || ours.Ratio != nil || ours.Gateway != nil {
		t.Errorf("ours in all six runs: %+v; a hit has no use of the gateway", ours)
	}
	for _, r := range d.Rows {
		switch r.Case {
		case "idle":
			if *r.Ratio != (peersSpread{Median: 4, Min: 4, Max: 4}) || r.Results[0].CPU != nil || r.Results[0].PerConnection.Median != 42<<10 {
				t.Errorf("idle: %+v, %+v", *r.Ratio, r.Results[0])
			}
		case "miss":
			if g := r.Results[0].Gateway; g == nil || *g != 40 {
				t.Errorf("the gateway's share of misses: %v", g)
			}
			if r.Results[1].Gateway != nil {
				t.Errorf("nginx has a gateway: %+v", r.Results[1])
			}
		case "proxy":
			t.Errorf("a case of a server that cheats has figures: %+v", r)
		}
	}
	if len(d.Errors) != 2 {
		t.Errorf("errors: %+v", d.Errors)
	}
	out, err := json.Marshal(d.Rows[0].Results[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"p999_ms", "ratio", "rss_per_connection_bytes", "gateway_cpu_us"} {
		if strings.Contains(string(out), key) {
			t.Errorf("%s was not measured, and is in %s", key, out)
		}
	}
}

// TestPeersWrite shows that a table with holes is not written down, and is counted in words.
func TestPeersWrite(t *testing.T) {
	o := peersOptions{readme: filepath.Join(t.TempDir(), "README.md"), pairs: enough}
	begin, end := marks(peersMark)
	before := string(begin) + "\nold\n" + string(end) + "\n"
	if err := os.WriteFile(o.readme, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	d := peersMeasured(t)
	for _, c := range []struct {
		errors []peersError
		why    string
	}{
		{d.Errors, "1 case has no figures, and 1 server was not measured to the end, as said above; " + o.readme + " is left as it was"},
		{[]peersError{{Server: "nginx", Case: "hit/h1/1k"}}, "1 case has no figures"},
		{[]peersError{{Server: "nginx", Case: "hit/h1/1k"}, {Server: "nginx", Case: "hit/h1/1m"}}, "2 cases have no figures"},
		{[]peersError{{Server: "nginx"}, {Server: "caddy"}}, "2 servers were not measured to the end"},
	} {
		d.Errors = c.errors
		err := d.write(&o)
		if after, _ := os.ReadFile(o.readme); !errors.Is(err, errMeasure) || !strings.Contains(err.Error(), c.why) || string(after) != before {
			t.Errorf("%v: %v, %s; want %q", c.errors, err, after, c.why)
		}
	}
	d.Errors = nil
	if err := d.write(&o); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(o.readme); strings.Contains(string(after), "old") || !strings.Contains(string(after), "| hit h1 1KiB |") {
		t.Errorf("nothing failed, and it says %s", after)
	}
}

// TestPeersZero has a run without processor time and with nobody else on the machine: what was measured as 0 is there, and is no memory.
func TestPeersZero(t *testing.T) {
	d := &peersDocument{Servers: []peersServer{{Name: ourName}, {Name: "nginx"}}}
	none := []contest.Run{{Rate: 1, Answered: 3, PerConnection: 7}}
	d.add("nginx", []contest.Row{{Case: caseNamed(t, "hit/h1/1k"), Ours: none, Peer: none}, {Case: caseNamed(t, "idle/h1/1k"), Ours: none, Peer: none}})
	d.finish()
	run, err := json.Marshal(d.Rows[0].Runs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"cpu_us":0`, `"server_cores":0`, `"other_cores":0`} {
		if !strings.Contains(string(run), key) {
			t.Errorf("%s is not in %s", key, run)
		}
	}
	if r := d.Rows[0].Results[1]; r.Ratio != nil || r.PerConnection != nil || r.CPU.Median != 0 {
		t.Errorf("a hit: %+v", r)
	}
	if run, err = json.Marshal(d.Rows[1].Runs[0]); err != nil || strings.Contains(string(run), "cores") || strings.Contains(string(run), "cpu") {
		t.Errorf("idle: %s, %v", run, err)
	}
}

func TestPeersMark(t *testing.T) {
	if _, _, err := findMarks("README.md", peersMark); err != nil {
		t.Errorf("our own README: %v", err)
	}
}

// TestPeersCalls shows that each wrong call ends with one line and status 2, before anything is started.
func TestPeersCalls(t *testing.T) {
	hither := filepath.Join(t.TempDir(), "hither")
	if err := os.WriteFile(hither, []byte("#!/bin/sh\necho hither version 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	nginx := "#!/bin/sh\necho nginx/1.2.3\n"
	for _, c := range []struct {
		programs map[string]string
		args     string
		why      string
	}{
		{nil, "--pairs 0", "--pairs 0: want 1 to 1000, and 7 for a claim"},
		{nil, "--for 1500ms", "--for 1.5s: want whole seconds"},
		{nil, "--for 0s", "--for 0s"},
		{nil, "--connections 1", "--connections 1: want"},
		{nil, "--log maybe", `--log "maybe": want on or off`},
		{nil, "--only speed", `--only: no case "speed": want KIND`},
		{nil, "--servers apache", `--servers: no server "apache": want some of nginx, haproxy`},
		{nil, "--readme README.md --pairs 6", "--readme with --pairs 6: what is written down takes at least 7"},
		{nil, "--readme /nowhere/README.md", "--readme: open /nowhere/README.md"},
		{nil, "--readme peers_test.go", "--readme: peers_test.go: want a line"},
		{nil, "-o xml", "want table or json"},
		{nil, "more", "more"},
		{nil, "--hither /nowhere/hither", "make build"},
		{map[string]string{"nginx": nginx}, "--servers nginx --only hit/h1/1k --hither " + hither, "install the Debian package wrk"},
		{map[string]string{"nginx": nginx}, "--servers nginx --only hit/h2/1k --hither " + hither, "install the Debian package nghttp2-client"},
		{map[string]string{"nginx": "#!/bin/sh\necho hello\n"}, "--servers nginx --only handshake-full --hither " + hither, "tells no version: is it the program of that name?"},
		{map[string]string{"nginx": nginx}, "--servers nginx --only handshake-full --net 10.1 --hither " + hither, "127.N"},
	} {
		path := t.TempDir()
		for name, text := range c.programs {
			if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", path)
		t.Setenv("TMPDIR", t.TempDir())
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), append([]string{"peers"}, strings.Fields(c.args)...), &stdout, &stderr)
		if status != exitUsage || !strings.Contains(stderr.String(), c.why) || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("bench peers %s: status %d, %q, %q; want 2 and one line with %q", c.args, status, &stdout, &stderr, c.why)
		}
		if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
			t.Errorf("bench peers %s left %v", c.args, left)
		}
	}
}

func TestPeersCommand(t *testing.T) {
	o := peersOptions{pairs: 7, each: 3 * time.Second, idle: 2000, log: "off"}
	if got := o.command(); got != "bin/bench peers" {
		t.Errorf("%q", got)
	}
	o = peersOptions{pairs: 1, each: time.Second, idle: 100, log: "on", only: []string{"hit", "miss/h1"}, servers: []string{"nginx"}}
	if got := o.command(); got != "bin/bench peers --only hit,miss/h1 --servers nginx --pairs 1 --for 1s --connections 100 --log on" {
		t.Errorf("%q", got)
	}
}

// TestPeersBroken has a peer that is there and tells no version: it is like one that does not start, and the others are measured.
func TestPeersBroken(t *testing.T) {
	path := t.TempDir()
	for name, text := range map[string]string{"nginx": "exit 3", "haproxy": "echo HAProxy version 2.6.12", "hither": "echo hither version 1"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", path+":/bin")
	o := peersOptions{hither: filepath.Join(path, "hither"), cases: []contest.Case{caseNamed(t, "handshake-full/h1/1k")}, servers: []string{"nginx", "haproxy"}}
	for _, p := range peers.WebPeers() {
		if slices.Contains(o.servers, p.Name) {
			o.peers = append(o.peers, p)
		}
	}
	d := &peersDocument{Clients: make(map[string]string)}
	there, _, err := o.find(t.Context(), d)
	if err != nil || len(there) != 1 || there[0].Name != "haproxy" {
		t.Fatalf("there are %v, %v", there, err)
	}
	if len(d.Errors) != 1 || d.Errors[0].Server != "nginx" || !strings.Contains(d.Errors[0].Error, "-v tells no version: exit status 3") {
		t.Errorf("errors: %+v", d.Errors)
	}
}

// TestInner shows that what the bench starts itself as is no command for people.
func TestInner(t *testing.T) {
	for call, want := range map[string]string{
		"hold":                "hold is for the bench itself",
		"hold / true":         "hold is for the bench itself",
		"upstream":            "accepts 1 arg",
		"upstream 127.82.2.1": "missing port",
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), strings.Fields(call), &stdout, &stderr); status != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("bench %s: status %d, %q", call, status, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if run(t.Context(), []string{"--help"}, &stdout, &stderr); strings.Contains(stdout.String(), "hold") || strings.Contains(stdout.String(), "upstream") {
		t.Errorf("help names them:\n%s", &stdout)
	}
}
