package load

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestParseH2load reads reports of the real program.
func TestParseH2load(t *testing.T) {
	for name, want := range map[string]WebRun{
		"h2load-clean.txt":  {Answered: 9907, Bytes: 10144768, Elapsed: 1010 * time.Millisecond},
		"h2load-status.txt": {Answered: 2779, Failed: 2775, Bytes: 2898421, Elapsed: 1010 * time.Millisecond},
		"h2load-died.txt":   {Answered: 6248, Bytes: 6397952, Elapsed: 1010 * time.Millisecond},
		"h2load-nobody.txt": {Elapsed: 1010 * time.Millisecond},
	} {
		want.Client = "h2load"
		if got, err := ParseH2load(report(t, name)); err != nil || got != want {
			t.Errorf("%s: read %+v, %v; want %+v", name, got, err, want)
		}
	}
}

// TestParseH2loadRefuses plants what must not pass for a run without a failure.
func TestParseH2loadRefuses(t *testing.T) {
	clean := report(t, "h2load-clean.txt")
	change := func(from, to string) string {
		t.Helper()
		if !strings.Contains(clean, from) {
			t.Fatalf("the report has no %q", from)
		}
		return strings.Replace(clean, from, to, 1)
	}
	for name, c := range map[string]struct{ report, why string }{
		"nothing":                 {"", "nowhere that it finished"},
		"it did not start":        {"h2load: no such option", "no such option"},
		"cut before its requests": {clean[:strings.Index(clean, "requests:")], "nothing of requests"},
		"cut before its codes":    {clean[:strings.Index(clean, "status codes:")], "nothing of status codes"},
		"cut before its traffic":  {clean[:strings.Index(clean, "traffic:")], "nothing of traffic"},
		"cut before its end":      {clean[:strings.Index(clean, "req/s  ")], "cut"},
		"figures that differ":     {change("9907 succeeded", "9906 succeeded"), "do not add up"},
		"codes that differ":       {change("9907 2xx", "9906 2xx"), "do not add up"},
		"more done than started":  {change("9911 started", "9901 started"), "do not add up"},
		"over HTTP/1.1":           {report(t, "h2load-h1.txt"), "not over h2"},
		"another version":         {change(", 0 timeout", ""), "nothing of requests"},
		"a number too large":      {change("9911 started", "99999999999999999999 started"), "out of range"},
		"no time":                 {change("finished in 1.01s", "finished in 0s"), "no time"},
		"a time that is none":     {change("finished in 1.01s", "finished in 1.01x"), "unknown unit"},
	} {
		if run, err := ParseH2load(c.report); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: read %+v, error %v; want one with %q", name, run, err, c.why)
		}
	}
}

func FuzzParseH2load(f *testing.F) {
	for _, name := range []string{"clean", "status", "died", "nobody", "h1"} {
		f.Add(report(f, "h2load-"+name+".txt"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		run, err := ParseH2load(text)
		if err == nil && (run.Answered < 0 || run.Failed < 0 || run.Elapsed <= 0 || run.Bytes < 0) {
			t.Errorf("took %+v", run)
		}
	})
}

func TestPercentiles(t *testing.T) {
	run := WebRun{Answered: 4}
	if err := run.percentiles(strings.NewReader("1 200 40\n2 200 10\n3\t200\t30\n4 200 20\n")); err != nil ||
		run.P50 != 30*time.Microsecond || run.P99 != 40*time.Microsecond || run.Max != 40*time.Microsecond {
		t.Errorf("read %+v, %v", run, err)
	}
	for log, why := range map[string]string{
		"1 200 40\n":                 "1 answers of 4",
		"1 200\n":                    "no time",
		"1 200 x\n":                  "no time",
		"1 200 -1\n":                 "no time",
		strings.Repeat("x", 100_000): "token too long",
	} {
		if err := run.percentiles(strings.NewReader(log)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.20q: %v; want %q", log, err, why)
		}
	}
}

func TestFindH2load(t *testing.T) {
	fake(t, "other", "")
	if _, err := FindH2load(t.Context()); err == nil || !strings.Contains(err.Error(), "install the Debian package nghttp2-client") {
		t.Errorf("it is not there: %v", err)
	}
	fake(t, "h2load", "echo hello")
	if _, err := FindH2load(t.Context()); err == nil || !strings.Contains(err.Error(), "is it nghttp2's") {
		t.Errorf("another program: %v", err)
	}
	fake(t, "h2load", "echo h2load nghttp2/1.52.0")
	if h, err := FindH2load(t.Context()); err != nil || h.Version != "1.52.0" {
		t.Errorf("found %+v, %v", h, err)
	}
}

// TestH2loadLoad has scripts stand for h2load, which check what they are called with.
func TestH2loadLoad(t *testing.T) {
	l := H2loadLoad{
		To: netip.MustParseAddrPort("127.82.9.9:8443"), File: "/urls", Connections: 16, Streams: 10, For: 3 * time.Second, Core: core(t), Folder: t.TempDir(),
	}
	small := `finished in 1.00s, 1.00 req/s, 1.00KB/s
requests: 1 total, 1 started, 1 done, 1 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.00KB (1100) total, 10B (10) headers (space savings 31.13%), 1.00KB (1024) data
req/s           :    1.00
Application protocol: h2
`
	path := fake(t, "h2load", `
[ "$*" = "-t 1 -c 16 -m 10 -D 3 --npn-list=h2 --connect-to=127.82.9.9:8443 -i /urls --log-file=`+l.Folder+`/h2load.log" ] || { echo "called with $*"; exit 1; }
echo "1 200 70" > `+l.Folder+`/h2load.log
echo "`+small+`"`)
	if run, err := (H2load{Path: path}).Load(t.Context(), l); err != nil || run.Answered != 1 || run.P99 != 70*time.Microsecond {
		t.Errorf("%+v, %v", run, err)
	}
	if left, _ := filepath.Glob(l.Folder + "/*"); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	for body, why := range map[string]string{
		"echo first; echo no file >&2; exit 1":               "exit status 1: no file",
		"echo '" + small + "'":                               "no such file",
		"echo '" + strings.ReplaceAll(small, "1", "0") + "'": "took no time",
	} {
		if run, err := (H2load{Path: fake(t, "h2load", body)}).Load(t.Context(), l); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %+v, %v; want an error with %q", body, run, err, why)
		}
	}
	if run, err := (H2load{Path: fake(t, "h2load", "echo '"+report(t, "h2load-nobody.txt")+"'")}).Load(t.Context(), l); err == nil || !strings.Contains(err.Error(), "no answer from 127.82.9.9:8443") {
		t.Errorf("nobody: %+v, %v", run, err)
	}
}
