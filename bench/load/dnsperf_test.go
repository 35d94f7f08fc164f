package load

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestParseDnsperf reads reports of the real program.
func TestParseDnsperf(t *testing.T) {
	for name, want := range map[string]Run{
		"clean.txt": {
			Sent: 1000, Answered: 1000, Rcodes: map[string]int64{"NOERROR": 1000}, Elapsed: 14139 * time.Microsecond,
			Mean: 768 * time.Microsecond, Max: 1582 * time.Microsecond,
		},
		"rcodes.txt": {
			Sent: 15, Answered: 15, Rcodes: map[string]int64{"NOERROR": 5, "NXDOMAIN": 5, "REFUSED": 5}, Elapsed: 3786 * time.Microsecond,
			Mean: 293 * time.Microsecond, Max: 1507 * time.Microsecond,
		},
		"all-lost.txt": {Sent: 100, Lost: 100, Elapsed: 2005335 * time.Microsecond},
	} {
		got, err := ParseDnsperf(report(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Sent != want.Sent || got.Answered != want.Answered || got.Lost != want.Lost || got.InTime != want.Answered ||
			got.Elapsed != want.Elapsed || got.Mean != want.Mean || got.Max != want.Max || !maps.Equal(got.Rcodes, want.Rcodes) {
			t.Errorf("%s: read %+v, want %+v", name, got, want)
		}
	}
	lost, err := ParseDnsperf(report(t, "lost.txt"))
	if err != nil || lost.Lost != 50 || lost.Sent != 200 || lost.Mean != 0 || lost.Max != 0 {
		t.Errorf("lost.txt: read %+v, %v; want 50 of 200 lost, and no latency of nineteen years", lost, err)
	}
}

// TestParseDnsperfRefuses plants what must not pass for a run without a loss.
func TestParseDnsperfRefuses(t *testing.T) {
	clean := report(t, "clean.txt")
	change := func(from, to string) string {
		t.Helper()
		if !strings.Contains(clean, from) {
			t.Fatalf("the report has no %q", from)
		}
		return strings.Replace(clean, from, to, 1)
	}
	for name, c := range map[string]struct{ report, why string }{
		"nothing":                {"", "no statistics"},
		"it did not start":       {"Error: unable to resolve: nohost", "unable to resolve: nohost"},
		"cut before the losses":  {clean[:strings.Index(clean, "  Queries lost")], `no number of "Queries lost"`},
		"cut before its time":    {clean[:strings.Index(clean, "  Run time")], "no time in seconds"},
		"figures that differ":    {change("completed:    1000", "completed:    999"), "999 answered and 0 lost are not the 1000 sent"},
		"nothing sent":           {strings.ReplaceAll(clean, "1000", "0"), "nothing was sent"},
		"interrupted":            {report(t, "interrupted.txt"), "interrupted"},
		"a negative loss":        {change("lost:         0", "lost:         -1"), `no number of "Queries lost"`},
		"no response codes":      {change("NOERROR 1000 (100.00%)", ""), "no response code"},
		"no number of responses": {change("NOERROR 1000", "NOERROR many"), "no response code"},
		"a time that is none":    {change("0.014139", "NaN"), `"NaN" is no time`},
	} {
		run, err := ParseDnsperf(c.report)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: read %+v, error %v; want one with %q", name, run, err, c.why)
		}
	}
}

func report(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// FuzzParseDnsperf holds every report that is taken to adding up.
func FuzzParseDnsperf(f *testing.F) {
	for _, name := range []string{"clean.txt", "lost.txt", "all-lost.txt", "rcodes.txt", "interrupted.txt"} {
		f.Add(report(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		run, err := ParseDnsperf(text)
		if err == nil && (run.Sent <= 0 || run.Answered < 0 || run.Lost < 0 || run.Answered+run.Lost != run.Sent || run.Elapsed < 0 || run.Mean < 0) {
			t.Errorf("took %+v", run)
		}
	})
}
