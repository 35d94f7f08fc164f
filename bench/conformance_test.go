package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hither/bench/conformance"
)

// conformanceNow reads what is expected, and the last result.
func conformanceNow(t *testing.T) (*conformance.Expected, *conformanceDocument) {
	t.Helper()
	e, err := conformance.ReadExpected(conformanceFile, conformanceText)
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join("testdata", filepath.Base(conformanceRecord)))
	if err != nil {
		t.Fatal(err)
	}
	d, err := readRecord(body)
	if err != nil {
		t.Fatal(err)
	}
	return e, d
}

// TestConformance holds conformance.txt to the last result of the suite.
func TestConformance(t *testing.T) {
	e, d := conformanceNow(t)
	for _, fault := range e.Faults(d.scored()) {
		t.Error(fault)
	}
	if d.Runs < 3 {
		t.Errorf("the last result is of %d runs, want at least 3 that agree", d.Runs)
	}
}

// TestConformanceBites plants faults into the last result and into the exceptions: each is told.
func TestConformanceBites(t *testing.T) {
	for _, kind := range []conformance.Kind{conformance.Required, conformance.Optimal} {
		e, d := conformanceNow(t)
		i := slices.IndexFunc(d.Cases, func(c conformanceCase) bool { return c.Kind == kind && c.Outcome == conformance.Pass })
		d.Cases[i].Outcome = conformance.Fail
		if faults := strings.Join(e.Faults(d.scored()), "\n"); !strings.Contains(faults, string(kind)+" "+d.Cases[i].ID+" does not pass") {
			t.Errorf("%s fails, and is not named: %q", d.Cases[i].ID, faults)
		}
	}
	e, d := conformanceNow(t)
	stale := e.Exceptions[0].ID
	for i := range d.Cases {
		if d.Cases[i].ID == stale {
			d.Cases[i].Outcome = conformance.Pass
		}
	}
	if faults := strings.Join(e.Faults(d.scored()), "\n"); !strings.Contains(faults, stale+" passes: take it off") {
		t.Errorf("%s passes and is an exception: %q", stale, faults)
	}
	more, err := conformance.ReadExpected(conformanceFile, append(slices.Clone(conformanceText), "\noptimal nothing-of-the-kind\n    A reason.\n"...))
	if err != nil {
		t.Fatal(err)
	}
	_, d = conformanceNow(t)
	if faults := more.Faults(d.scored()); len(faults) != 1 || !strings.Contains(faults[0], "the suite has no case nothing-of-the-kind") {
		t.Errorf("an exception for nothing: %q", faults)
	}
}

const conformanceSmall = `least required 1 of 2
least optimal 1 of 1
required cookie
    It is the site's setting. RFC 9111 section 7.3 has it that reuse is allowed, and an application that forgets Cache-Control would hand out a session.
`

// conformanceRun is a small result, of runs that agree or do not.
func conformanceRun(t *testing.T, agree bool) *conformanceDocument {
	t.Helper()
	e, err := conformance.ReadExpected(conformanceFile, []byte(conformanceSmall))
	if err != nil {
		t.Fatal(err)
	}
	c := func(id, group string, kind conformance.Kind, o conformance.Outcome, said string) conformance.Scored {
		return conformance.Scored{Case: conformance.Case{ID: id, Group: group, Kind: kind}, Outcome: o, Said: said}
	}
	r := conformance.Result{Commit: "0123456789ab", Cases: []conformance.Scored{
		c("store", "headers", conformance.Required, conformance.Pass, ""),
		c("cookie", "headers", conformance.Required, conformance.Setup, `Response 2 does not come from "cache"`),
		c("reuse", "other", conformance.Optimal, conformance.Pass, ""),
		c("head", "other", conformance.Check, conformance.Fail, "not so"),
	}}
	if !agree {
		r.Cases[2].Outcome = conformance.Retry
		r.Different = []conformance.Difference{{ID: "reuse", Outcomes: []conformance.Outcome{conformance.Pass, conformance.Retry}, Said: []string{"", "retry"}}}
	}
	s := &conformance.Suite{Version: "1.2.3", Commit: "89abcdef", Digest: strings.Repeat("0123", 16), Node: "20.20.2"}
	return newConformanceDocument(s, 2, r, e)
}

func TestConformanceDocument(t *testing.T) {
	for _, c := range []struct {
		agree bool
		file  string
		want  int
	}{{true, "bench-conformance", 0}, {false, "bench-conformance-faults", 3}} {
		d := conformanceRun(t, c.agree)
		if len(d.Faults) != c.want {
			t.Errorf("%s: faults %q, want %d", c.file, d.Faults, c.want)
		}
		var out, indented bytes.Buffer
		if err := printDocument(&out, "bench-conformance", d); err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
			t.Fatal(err)
		}
		golden(t, c.file+".json", indented.Bytes())
		out.Reset()
		if err := d.table(&out); err != nil {
			t.Fatal(err)
		}
		golden(t, c.file+".txt", out.Bytes())
	}
}

// TestConformanceRecord writes a result and reads it again. Runs that do not agree leave the last one.
func TestConformanceRecord(t *testing.T) {
	name := filepath.Join(t.TempDir(), "record.json")
	d := conformanceRun(t, true)
	if err := d.writeRecord(name); err != nil {
		t.Fatal(err)
	}
	if err := conformanceRun(t, false).writeRecord(name); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(body)
	if err != nil {
		t.Fatal(err)
	}
	d.Counts, d.Faults = nil, nil
	for i := range d.Cases {
		d.Cases[i].Said, d.Cases[i].Reason = "", ""
	}
	if !reflect.DeepEqual(got, d) {
		t.Errorf("got %+v, want %+v", got, d)
	}
	if lines := bytes.Count(body, []byte("\n")); lines != len(d.Cases)+1 {
		t.Errorf("%d lines, want one for each of %d cases and a head", lines, len(d.Cases))
	}
	for _, body := range []string{"", "[]", `{"schema":"hither/bench-dns/1","commit":"a","suite":{"digest":"b"}}`, `{"schema":"hither/bench-conformance/1"}`, `{"schema":"hither/bench-conformance/1","more":1}`} {
		if _, err := readRecord([]byte(body)); err == nil {
			t.Errorf("%q is a record", body)
		}
	}
}

// TestConformanceBadCalls shows that each ends with one line and status 2, and leaves nothing.
func TestConformanceBadCalls(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		args []string
		why  string
	}{
		{[]string{}, "--suite is missing"},
		{[]string{"--suite", empty, "--runs", "0"}, "--runs 0"},
		{[]string{"--suite", empty, "--limit", "1ms"}, "--limit 1ms"},
		{[]string{"--suite", empty, "--update"}, "call it at the top of the repository"},
		{[]string{"--suite", empty}, "is no checkout of http-tests/cache-tests"},
		{[]string{"--suite", empty + "/none"}, "is no checkout of http-tests/cache-tests"},
		{[]string{"--suite", empty, "-o", "xml"}, "want table or json"},
		{[]string{empty}, "unknown command"},
	} {
		t.Setenv("TMPDIR", t.TempDir())
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), append([]string{"conformance"}, c.args...), &stdout, &stderr)
		if status != exitUsage || !strings.Contains(stderr.String(), c.why) || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("bench conformance %q: status %d, %q, %q; want 2 and one line with %q", c.args, status, &stdout, &stderr, c.why)
		}
		if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
			t.Errorf("bench conformance %q left %v", c.args, left)
		}
	}
}
