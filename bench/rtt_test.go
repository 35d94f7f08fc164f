package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/bench/rtt"
	"hither/deploy"
)

// traveled is a result in which everything takes a little more than its limit; one hit of TLS 1.3 in three was late, the
// round trips of one direct visit were not counted, and misses of HTTP/3 took too long.
func traveled() *rtt.Result {
	const ms = time.Millisecond
	r := &rtt.Result{
		Distances: rtt.Distances{ClientEdge: 10 * ms, EdgeOrigin: 200 * ms, ClientOrigin: 200 * ms},
		LabError:  123456, Congestion: "bbr",
	}
	for _, c := range rtt.Cases([]deploy.Size{1 << 10, 1 << 20}) {
		row := rtt.Row{Case: c}
		distance := r.ClientOrigin
		if c.Way == rtt.Edge {
			distance = r.ClientEdge
		}
		for i := range 3 {
			x := c.Expected()
			s := rtt.Sample{First: r.Limit(x) + time.Duration(i+1)*ms/2, Rounds: &x}
			s.Last = s.First + time.Duration(c.Size/1024)*ms/4
			if n := c.Protocol.RoundTrips(); n > 1 {
				s.Handshake = time.Duration(n-1)*distance + ms/3
			}
			if !c.Protocol.QUIC() {
				s.Connect = distance + ms/4
			}
			switch {
			case c.Way == rtt.Edge:
				s.DNS = 10*ms + ms/5
			case i == 1:
				s.Rounds = nil
			}
			if c.Cache == rtt.Hit && c.Protocol.String() == "tls1.3" && i == 0 {
				s.First, s.Last = s.First+50*ms, s.Last+50*ms
			}
			if c.Cache == rtt.MissWarm && c.Protocol.String() == "h3" {
				s.First, s.Last = s.First+12*ms, s.Last+12*ms
			}
			row.Samples = append(row.Samples, s)
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

func rttDoc(r *rtt.Result) *rttDocument {
	d := newRTTDocument(rttOptions{samples: 3, cold: 3}, r)
	d.Commit, d.Machine = "0123456789ab", "A <Processor>, 2 cores, Linux 6.1"
	return d
}

func TestRTTDocument(t *testing.T) {
	d := rttDoc(traveled())
	var out, indented bytes.Buffer
	small := *d
	small.Rows = slices.DeleteFunc(slices.Clone(d.Rows), func(r rttRow) bool { return r.Size > 1<<10 })
	if err := printDocument(&out, "bench-rtt", &small); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"schema":"hither/bench-rtt/1","commit":`)) {
		t.Errorf("begins with %.60s", out.Bytes())
	}
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-rtt.json", indented.Bytes())
	out.Reset()
	if err := d.table(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-rtt.txt", out.Bytes())
	golden(t, "bench-rtt.svg", d.picture())
	if d.holds() {
		t.Error("misses took too long, and everything holds")
	}
}

// The keys of CONTRACTS are all there, and what was not measured is absent.
func TestRTTKeys(t *testing.T) {
	d := rttDoc(traveled())
	d.Rows = append(d.Rows, rttRow{Path: "edge"})
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Rows []map[string]any `json:"rows"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields("dns_ms connect_ms handshake_ms first_byte_ms first_byte_p95_ms last_byte_ms round_trips limit_ms ratio")
	absent := map[string]string{"tls1.2 direct": "dns_ms", "h3 hit": "connect_ms", "h3-0rtt hit": "connect_ms handshake_ms"}
	for _, row := range doc.Rows {
		name, _ := row["protocol"].(string)
		cache, _ := row["cache"].(string)
		if cache == "none" {
			cache = "direct"
		}
		want, checked := absent[name+" "+cache]
		if row["path"] == "edge" && name == "" {
			want, checked = strings.Join(keys, " "), true
		}
		for _, key := range keys {
			_, is := row[key]
			if checked && is == strings.Contains(" "+want+" ", " "+key+" ") {
				t.Errorf("%s %s: %s is there: %v", name, cache, key, is)
			}
		}
	}
}

// The picture is XML without anything from elsewhere, and no bar or figure leaves it.
func TestRTTPicture(t *testing.T) {
	for name, d := range map[string]*rttDocument{
		"all":       rttDoc(traveled()),
		"nothing":   rttDoc(&rtt.Result{}),
		"no bounds": rttDoc(&rtt.Result{Rows: traveled().Rows}),
	} {
		svg := d.picture()
		decoder := xml.NewDecoder(bytes.NewReader(svg))
		bars := 0
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
			if start.Name.Local == "rect" {
				bars++
			}
			for _, a := range start.Attr {
				if strings.HasSuffix(a.Name.Local, "href") || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
				}
			}
		}
		if bytes.Contains(svg, []byte("url(")) || bytes.Contains(svg, []byte("@import")) {
			t.Errorf("%s: something is from elsewhere", name)
		}
		if want := 20; name == "all" && bars < want {
			t.Errorf("%s: %d bars, want at least %d", name, bars, want)
		}
	}
}

// The legend has the phases that are drawn, and no other; DNS lies before the clock's start.
func TestRTTLegend(t *testing.T) {
	ms := func(v float64) *float64 { return &v }
	quick := rttRow{Path: "direct", Protocol: "h3-0rtt", Cache: "none", First: ms(20), Last: ms(20.01)}
	full := rttRow{Path: "edge", Protocol: "tls1.3", Cache: "hit", DNS: ms(10), Connect: ms(10), Handshake: ms(20), First: ms(30), Last: ms(60)}
	for name, c := range map[string]struct {
		rows []rttRow
		want string
		zero string // where the clock starts
	}{
		"quick":   {[]rttRow{quick}, "wait", "274"},
		"full":    {[]rttRow{full}, "dns connect handshake wait body", "348.4"},
		"both":    {[]rttRow{quick, full}, "dns connect handshake wait body", "348.4"},
		"nothing": {nil, "", "274"},
	} {
		d := &rttDocument{URL: "https://www.hither.test/", Rows: c.rows}
		var legend []string
		drawn := map[string]bool{}
		for line := range strings.Lines(string(d.picture())) {
			class, of, _ := strings.Cut(strings.TrimPrefix(line, `<rect class="`), `"`)
			switch {
			case !strings.HasPrefix(line, "<rect ") || class == "ground":
			case strings.Contains(of, ` y="71" `):
				legend = append(legend, class)
			default:
				drawn[class] = true
			}
		}
		if strings.Join(legend, " ") != c.want || len(drawn) != len(legend) {
			t.Errorf("%s: the legend has %q, drawn are %v; want %q", name, legend, drawn, c.want)
		}
		if !bytes.Contains(d.picture(), []byte(`<text class="faint middle" x="`+c.zero+`"`)) || !bytes.Contains(d.picture(), []byte(">0</text>")) {
			t.Errorf("%s: no start at %s", name, c.zero)
		}
	}
}

// One sample is told as one.
func TestRTTOneSample(t *testing.T) {
	for _, o := range []rttOptions{{samples: 1, cold: 1}, {samples: 1, url: &url.URL{Scheme: "https", Host: "a.test"}}} {
		var out bytes.Buffer
		if err := newRTTDocument(o, traveled()).table(&out); err != nil || !strings.Contains(out.String(), "Medians of 1 sample") || strings.Contains(out.String(), "1 samples") {
			t.Errorf("%v: %s", err, &out)
		}
	}
}

// A call that is wrong is told in one line before anything is made.
func TestRTTCalls(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for call, want := range map[string]string{
		"rtt --client-edge 1h":                               "distances go from 0s to 10s",
		"rtt --edge-origin -1ms":                             "distances go from 0s to 10s",
		"rtt --client-origin fast":                           "fast",
		"rtt --loss 1":                                       "--loss 1: want a share from 0 to 0.2",
		"rtt --loss NaN":                                     "--loss NaN",
		"rtt --samples 0":                                    "--samples 0: want 1 to 1000",
		"rtt --samples 1001":                                 "--samples 1001",
		"rtt --cold-samples -1":                              "--cold-samples -1",
		"rtt --size 1KB":                                     "1KB",
		"rtt --size 0B":                                      "--size 0B: want 1B to 8MiB",
		"rtt --size 9MiB":                                    "--size 9MiB",
		"rtt --size 1KiB,1024B":                              "--size 1024B: named twice",
		"rtt --size=":                                        "--size: want at least one",
		"rtt --svg /nowhere/at/all.svg":                      "/nowhere/at is not a folder",
		"rtt --hither /nowhere/hither":                       "make build",
		"rtt -o xml":                                         "want table or json",
		"rtt https://a.test/ https://b.test":                 "at most 1",
		"rtt http://www.hither.test/":                        "write https://HOST[:PORT]/PATH",
		"rtt www.hither.test":                                "write https://HOST[:PORT]/PATH",
		"rtt https://a.test/#part":                           "write https://HOST[:PORT]/PATH",
		"rtt https://a.test/ --loss 0.1":                     "--loss goes with a lab only",
		"rtt https://a.test/ --samples 0":                    "--samples 0",
		"rtt https://a.test/ --direct a":                     "--direct: a is not",
		"rtt https://a.test/ --ca /nowhere":                  "--ca: open /nowhere",
		"rtt https://a.test/ --ca /dev/null":                 "no certificate in it",
		"rtt https://a.test/ --resolver a:b:c":               "--resolver:",
		"rtt https://127.0.0.1:1/ --svg /nowhere/at/all.svg": "/nowhere/at is not a folder",
		"rtt https://a.test/ --published 127.0.0.1":          "want ADDR=ADDR",
		"rtt https://a.test/ --published 127.0.0.1=b":        "--published:",
		"rtt https://a.test/ --published a=127.0.0.1":        "--published:",
		"rtt --published 127.0.0.1=127.0.0.2":                "--published goes with a URL only",
		"rtt --resolver 127.0.0.1":                           "--resolver goes with a URL only",
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(call), &stdout, &stderr)
		if status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), want) || stdout.Len() > 0 {
			t.Errorf("bench %s: status %d, %q, %q; want %q", call, status, &stdout, &stderr, want)
		}
	}
}

func TestGridStep(t *testing.T) {
	for _, c := range []struct{ distance, end, want float64 }{
		{200, 800, 200}, {200, 2400, 200}, {200, 2401, 400}, {10, 1000, 90}, {0, 50, 5}, {0, 3.8, 0.5}, {0, 1000, 100}, {0, 1001, 200}, {0, 0, 1},
	} {
		if got := gridStep(c.distance, c.end); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v ms in %v ms: every %v, want %v", c.distance, c.end, got, c.want)
		}
	}
}

// A URL's document has neither distances nor round trips, and its table and picture do without.
func TestRTTOfAURL(t *testing.T) {
	of, err := url.Parse("https://www.hither.test/?a&b")
	if err != nil {
		t.Fatal(err)
	}
	r := traveled()
	rows := r.Rows[:10]
	for i := range rows {
		for j := range rows[i].Samples {
			rows[i].Samples[j].Rounds = nil
		}
	}
	d := newRTTDocument(rttOptions{url: of, direct: of, samples: 3}, &rtt.Result{Rows: rows})
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"client_edge_ms", "loss", "lab_error_ms", "cold_samples", "congestion", "round_trips", "limit_ms", "ratio", "verdicts"} {
		if strings.Contains(string(body), key) {
			t.Errorf("%s is in the document of a URL", key)
		}
	}
	var out bytes.Buffer
	if err := d.table(&out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "direct: https://www.hither.test/?a&b\n") || strings.Contains(text, "near from") || !d.holds() {
		t.Error(text)
	}
	if svg := d.picture(); !bytes.Contains(svg, []byte("First byte of https://www.hither.test/?a&amp;b<")) {
		t.Errorf("%s", svg)
	}
}
