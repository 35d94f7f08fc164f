package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/bench/trace"
	"hither/cache/store"
)

// smallTrace has eight requests whose hits are worked out by hand (TestTraceSmall).
const smallTrace = "testdata/trace-small.csv"

// replayed is a document of what might have come of two traces, in one of which a size is too small for the store.
func replayed(t *testing.T) *traceDocument {
	t.Helper()
	small, err := trace.Read(t.Context(), smallTrace, false)
	if err != nil {
		t.Fatal(err)
	}
	var results []trace.Result
	for i, size := range []trace.Size{{Share: 0.1}, {Bytes: 1 << 20}} {
		of := trace.Result{Size: size.Of(small), Share: size.Share}
		real := of
		real.Policy, real.Limit = trace.Store, trace.StoreLimit
		if i == 0 {
			real.Absent = "store: make a memory store of 6 bytes: the least is 131072"
		} else {
			real.Hits, real.HitBytes, real.TooLarge = 3, 30, 2
			s := store.Stats{Objects: [2]int{3, 4}, Bytes: [2]int64{2000, 3000}, Offered: 9, Promoted: 8, Demoted: 5, Rejected: 1}
			s.Evicted[store.Queue][store.Size] = 17
			real.Store = &trace.StoreResult{Stats: s, Most: 6000, Marked: 1}
		}
		results = append(results, real)
		for l, limit := range []float64{0.125, 1} {
			for p, name := range []string{"fifo", "lru", "s3fifo", "wtinylfu"} {
				r := of
				r.Policy, r.Limit = name, limit
				r.Hits, r.HitBytes, r.TooLarge = int64(i*2+l+p%2), int64(i*30+l*20+p*3), int64(2-2*l)
				results = append(results, r)
			}
		}
	}
	results = append(results, trace.Result{Policy: trace.Infinite, Hits: 4, HitBytes: 60})
	d := &traceDocument{Commit: "0123456789ab", Machine: "A <Processor>, 2 cores, Linux 6.1"}
	d.add(small, results)
	small.File, small.Skipped, small.First = "other/<trace>.csv.gz", 2, errors.New("other/<trace>.csv.gz:3: no key")
	d.add(small, results[10:])
	return d
}

func TestTraceDocument(t *testing.T) {
	d := replayed(t)
	var out, indented bytes.Buffer
	if err := printDocument(&out, "bench-trace", d); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"schema":"hither/bench-trace/1","commit":`)) {
		t.Errorf("begins with %.60s", out.Bytes())
	}
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-trace.json", indented.Bytes())
	out.Reset()
	if err := d.table(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-trace.txt", out.Bytes())
	golden(t, "bench-trace.md", []byte(d.markdown()))
	golden(t, "bench-trace.svg", d.picture())
}

// The picture is XML without anything from elsewhere, no figure of it is none, and nothing leaves it.
func TestTracePicture(t *testing.T) {
	empty := &traceDocument{}
	empty.Traces = append(empty.Traces, traceTrace{File: "nothing"})
	one := replayed(t)
	one.Traces[0].Rows = one.Traces[0].Rows[len(one.Traces[0].Rows)-1:]
	for name, d := range map[string]*traceDocument{"all": replayed(t), "no traces": {}, "no rows": empty, "infinite only": one} {
		svg := d.picture()
		decoder := xml.NewDecoder(bytes.NewReader(svg))
		dots := 0
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			start, is := token.(xml.StartElement)
			if !is {
				continue
			}
			if start.Name.Local == "circle" {
				dots++
			}
			for _, a := range start.Attr {
				if strings.HasSuffix(a.Name.Local, "href") || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
				}
				var at float64
				if _, err := fmt.Sscanf(a.Value, "%g", &at); err == nil && (a.Name.Local == "cx" && at > pictureWidth || at < 0) {
					t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
				}
			}
		}
		// Two panels for each trace: the store once and four policies with two limits at two sizes, then without it at one.
		if want := 2 * (1 + 4*2*2 + 4*2); name == "all" && dots != want {
			t.Errorf("%s: %d dots, want %d", name, dots, want)
		}
	}
}

// The store's line is the last of a panel, so on top, and dashed has one meaning.
func TestTraceLines(t *testing.T) {
	var panels [][]string
	for line := range strings.Lines(string(replayed(t).picture())) {
		class, isLine := strings.CutPrefix(line, `<path class="line `)
		switch {
		case strings.HasPrefix(line, `<text class="group"`):
			panels = append(panels, nil)
		case isLine && len(panels) > 0:
			class, _, _ = strings.Cut(class, `"`)
			panels[len(panels)-1] = append(panels[len(panels)-1], class)
		}
	}
	want := "infinite, fifo limited, lru limited, s3fifo limited, wtinylfu limited, fifo, lru, s3fifo, wtinylfu, hither thick"
	if len(panels) != 4 || strings.Join(panels[0], ", ") != want {
		t.Errorf("%d panels, the first with %q", len(panels), panels[0])
	}
	if strings.Count(traceStyle, "stroke-dasharray") != 2 || !strings.Contains(traceStyle, ".limited { stroke-dasharray: 3 3 }") || !strings.Contains(traceStyle, "stroke-dasharray: 0 5") {
		t.Error("something else than a limit is dashed")
	}
}

func runTrace(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), append([]string{"trace"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

// What is counted of the small trace is what one counts by hand: a of 20 bytes holds two of a, b and c, and never d.
func TestTraceSmall(t *testing.T) {
	status, stdout, stderr := runTrace(t, smallTrace, smallTrace, "--sizes", "20B", "--policies", "fifo,lru,infinite", "--object-limit", "100%", "-o", "json")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var d traceDocument
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Traces) != 2 {
		t.Fatalf("%d traces", len(d.Traces))
	}
	for _, x := range d.Traces {
		if x.Requests != 8 || x.Objects != 4 || x.Unique != 60 || x.Requested != 120 || x.Seconds != 6 || len(x.Rows) != 3 {
			t.Errorf("%+v", x)
		}
		for i, want := range []struct {
			policy      string
			hits, bytes int64
			large       int64
		}{{"fifo", 1, 10, 2}, {"lru", 2, 20, 2}, {"infinite", 4, 60, 0}} {
			r := x.Rows[i]
			if r.Policy != want.policy || *r.Hits != want.hits || *r.HitBytes != want.bytes || *r.TooLarge != want.large || *r.HitRatio != float64(want.hits)/8 {
				t.Errorf("%+v, want %+v", r, want)
			}
		}
	}
	if !strings.Contains(stderr, "[6/6] "+smallTrace+": infinite\n") {
		t.Errorf("progress: %s", stderr)
	}
}

// A whole run: table, picture, and the table in a README.
func TestTraceOutputs(t *testing.T) {
	dir := t.TempDir()
	readme, svg := filepath.Join(dir, "README.md"), filepath.Join(dir, "trace.svg")
	if err := os.WriteFile(readme, []byte("Before.\n<!-- begin trace -->\nold\n<!-- end trace -->\nBehind.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := runTrace(t, smallTrace, "--sizes", "1MiB,50%", "--svg", svg, "--readme", readme)
	if status != 0 || !strings.Contains(stdout, "8 requests for 4 objects of 60 B; 120 B asked for") || !strings.Contains(stdout, "was not replayed: ") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	// With room for everything the store has all hits that can be had.
	if !strings.HasPrefix(string(text), "Before.\n<!-- begin trace -->\n\n| trace |") || !strings.HasSuffix(string(text), ")\n\n<!-- end trace -->\nBehind.\n") ||
		!strings.Contains(string(text), "|  |  | 100 % | .500/.500 |") || strings.Contains(string(text), "old") {
		t.Errorf("%s", text)
	}
	if picture, err := os.ReadFile(svg); err != nil || !bytes.HasPrefix(picture, []byte("<svg ")) {
		t.Errorf("%v, %.20s", err, picture)
	}
}

// A call or a trace that is wrong is told in one line that says where and what to do.
func TestTraceCalls(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.csv")
	if err := os.WriteFile(broken, []byte("1,/a,10\n1,/b\n2,/a,10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "README.md")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]string{
		"":                                          "want a FILE",
		"/nowhere/trace.csv":                        "trace: read /nowhere/trace.csv: no such file or directory",
		"/nowhere/trace.csv --skip-broken":          "trace: read /nowhere/trace.csv: no such file",
		broken:                                      broken + ":2: want time,key,size, has two fields (mend the line, or leave such ones out with --skip-broken)",
		smallTrace + " " + broken:                   broken + ":2:",
		smallTrace + " --sizes large":               "--sizes: ",
		smallTrace + " --sizes 1MB":                 "--sizes: ",
		smallTrace + " --sizes 0B":                  "--sizes: 0B: want at least a byte",
		smallTrace + " --sizes=-1%":                 "--sizes: -1%: want a percentage",
		smallTrace + " --sizes 101%":                "--sizes: 101%: want a percentage",
		smallTrace + " --sizes NaN%":                "--sizes: NaN%: want a percentage",
		smallTrace + " --sizes 1%,1%":               "--sizes 1%: named twice",
		smallTrace + " --sizes=":                    "--sizes: want 1 to 32",
		smallTrace + " --policies arc":              "--policies arc: want some of hither, fifo, lru, s3fifo, wtinylfu, infinite",
		smallTrace + " --policies lru,lru":          "--policies lru: named twice",
		smallTrace + " --policies=":                 "--policies: want some of",
		smallTrace + " --object-limit 1":            "--object-limit: 1: want a percentage",
		smallTrace + " --object-limit 1%,1%":        "--object-limit 1%: named twice",
		smallTrace + " --object-limit=":             "--object-limit: want 1 to 32",
		smallTrace + " --svg /nowhere/at/all.svg":   "/nowhere/at is not a folder",
		smallTrace + " --readme /nowhere/README.md": "--readme: open /nowhere/README.md",
		smallTrace + " --readme " + empty:           `want a line "<!-- begin trace -->" and below it a line "<!-- end trace -->"`,
		smallTrace + " -o xml":                      "want table or json",
	} {
		status, stdout, stderr := runTrace(t, strings.Fields(call)...)
		said := ""
		for line := range strings.Lines(stderr) {
			if !strings.HasPrefix(line, "reading ") {
				said += line
			}
		}
		if status != exitUsage || strings.Count(said, "\n") != 1 || !strings.Contains(said, want) || stdout != "" {
			t.Errorf("bench trace %s: status %d, %q, %q; want %q", call, status, stdout, said, want)
		}
	}
	status, stdout, stderr := runTrace(t, broken, "--skip-broken", "--policies", "lru")
	if status != 0 || !strings.Contains(stdout, "broken lines left out: 1, the first: "+broken+":2: ") {
		t.Errorf("--skip-broken: status %d: %s%s", status, stdout, stderr)
	}
}

// Ctrl-C ends it, and nothing is printed or written.
func TestTraceStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	svg := filepath.Join(t.TempDir(), "trace.svg")
	var stdout, stderr bytes.Buffer
	status := run(ctx, []string{"trace", smallTrace, "--svg", svg}, &stdout, &stderr)
	if status != exitWrong || stdout.Len() > 0 || !strings.HasSuffix(stderr.String(), "bench: stopped; what it started has ended\n") {
		t.Errorf("status %d, %q, %q", status, &stdout, &stderr)
	}
	if _, err := os.Stat(svg); err == nil {
		t.Error("it wrote a picture")
	}
}

func TestDecimal(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 7: "7 B", 999: "999 B", 1000: "1 kB", 1234: "1.23 kB", 23_258_957: "23.3 MB", 99_949: "99.9 kB", 280_431_244: "280 MB", 999_600: "1 MB", 1 << 62: "4.61 EB"} {
		if got := decimal(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
