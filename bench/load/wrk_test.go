package load

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestParseWrk reads reports of the real program with our script.
func TestParseWrk(t *testing.T) {
	for name, want := range map[string]WebRun{
		"wrk-clean.txt": {
			Answered: 12783, Bytes: 16630683, Elapsed: 1014842 * time.Microsecond,
			P50: 180 * time.Microsecond, P99: 10114 * time.Microsecond, P999: 19056 * time.Microsecond, Max: 20324 * time.Microsecond,
		},
		"wrk-status.txt": {
			Answered: 1978, Failed: 1976, Bytes: 2998218, Elapsed: 1032185 * time.Microsecond,
			P50: 173 * time.Microsecond, P99: 453961 * time.Microsecond, P999: 498853 * time.Microsecond, Max: 503029 * time.Microsecond,
		},
		"wrk-died.txt": {
			Answered: 6776, Failed: 2112, Bytes: 8815576, Elapsed: 1089319 * time.Microsecond,
			P50: 178 * time.Microsecond, P99: 170836 * time.Microsecond, P999: 182410 * time.Microsecond, Max: 183696 * time.Microsecond,
		},
	} {
		want.Client = "wrk"
		if got, err := ParseWrk(report(t, name)); err != nil || got != want {
			t.Errorf("%s: read %+v, %v; want %+v", name, got, err, want)
		}
	}
}

// TestParseWrkRefuses plants what must not pass for a run without a failure.
func TestParseWrkRefuses(t *testing.T) {
	clean := report(t, "wrk-clean.txt")
	for name, c := range map[string]struct{ report, why string }{
		"nothing":            {"", "not whole"},
		"the script broke":   {report(t, "wrk-broken.txt"), "bad argument"},
		"without our script": {clean[:strings.Index(clean, "bench-wrk")], "Transfer/sec"},
		"cut":                {clean[:len(clean)-3], "not whole"},
		"of another version": {strings.Replace(clean, "wrk/1", "wrk/2", 1), "not whole"},
		"a field less":       {strings.Replace(clean, " timeout=0", "", 1), "no number of timeout"},
		"a field twice":      {strings.Replace(clean, " timeout=0", " read=0", 1), "no count"},
		"a negative count":   {strings.Replace(clean, "read=0", "read=-1", 1), "no count"},
		"no number":          {strings.Replace(clean, "read=0", "read=nan", 1), "no count"},
		"more errors":        {strings.Replace(clean, "status=0", "status=99999", 1), "cannot be"},
		"no time":            {strings.Replace(clean, "duration_us=1014842", "duration_us=0", 1), "cannot be"},
		"words after it":     {clean + "panic\n", "not whole"},
	} {
		if run, err := ParseWrk(c.report); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: read %+v, error %v; want one with %q", name, run, err, c.why)
		}
	}
}

func FuzzParseWrk(f *testing.F) {
	for _, name := range []string{"wrk-clean.txt", "wrk-status.txt", "wrk-died.txt", "wrk-broken.txt"} {
		f.Add(report(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		run, err := ParseWrk(text)
		if err == nil && (run.Answered < 0 || run.Failed < 0 || run.Elapsed <= 0 || run.Bytes < 0) {
			t.Errorf("took %+v", run)
		}
	})
}

// fake writes a program that stands for a client, into a folder that is all of PATH.
func fake(t *testing.T, name, body string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	return filepath.Join(dir, name)
}

func core(t *testing.T) int {
	t.Helper()
	cores, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	return cores[0]
}

func TestFindWrk(t *testing.T) {
	fake(t, "other", "")
	if _, err := FindWrk(t.Context()); err == nil || !strings.Contains(err.Error(), "install the Debian package wrk") {
		t.Errorf("it is not there: %v", err)
	}
	fake(t, "wrk", "echo hello")
	if _, err := FindWrk(t.Context()); err == nil || !strings.Contains(err.Error(), "is it Will Glozer's") {
		t.Errorf("another program: %v", err)
	}
	fake(t, "wrk", "echo 'wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer'; exit 1")
	if w, err := FindWrk(t.Context()); err != nil || w.Version != "4.1.0-3+b2" {
		t.Errorf("found %+v, %v", w, err)
	}
}

// TestWrkLoad has scripts stand for wrk, which check what they are called with.
func TestWrkLoad(t *testing.T) {
	l := WrkLoad{
		To: netip.MustParseAddrPort("127.82.9.9:8443"), Authority: "www.bench.test:8443", File: "/paths", Unique: "r1",
		Connections: 32, For: 3 * time.Second, Core: core(t), Folder: t.TempDir(),
	}
	recorded, err := filepath.Abs("testdata/wrk-clean.txt")
	if err != nil {
		t.Fatal(err)
	}
	path := fake(t, "wrk", `
[ "$*" = "-t 1 -c 32 -d 3 --timeout 10 -s `+l.Folder+`/wrk.lua https://www.bench.test:8443/" ] || { echo "called with $*"; exit 1; }
[ "$BENCH_ADDRESS $BENCH_PATHS $BENCH_UNIQUE" = "127.82.9.9 /paths r1" ] || { echo "in $BENCH_ADDRESS $BENCH_PATHS $BENCH_UNIQUE"; exit 1; }
while read -r line; do echo "$line"; done < `+recorded)
	if run, err := (Wrk{Path: path}).Load(t.Context(), l); err != nil || run.Answered != 12783 {
		t.Errorf("%+v, %v", run, err)
	}
	for body, why := range map[string]string{
		"echo first; echo no script >&2; exit 1": "exit status 1: no script",
		"echo nothing":                           "not whole: nothing",
		"echo 'bench-wrk/1 requests=0 duration_us=5 bytes=0 connect=7 read=0 write=0 status=0 timeout=0 p50_us=0 p99_us=0 p999_us=0 max_us=0 end'": "no answer from 127.82.9.9:8443: 7 failed",
	} {
		if run, err := (Wrk{Path: fake(t, "wrk", body)}).Load(t.Context(), l); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %+v, %v; want an error with %q", body, run, err, why)
		}
	}
}
