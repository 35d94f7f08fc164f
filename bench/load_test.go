package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"hither/bench/load"
)

// times has n samples from a time on, each a hundredth longer than the one before.
func times(n int, from time.Duration) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1000, int64(time.Minute), 3)
	for i := range n {
		h.RecordValue(int64(float64(from) * math.Pow(1.01, float64(i))))
	}
	return h
}

// loaded is what came of h1, h2 and h3 at a rate: h2 had errors of two kinds, and h3 could not keep the rate.
func loaded(open bool) *loadDocument {
	u, err := load.ParseURL("https://www.hither.test/?a&b")
	if err != nil {
		panic(err)
	}
	o := loadOptions{load: load.HTTPLoad{
		URLs: []*url.URL{u}, To: netip.MustParseAddrPort("192.0.2.1:443"), Connections: 4, Streams: 1, Seed: 1,
		For: 2 * time.Second, WarmUp: time.Second, Timeout: 10 * time.Second,
	}}
	if open {
		o.load.Rate = 200
	}
	d := newLoadDocument(o)
	d.Commit, d.Machine = "0123456789ab", "A <Processor>, 2 cores, Linux 6.1"
	for i, p := range load.HTTPProtocols {
		r := &load.HTTPRun{
			Protocol: p, Asked: o.load.Rate, Elapsed: o.load.For, Requests: 400, Answered: 400, InTime: 400, Bytes: 400 << 10,
			Errors: map[load.ErrorKind]int64{}, Status: map[int]int64{200: 400}, CPU: 10 * time.Millisecond,
			Service: times(400, time.Duration(i+1)*100*time.Microsecond), Response: times(400, time.Duration(i+1)*150*time.Microsecond),
			Server: load.ServerUsage{CPU: 20 * time.Millisecond, RSSBefore: 30 << 20, RSSAfter: 31 << 20, RSSMost: 32 << 20, Processes: i + 1},
		}
		switch p {
		case "h2":
			r.Answered, r.InTime, r.Status, r.Opened, r.Again = 380, 380, map[int]int64{200: 380, 503: 15}, 5, 2
			r.Errors = map[load.ErrorKind]int64{load.ErrStatus: 15, load.ErrBroken: 5}
			r.First, r.Because = errors.New("https://www.hither.test/?a&b: status 503"), errors.New("it went")
			r.Server = load.ServerUsage{}
		case "h3":
			r.Answered, r.InTime, r.Unsent, r.Status = 300, 300, 100, map[int]int64{200: 300}
			r.Service = times(300, 300*time.Microsecond)
		}
		d.add(r)
	}
	return d
}

// TestLoadDocument compares with what is known to be right; the records of all samples are read back instead.
func TestLoadDocument(t *testing.T) {
	d := loaded(true)
	var out, indented bytes.Buffer
	if err := d.table(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-load.txt", out.Bytes())
	golden(t, "bench-load.svg", d.picture())
	for _, r := range d.Rows {
		for _, times := range []*loadTimes{r.Service, r.Response} {
			h, err := hdrhistogram.Decode([]byte(times.Record))
			if err != nil || h.TotalCount() != times.Samples || h.Max() != times.histogram.Max() {
				t.Errorf("%s: the record has %v, %v", r.Protocol, h, err)
			}
			times.Record = "" // compressed by a library that may do it better one day
		}
	}
	out.Reset()
	if err := printDocument(&out, "bench-load", d); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"schema":"hither/bench-load/1","commit":`)) {
		t.Errorf("begins with %.60s", out.Bytes())
	}
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-load.json", indented.Bytes())
}

// A closed loop has no time when a request is due, and other loads have other words.
func TestLoadWords(t *testing.T) {
	d := loaded(false)
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"asked_rate", `"response"`, "unsent_total"} {
		if strings.Contains(string(body), key) {
			t.Errorf("%s is in the document of a closed loop", key)
		}
	}
	for want, change := range map[string]func(*loadDocument){
		"Closed loop, 4 connections; measured for 2 s after 1 s. Milliseconds from when a request was sent.\n": func(*loadDocument) {},
		"4 connections x 10 streams;":                     func(d *loadDocument) { d.Streams = 10 },
		"4 connections at once, a new one for each":       func(d *loadDocument) { d.NewConnections = true },
		"request, resumed;":                               func(d *loadDocument) { d.NewConnections, d.Resume = true, true },
		"h2: 0 of 5 connections resumed":                  func(d *loadDocument) { d.NewConnections, d.Resume = true, true },
		"h2: 5 connections opened while it was measured":  func(*loadDocument) {},
		"20 URLs in turn, from https://www.hither.test/?": func(d *loadDocument) { d.URLs = 20 },
		"20 URLs, the nth in proportion to 1/n^0.9, from": func(d *loadDocument) { d.URLs, d.Zipf = 20, 0.9 },
		"STOPPED before its time was over\n":              func(d *loadDocument) { d.Stopped = true },
	} {
		d := loaded(false)
		change(d)
		var out bytes.Buffer
		if err := d.table(&out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v, %s\nwant %q", err, &out, want)
		}
	}
}

// What was not measured is absent: of a server's process that ended, and where nothing was answered.
func TestLoadAbsent(t *testing.T) {
	for name, c := range map[string]struct {
		run    load.HTTPRun
		absent string
	}{
		"ended":      {load.HTTPRun{InTime: 5, CPU: time.Millisecond, Server: load.ServerUsage{RSSBefore: 1, RSSMost: 1}}, "cpu_us server_cores rss_after_bytes service"},
		"no answer":  {load.HTTPRun{CPU: time.Millisecond, Server: load.ServerUsage{CPU: 1, RSSBefore: 1, RSSAfter: 1, RSSMost: 1}}, "client_cpu_us cpu_us server_cores service"},
		"no account": {load.HTTPRun{InTime: 5}, "client_cpu_us cpu_us server_cores rss_before_bytes rss_after_bytes rss_most_bytes server_processes service"},
		"all":        {load.HTTPRun{InTime: 5, CPU: time.Millisecond, Server: load.ServerUsage{CPU: 1, RSSBefore: 1, RSSAfter: 1, RSSMost: 1, Processes: 1}}, "service"},
	} {
		d := loaded(false)
		d.Rows = nil
		c.run.Service = times(0, 0)
		d.add(&c.run)
		body, err := json.Marshal(d.Rows[0])
		if err != nil {
			t.Fatal(err)
		}
		var row map[string]any
		if err := json.Unmarshal(body, &row); err != nil {
			t.Fatal(err)
		}
		for _, key := range strings.Fields("client_cpu_us cpu_us server_cores rss_before_bytes rss_after_bytes rss_most_bytes service") {
			if _, is := row[key]; is == slices.Contains(strings.Fields(c.absent), key) {
				t.Errorf("%s: %s is there: %v", name, key, is)
			}
		}
		if err := d.table(io.Discard); err != nil {
			t.Error(err)
		}
	}
}

// The picture is XML without anything from elsewhere, and no curve or name leaves it.
func TestLoadPicture(t *testing.T) {
	flat := loaded(false)
	flat.Rows = flat.Rows[:1]
	flat.Rows[0].Service = newLoadTimes(times(1, time.Millisecond))
	wide := loaded(true)
	wide.Rows[0].Service, wide.Rows[1].Response = newLoadTimes(times(1000, time.Microsecond)), newLoadTimes(times(100, 20*time.Second))
	wide.URL = "https://www.hither.test/" + strings.Repeat("long", 100)
	nothing := loaded(true)
	nothing.Rows = nil
	for name, c := range map[string]struct {
		d      *loadDocument
		curves int
	}{"open": {loaded(true), 6}, "closed": {loaded(false), 3}, "one sample": {flat, 1}, "wide": {wide, 6}, "nothing": {nothing, 0}} {
		svg := c.d.picture()
		decoder := xml.NewDecoder(bytes.NewReader(svg))
		paths := 0
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
			for _, a := range start.Attr {
				if strings.HasSuffix(a.Name.Local, "href") || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
				}
				if a.Name.Local == "d" {
					paths++
					inside(t, name, a.Value)
				}
			}
		}
		if paths != 2*c.curves {
			t.Errorf("%s: %d lines, want a curve and a name's each for %d", name, paths, c.curves)
		}
	}
	want := []string{"Failed, and not shown: h2 20 of 400", "Never sent, and shown with the time they had waited: h3 100 of 400"}
	if lost := loaded(true).leftOut(); !slices.Equal(lost, want) {
		t.Errorf("%q", lost)
	}
}

// inside looks for points of a path outside of the picture.
func inside(t *testing.T, name, path string) {
	t.Helper()
	for _, point := range strings.Split(strings.TrimPrefix(path, "M"), "L") {
		var x, y float64
		if _, err := fmt.Sscanf(point, "%f %f", &x, &y); err != nil || x < curveLeft || x > curveWidth || y < curveTop-1 || y > curveBottom+1 {
			t.Errorf("%s: a point at %s, %v", name, point, err)
			return
		}
	}
}

func TestLogAxis(t *testing.T) {
	for _, c := range []struct{ low, high, from, to float64 }{
		{0.3, 7, 0.2, 10}, {1, 10, 1, 10}, {1, 1, 1, 2}, {0.05, 900, 0.05, 1000}, {0.05, 1001, 0.01, 10000}, {0.001, 0.001, 0.001, 0.002}, {9.99, 10.01, 5, 20},
	} {
		a := newLogAxis(c.low, c.high)
		if math.Abs(a.low/c.from-1) > 1e-9 || math.Abs(a.high/c.to-1) > 1e-9 {
			t.Errorf("%v to %v: from %v to %v", c.low, c.high, a.low, a.high)
		}
		marks := a.marks()
		if len(marks) < 2 || len(marks) > 24 || math.Abs(a.at(marks[0])-curveBottom) > 0.01 {
			t.Errorf("%v to %v: marks %v", c.low, c.high, marks)
		}
	}
}

// loadable is a server of h1 and h2, and how to call for it.
func loadable(t *testing.T, handler http.HandlerFunc) []string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"load", "https://example.com/page", "--to", s.Listener.Addr().String(), "--ca", ca, "--warm-up", "0s"}
}

// TestLoad calls the command for a real server.
func TestLoad(t *testing.T) {
	call := loadable(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	svg := filepath.Join(t.TempDir(), "load.svg")
	var stdout, stderr bytes.Buffer
	args := append(call, "--for", "50ms", "--protocol", "h1,h2", "--rate", "1000", "--pid", fmt.Sprint(os.Getpid()), "-o", "json", "--svg", svg)
	if status := run(t.Context(), args, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d, %s", status, &stderr)
	}
	var d struct {
		Schema string
		Loop   string
		Rows   []struct {
			Protocol string
			Requests int64 `json:"requests_total"`
			Rate     float64
			Most     int64   `json:"rss_most_bytes"`
			Pids     int     `json:"server_processes"`
			CPU      float64 `json:"client_cpu_us"`
			Response struct{ Samples int64 }
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if d.Schema != "hither/bench-load/1" || d.Loop != "open" || len(d.Rows) != 2 || d.Rows[0].Protocol != "h1" || d.Rows[1].Protocol != "h2" {
		t.Errorf("%+v", d)
	}
	for _, r := range d.Rows {
		if r.Requests != 50 || r.Response.Samples != 50 || r.Most == 0 || r.Pids < 1 ||
			(r.CPU > 0) != (r.Rate > 0) { // on a busy machine no answer may come in so short a time
			t.Errorf("%+v", r)
		}
	}
	if picture, err := os.ReadFile(svg); err != nil || !bytes.HasPrefix(picture, []byte("<svg ")) {
		t.Errorf("%.20s, %v", picture, err)
	}
}

// TestLoadStopped prints what was measured until then.
func TestLoadStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	call := loadable(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 50 {
			cancel()
		}
		io.WriteString(w, "hello")
	})
	var stdout, stderr bytes.Buffer
	status := run(ctx, append(call, "--for", "1h"), &stdout, &stderr)
	if status != exitWrong || !strings.Contains(stdout.String(), "STOPPED") || stderr.String() != "bench: stopped; what it started has ended\n" {
		t.Errorf("status %d, %s, %s", status, &stdout, &stderr)
	}
}

// TestLoadOfErrors has a server that fails once the load begins.
func TestLoadOfErrors(t *testing.T) {
	var n atomic.Int64
	call := loadable(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), append(call, "--for", "30ms"), &stdout, &stderr)
	if status != exitWrong || !strings.Contains(stdout.String(), " status; the first: https://example.com/page: status 503\n") ||
		stderr.String() != "bench: measure: nothing was answered\n" {
		t.Errorf("status %d, %s, %s", status, &stdout, &stderr)
	}
}

// A call that is wrong is told in one line.
func TestLoadCalls(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("https://a.test/\nhttps://b.test/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "https://127.0.0.1:1/ "
	for call, want := range map[string]string{
		"":                                   "name a URL, or a list of them with --urls FILE",
		url + "--urls x":                     "name them in one way",
		"--urls " + list:                     list + ":2: https://b.test/ is of another scheme, host or port",
		"--urls /nowhere/list":               "--urls: open /nowhere/list",
		"www.hither.test":                    "write https://HOST[:PORT]/PATH",
		url + "https://a.test/":              "URL 2: https://a.test/ is of another",
		url + "--connections 0":              "--connections 0: want at least 1",
		url + "--streams 0":                  "--streams 0: want at least 1",
		url + "--timeout 0s":                 "--timeout 0s: want more",
		url + "--to a --resolver b":          "--to and --resolver",
		url + "--to a":                       "--to: ",
		url + "--resolver a:b:c":             "--resolver: ",
		url + "--protocol h4":                "want h1, h2 or h3",
		url + "--protocol h2,h2":             "--protocol h2: named twice",
		url + "--protocol=":                  "--protocol: want h1, h2 or h3",
		url + "--protocol h1,h2 --streams 2": "HTTP/1.1 has one request at a time",
		"http://a.test/ --protocol h2":       "without TLS there is h1 only",
		url + "--resume":                     "to resume goes with new connections only",
		url + "--rate -1":                    "rate -1",
		url + "--zipf -1":                    "zipf -1",
		url + "--for 2h":                     "measure for 2h",
		url + "--ca /nowhere":                "--ca: open /nowhere",
		url + "--svg /nowhere/at.svg":        "/nowhere is not a folder",
		url + "-o xml":                       "want table or json",
		url + "--pid 999999999":              "usage of process 999999999: no process of that number runs; name the server's number",
		url:                                  "connection refused; start it, or name the host and port",
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields("load "+call), &stdout, &stderr)
		if status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), want) || stdout.Len() > 0 {
			t.Errorf("bench load %s: status %d, %q, %q; want %q", call, status, &stdout, &stderr, want)
		}
	}
}
