package accesslog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"hither/cache"
	"hither/edge/accesslog"
	"hither/edge/proxy"
)

var update = flag.Bool("update", false, "write the golden files anew")

var start = time.Date(2026, 3, 4, 6, 7, 8, 901234567, time.FixedZone("CET", 3600))

func exchanges() []*proxy.Exchange {
	return []*proxy.Exchange{
		{ // a miss with everything there is
			Start: start, Node: "fra", Site: "www", Origin: "us", Client: netip.MustParseAddr("192.0.2.1"),
			Proto: "h3", TLS: "1.3", Early: true, Inner: true, Method: "GET", Host: "www.hither.test:8443",
			Target: "/a?b=c", Referer: "https://example.org/", Agent: "curl/8.5.0", Protocol: "HTTP/3.0",
			Status: 200, Verdict: cache.Miss, Reason: cache.ReasonCollapsed, BytesIn: 12, BytesOut: 3456,
			FirstByte: 201234 * time.Microsecond, Wait: 200 * time.Millisecond, Total: 250500 * time.Microsecond,
		},
		{ // a hit over plain HTTP from an IPv6 client
			Start: start, Node: "fra", Site: "www", Client: netip.MustParseAddr("fe80::1%eth0"),
			Proto: "h1", Method: "HEAD", Host: "www.hither.test", Target: "/", Protocol: "HTTP/1.1",
			Status: 304, Verdict: cache.Hit, FirstByte: 41 * time.Microsecond, Total: 52 * time.Microsecond,
		},
		{ // a fault before any status
			Start: start, Node: "fra", Client: netip.MustParseAddr("192.0.2.2"),
			Proto: "h2", TLS: "1.2", Method: "POST", Host: "", Target: "*", Protocol: "HTTP/2.0",
			Verdict: cache.Failed, Reason: "origin-reset", Fault: errors.New(`pool: read "body": reset`), BytesIn: 1 << 40,
			Total: 10 * time.Second,
		},
		{ // a hostile client, whose address is not known
			Start: start, Node: "fra", Proto: "h1", TLS: "1.3",
			Method: "GET", Host: "a\"b", Target: "/\r\n127.0.0.1 - - \"GET / HTTP/1.1\" 200",
			Referer: "\x1b[2J\x00\x7f\u009b\u202e\u2028\\", Agent: "\xff\xfe \u00e9 \U0001F600 \U000E0001",
			Protocol: "HTTP/1.1", Status: 400, Verdict: cache.Refused, Reason: cache.ReasonMethod,
		},
	}
}

func TestGolden(t *testing.T) {
	for format, name := range map[accesslog.Format]string{
		accesslog.JSON: "testdata/json.golden", accesslog.Combined: "testdata/combined.golden",
	} {
		var got []byte
		for _, x := range exchanges() {
			got = accesslog.AppendLine(got, format, x)
		}
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
			t.Errorf("%s differs:\n%s", name, got)
		}
	}
}

// The line made by hand is what encoding/json makes of the documented struct.
func TestLineIsTheManual(t *testing.T) {
	for _, x := range exchanges() {
		line := accesslog.AppendLine(nil, accesslog.JSON, x)
		var doc accesslog.Line
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&doc); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		again, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := errors.Join(json.Unmarshal(line, &a), json.Unmarshal(again, &b)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("by hand  %sby struct %s", line, again)
		}
	}
	// And the first one, which has everything, has each member of the struct but those
	// of an error and a cut.
	var first map[string]any
	if err := json.Unmarshal(accesslog.AppendLine(nil, accesslog.JSON, exchanges()[0]), &first); err != nil {
		t.Fatal(err)
	}
	fields := reflect.TypeFor[accesslog.Line]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if _, ok := first[name]; !ok && name != "error" && name != "cut" {
			t.Errorf("member %s is never written", name)
		}
	}
}

func TestLongStringsAreCut(t *testing.T) {
	long := strings.Repeat("x", accesslog.MaxString+1)
	for _, x := range []*proxy.Exchange{{Method: long}, {Host: long}, {Target: long}, {Referer: long}, {Agent: long}} {
		line := accesslog.AppendLine(nil, accesslog.JSON, x)
		if !bytes.Contains(line, []byte(`"cut":true`)) || bytes.Contains(line, []byte(long)) {
			t.Errorf("not cut: %.60s…", line)
		}
		if line := accesslog.AppendLine(nil, accesslog.Combined, x); bytes.Contains(line, []byte(long)) {
			t.Errorf("not cut: %.60s…", line)
		}
	}
	fits := &proxy.Exchange{Target: long[1:]}
	if line := accesslog.AppendLine(nil, accesslog.JSON, fits); bytes.Contains(line, []byte("cut")) {
		t.Error("cut although it fits")
	}
}

// combined is what the line's readers expect, with no quote inside quotes.
var combined = regexp.MustCompile(`^(\S+) - - \[04/Mar/2026:05:07:08 \+0000\] "([^" ]*) ([^" ]*) HTTP/1\.1" (\d{3}) (\d+) "([^"]*)" "([^"]*)"\n$`)

func FuzzLine(f *testing.F) {
	for _, x := range exchanges() {
		f.Add(x.Method, x.Host, x.Target, x.Referer, x.Agent)
	}
	f.Add("", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "\u2066")
	f.Fuzz(func(t *testing.T, method, host, target, referer, agent string) {
		x := &proxy.Exchange{Start: start, Method: method, Host: host, Target: target, Referer: referer, Agent: agent, Protocol: "HTTP/1.1"}
		line := accesslog.AppendLine(nil, accesslog.JSON, x)
		body := bytes.TrimSuffix(line, []byte("\n"))
		if len(body) != len(line)-1 || !utf8.Valid(body) || bytes.ContainsFunc(body, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("not one printable line: %q", line)
		}
		var doc accesslog.Line
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, p := range [][2]string{{doc.Method, method}, {doc.Host, host}, {doc.Target, target}, {doc.Referer, referer}, {doc.UserAgent, agent}} {
			want := string([]rune(p[1][:min(len(p[1]), accesslog.MaxString)])) // U+FFFD for each invalid byte
			if p[0] != want {
				t.Fatalf("%q was logged as %q", p[1], p[0])
			}
		}
		line = accesslog.AppendLine(nil, accesslog.Combined, x)
		if !combined.Match(line) || bytes.ContainsFunc(line[:len(line)-1], func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("not a combined line: %q", line)
		}
	})
}
