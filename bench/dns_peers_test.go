package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/bench/load"
	"hither/bench/pairs"
)

// compared is a result of two pairs with gdnsd, and of one with powerdns, which then failed.
func compared() pairs.Result {
	row := func(c string, pair int, peer string, ours bool, n int64, cpu, mean time.Duration) pairs.Row {
		return pairs.Row{Case: c, Pair: pair, Peer: peer, Ours: ours, Run: load.Run{
			Client: "dnsperf", Sent: n, Answered: n - 1, InTime: n - 1, Lost: 1, Elapsed: time.Second, Rcodes: map[string]int64{"NOERROR": n - 1},
			CPU: time.Duration(n) * 3 * time.Microsecond, Mean: mean, Max: 10 * mean,
		}, PerAnswer: cpu, Busy: 0.9, Others: 0.25, RSS: 40 << 20}
	}
	var r pairs.Result
	for pair := 1; pair <= 2; pair++ {
		more := time.Duration(pair) * time.Microsecond
		r.Rows = append(r.Rows,
			row(caseClosed, pair, "gdnsd", true, 80_001, 5*time.Microsecond+more, 2*time.Millisecond),
			row(caseClosed, pair, "gdnsd", false, 100_001, 5*time.Microsecond, time.Millisecond),
			row(caseSingle, pair, "gdnsd", true, 10_001, 30*time.Microsecond+more, 50*time.Microsecond),
			row(caseSingle, pair, "gdnsd", false, 10_001, 20*time.Microsecond, 0),
		)
	}
	r.Rows = append(r.Rows,
		row(caseClosed, 1, "powerdns", true, 80_001, 5*time.Microsecond, 2*time.Millisecond),
		row(caseClosed, 1, "powerdns", false, 20_001, 25*time.Microsecond, 8*time.Millisecond),
	)
	return r
}

func comparison() *dnsPeersDocument {
	d := &dnsPeersDocument{
		Commit: "0123456789ab", Machine: "A Processor, 2 cores, Linux 6.1", Dnsperf: "2.10.0", Questions: 65510, Prefixes: 240954, Pairs: 2, Seconds: 1,
		Servers: []dnsPeersServer{
			{Name: "hither", Version: "0123456789ab"}, {Name: "gdnsd", Version: "3.8.1"}, {Name: "knot", Missing: true, Package: "knot"},
			{Name: "powerdns", Version: "4.7.3", Error: "peers: powerdns ended while it was measured (signal: killed): no memory"},
		},
	}
	d.add(compared())
	return d
}

func TestDNSPeersDocument(t *testing.T) {
	d := comparison()
	var out bytes.Buffer
	if err := printDocument(&out, "bench-dns-peers", d); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"schema":"hither/bench-dns-peers/1",`)) {
		t.Errorf("begins with %.40s", out.Bytes())
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-dns-peers.json", indented.Bytes())
	out.Reset()
	if err := d.table(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-dns-peers.txt", out.Bytes())
	golden(t, "bench-dns-peers.md", []byte(d.markdown()))
}

// TestBadDNSPeersCalls shows that each ends with one line and status 2, before anything is started.
func TestBadDNSPeersCalls(t *testing.T) {
	readme := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(readme, []byte("# no marks\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		args []string
		why  string
	}{
		{"", nil, "install the Debian package dnsperf"},
		{"/usr/bin", []string{"--pairs", "0"}, "want 1 to 1000"},
		{"/usr/bin", []string{"--for", "1500ms"}, "want whole seconds"},
		{"/usr/bin", []string{"--servers", ""}, "want at least one"},
		{"/usr/bin", []string{"--servers", "gdnsd,bind"}, "--servers bind: want some of gdnsd,knot,powerdns"},
		{"/usr/bin", []string{"--servers", "gdnsd,gdnsd"}, "named twice"},
		{"/usr/bin", []string{"--pairs", "6", "--readme", readme}, "takes at least 7"},
		{"/usr/bin", []string{"--readme", readme}, "begin dns-peers"},
		{"/usr/bin", []string{"--readme", readme + ".other"}, "no such file"},
		{"/usr/bin", []string{"-o", "xml"}, "want table or json"},
		{"/usr/bin", []string{"all"}, "unknown command"},
	} {
		t.Setenv("PATH", c.path)
		var out, errs bytes.Buffer
		status := run(context.Background(), append([]string{"dns", "peers", "--hither", "/nowhere/hither"}, c.args...), &out, &errs)
		if status != exitUsage || !strings.Contains(errs.String(), c.why) || strings.Count(errs.String(), "\n") != 1 || out.Len() > 0 {
			t.Errorf("%v: status %d, %q, want one line with %q", c.args, status, errs.String(), c.why)
		}
	}
}
