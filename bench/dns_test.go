package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/bench/load"
	"hither/bench/overload"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

// measured is a result of two rounds, in which one question was lost.
func measured() overload.Result {
	row := func(round int, phase, client string, asked float64, sent, answered int64, cpu time.Duration) overload.Row {
		r := overload.Row{Round: round, Phase: phase, Run: load.Run{
			Client: client, Asked: asked, Sent: sent, Answered: answered, InTime: answered, Lost: sent - answered,
			Elapsed: time.Second, Rcodes: map[string]int64{"NOERROR": answered}, CPU: time.Duration(sent) * 3 * time.Microsecond,
			Mean: 400 * time.Microsecond, Max: 5 * time.Millisecond,
		}, Server: overload.Account{PerAnswer: cpu, Busy: 0.9, Others: 0.25, RSSBefore: 40 << 20, RSSMost: 42 << 20}}
		if client == "bench" {
			r.P50, r.P99 = 300*time.Microsecond, 2*time.Millisecond
		}
		return r
	}
	var r overload.Result
	for round := 1; round <= 2; round++ {
		more := int64(round * 1000)
		r.Rounds = append(r.Rounds, overload.Round{Best: 100_000, Saturated: true})
		r.Rows = append(r.Rows,
			row(round, overload.PhaseClosed, "dnsperf", 0, 80_000+more, 80_000+more, 7*time.Microsecond),
			row(round, overload.PhaseSearch, "bench", 120_000, 120_000, 100_000, 6*time.Microsecond),
			row(round, overload.PhaseBelow, "dnsperf", 90_000, 90_000, 90_000, 7*time.Microsecond),
			row(round, overload.PhaseBelow, "bench", 90_000, 90_000, 90_001-int64(round), 7*time.Microsecond),
			row(round, overload.PhaseAbove, "bench", 150_000, 150_000, 94_000+more, 6*time.Microsecond),
		)
	}
	return r
}

func document() *dnsDocument {
	d := &dnsDocument{Commit: "0123456789ab", Machine: "A Processor, 2 cores, Linux 6.1", Dnsperf: "2.10.0", Questions: 65536, Rounds: 2, Seconds: 1}
	d.add("hither", "0123456789ab", measured())
	return d
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestDNSDocument(t *testing.T) {
	d := document()
	var out bytes.Buffer
	if err := printDocument(&out, "bench-dns", d); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"schema":"hither/bench-dns/1",`)) {
		t.Errorf("begins with %.40s", out.Bytes())
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-dns.json", indented.Bytes())
	out.Reset()
	if err := d.table(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-dns.txt", out.Bytes())
	if d.holds() {
		t.Error("a question was lost, and everything holds")
	}
	broken := slices.IndexFunc(d.Servers[0].Verdicts, func(v overload.Verdict) bool { return !v.Holds })
	d.Servers[0].Verdicts = slices.Delete(d.Servers[0].Verdicts, broken, broken+1)
	if !d.holds() {
		t.Error("without that verdict, all others hold")
	}
}

// TestAbsent holds the document to leaving out what was not measured.
func TestAbsent(t *testing.T) {
	d := &dnsDocument{}
	d.add("hither", "", overload.Result{Rows: []overload.Row{{Run: load.Run{Client: "dnsperf"}}}})
	out, err := json.Marshal(d.Rows[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"asked_rate", "mean_ms", "p50_ms", "p99_ms", "max_ms"} {
		if strings.Contains(string(out), key) {
			t.Errorf("%s was not measured, and is in %s", key, out)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want string
	}{
		{nil, "-"},
		{[]float64{1.26}, "1.3"},
		{[]float64{3, 1}, "2.0 [1.0, 3.0]"},
		{[]float64{9, 1, 2}, "2.0 [1.0, 9.0]"},
	} {
		if got := spread(c.of, "%.1f"); got != c.want {
			t.Errorf("%v: %q, want %q", c.of, got, c.want)
		}
	}
}

// TestBadCalls shows that each ends with one line and status 2, before anything is started.
func TestBadCalls(t *testing.T) {
	for _, c := range []struct {
		path string
		args []string
		why  string
	}{
		{"", []string{"dns"}, "install the Debian package dnsperf"},
		{"", []string{"dns", "--rounds", "0"}, "--rounds 0"},
		{"", []string{"dns", "--for", "1500ms"}, "--for 1.5s: want whole seconds"},
		{"", []string{"dns", "--for", "0s"}, "--for 0s"},
		{"", []string{"dns", "-o", "xml"}, "want table or json"},
		{"", []string{"dns", "www.hither.test"}, "www.hither.test"},
		{"", []string{"speed"}, `unknown command "speed"`},
		{"fake", []string{"dns", "--net", "10.1"}, "127.N"},
		{"fake", []string{"dns", "--hither", "/nowhere/hither"}, "make build"},
	} {
		path := t.TempDir()
		if c.path == "fake" { // what is wrong is found after dnsperf is
			if err := os.WriteFile(filepath.Join(path, "dnsperf"), []byte("#!/bin/sh\necho Version 2.10.0\nexit 1\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", path)
		t.Setenv("TMPDIR", t.TempDir())
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), c.args, &stdout, &stderr)
		if status != exitUsage || !strings.Contains(stderr.String(), c.why) || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("bench %s: status %d, %q, %q; want 2 and one line with %q", strings.Join(c.args, " "), status, &stdout, &stderr, c.why)
		}
		if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
			t.Errorf("bench %s left %v", strings.Join(c.args, " "), left)
		}
	}
}
