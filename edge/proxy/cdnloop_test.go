package proxy

import (
	"strings"
	"testing"

	"hither/cache"
)

func TestCircles(t *testing.T) {
	for _, c := range []struct {
		rule  string
		lines []string
		want  bool
	}{
		{"nobody was there", nil, false},
		{"RFC 8586 2: others were", []string{`foo123.foocdn.example, barcdn.example; trace="abcdef"`, `AnotherCDN; abc=123; def="456"`}, false},
		{"we were", []string{"a.example, hither-demo"}, true},
		{"in any case", []string{"Hither-Demo"}, true},
		{"with parameters", []string{`a;x=1,hither-demo ; node="fra"`}, true},
		{"in another line", []string{"a", "b", "\thither-demo"}, true},
		{"a name that begins so", []string{"hither-demo2, hither-demo.example, xhither-demo"}, false},
		{"a value is no name", []string{"a;by=hither-demo"}, false},
		{"malformed ones are nobody", []string{";;, ,=, \"", `"a`}, false},
		{"and hide nobody", []string{`x;a=", hither-demo`, "y"}, true},
		{"what follows the name is not looked at", []string{"hither-demo what"}, true},
		{"more networks than anybody needs", []string{strings.Repeat("a,", mostCDNs+1)}, true},
		{"as many as there may be", []string{strings.Repeat("a,", mostCDNs)}, false},
		{"too long", []string{"a;x=" + strings.Repeat("y", mostCDNsBytes)}, true},
	} {
		if got := circles(c.lines, "hither-demo", 0); got != c.want {
			t.Errorf("%s: %.80q: %v", c.rule, c.lines, got)
		}
	}
	if circles([]string{"a, , hither-demo"}, "", 0) {
		t.Error("a network without a name is found")
	}
	for lines, want := range map[string]bool{"": false, "hither-demo": false, "a, hither-demo, b": false, "hither-demo, Hither-Demo": true, "hither-demo, a, hither-demo;x": true} {
		if got := circles([]string{lines}, "hither-demo", 1); got != want {
			t.Errorf("at a shield: %q: %v", lines, got)
		}
	}
}

// Whatever others wrote there, this network finds itself behind it, and before it.
func FuzzCircles(f *testing.F) {
	for _, s := range []string{"", "a", `a;b="c`, "a,b;c=d", `\",`, "\x00", "hither-dem", ",,,;;;"} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		const own = "hither-demo"
		for _, lines := range [][]string{{a, own, b}, {a + "," + own + "," + b}, {a + ", " + own + `;n="1"`, b}} {
			if !circles(lines, own, 0) {
				t.Errorf("%q: not found", lines)
			}
		}
		if circles([]string{a, b}, own, 0) && !strings.Contains(strings.ToLower(a+" "+b), own) && len(a)+len(b) <= mostCDNsBytes && strings.Count(a+","+b, ",") < mostCDNs {
			t.Errorf("%q, %q: found", a, b)
		}
	})
}

func TestCDNLoop(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.proxy.cfg.CDN = "hither-demo"
		h.origin("/", says(200, "hello", "Cache-Control", "no-store", "Cdn-Loop", "theirs"))
		h.get("/", 200, "hello")
		sent(t, h.expectAsked(1), "Cdn-Loop", "hither-demo")
		h.get("/", 200, "hello", "CDN-Loop", "a.example; x=1", "CDN-Loop", "b,, c")
		sent(t, h.expectAsked(1), "Cdn-Loop", "a.example; x=1 | b,, c | hither-demo")
		for _, method := range []string{"GET", "POST"} {
			a := h.do(method, "/", "CDN-Loop", "a, hither-demo").said(t, cache.Refused, "loop").fields(t, "Proxy-Status", "fra; error=proxy_loop_detected")
			if a.StatusCode != 502 {
				t.Errorf("%s: %d", method, a.StatusCode)
			}
		}
		h.expectAsked(0)
		h.proxy.cfg.CDN = ""
		h.get("/", 200, "hello", "CDN-Loop", "hither-demo")
		sent(t, h.expectAsked(1), "Cdn-Loop", "hither-demo")
	})
}
