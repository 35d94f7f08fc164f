package edge_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// planted are scripts that must fail, with what the error must say beside file and line.
var planted = []struct {
	name, script, line string
	says               []string
}{
	{"status", "origin GET /a 200 body=one\nget /a -> 404", ":2:", []string{"status:", "got  200", "want 404"}},
	{"body", "origin GET /a 200 body=one\nget /a -> 200 body=two", ":2:", []string{"body:", "got  one", "want two"}},
	{"sha256", "origin GET /a 200 body=one\nget /a -> 200 body=sha256:00", ":2:", []string{"body:", "got  sha256:7692c3ad"}},
	{"size", "origin GET /a 200 size=10\nget /a -> 200 size=11", ":2:", []string{"size:", "got  10", "want 11"}},
	{"pattern", "origin GET /a 200 size=10\nget /a -> 200 size=10 from=1", ":2:", []string{"not the pattern's"}},
	{"parts", "origin GET /a 200 'Cache-Control: max-age=60' size=1000\nget /a -> 200\nget /a Range: bytes=0-1,5-6 -> 206 parts='0-1/1000 5-7/1000'", ":3:", []string{"part 2:", "got  bytes 5-6/1000", "want bytes 5-7/1000"}},
	{"no parts", "origin GET /a 200 body=one\nget /a -> 200 parts='0-1/3'", ":2:", []string{"content type:", "multipart/byteranges"}},
	{"coding", "origin GET /a 200 body=one\nget /a -> 200 coded=br body=one", ":2:", []string{"Content-Encoding:", "got  identity", "want br"}},
	{"coded body", "origin GET /a 200 'Content-Encoding: gzip' body=one\nget /a -> 200 coded=gzip body=one", ":2:", []string{"EOF"}},
	{"field", "origin GET /a 200 'Cache-Control: max-age=60' body=one\nget /a -> 200  Cache-Control: max-age=61", ":2:", []string{"Cache-Control:", "got  max-age=60", "want max-age=61"}},
	{"glob", "origin GET /a 200 'ETag: \"abc\"' body=one\nget /a -> 200  ETag: \"b*\"", ":2:", []string{"ETag:"}},
	{"missing field", "origin GET /a 200 body=one\nget /a -> 200  ETag: \"1\"", ":2:", []string{"ETag:", "(absent)"}},
	{"forbidden field", "origin GET /a 200 'ETag: \"1\"' body=one\nget /a -> 200  ETag: -", ":2:", []string{"ETag:", "want (absent)"}},
	{"cache status", "origin GET /a 200 'Cache-Control: max-age=60' body=one\nget /a -> 200\n# no wait\nget /a -> 200  Cache-Status: fra; fwd=uri-miss; stored", ":4:", []string{"got  fra; hit; ttl=60"}},
	{"whole", "origin GET /a 200 body=one\nget /a -> 200 broken", ":2:", []string{"broken off:"}},
	{"broken", "origin GET /a 200 'Cache-Control: no-store' chunked size=100000 reset=50000\nget /a -> 200 size=100000", ":2:", []string{"broken off:"}},
	{"interim", "origin GET /a 200 body=one\nget /a -> 200 interim=103", ":2:", []string{"interim responses:"}},
	{"no interim", "origin GET /a 200 interim='103 Link: </a>' body=one\nget /a -> 200 interim=none", ":2:", []string{"interim responses:"}},
	{"trailer", "origin GET /a 200 body=one\nget /a -> 200 trailer='X: 1'", ":2:", []string{"trailer X:"}},
	{"clock", "origin GET /a 200 'Cache-Control: max-age=60' body=one\nget /a -> 200\nadvance 10s\nget /a -> 200  Age: 11", ":4:", []string{"Age:", "got  10", "want 11"}},
	{"origin saw", "origin GET /a 200 body=one\nget /a -> 200\norigin-saw GET /b", ":3:", []string{"request:", "got  GET /a", "want GET /b"}},
	{"origin saw field", "origin GET /a 200 body=one\nget /a -> 200\norigin-saw GET /a  Via: nobody", ":3:", []string{"Via:", "want nobody"}},
	{"origin saw body", "origin POST /a 200\npost /a body=x -> 200\norigin-saw POST /a body=y", ":3:", []string{"body:", "got  x"}},
	{"origin saw two", "origin GET /a 200 'Cache-Control: no-store'\nget /a -> 200\nget /a -> 200\norigin-saw GET /a", ":4:", []string{"saw 2 requests, want 1"}},
	{"origin saw none", "origin GET /a 200\norigin-saw GET /a", ":2:", []string{"saw 0 requests, want 1"}},
	{"origin saw something", "origin GET /a 200\nget /a -> 200\norigin-saw nothing", ":3:", []string{"saw 1 requests"}},
	{"origin never", "origin GET /a 200\nget /a -> 200\norigin-never /a", ":3:", []string{"the origin saw:", "GET /a"}},
	{"log", "origin GET /a 200\nget /a -> 200\nexpect-log verdict=hit", ":3:", []string{"log verdict:", "got  miss", "want hit"}},
	{"log name", "origin GET /a 200\nget /a -> 200\nexpect-log verdickt=miss", ":3:", []string{"log verdickt"}},
	{"log nothing", "origin GET /a 200\nget /a -> 200\nexpect-log nothing", ":3:", []string{"want nothing"}},
	{"counter", "get / -> 404\ncounter edge_rejected_total +1", ":2:", []string{"got  +0", "want +1"}},
	{"counter too far", "limit header_fields=20\nget / many=30 -> 431\nget / many=30 -> 431\ncounter edge_rejected_total +1", ":4:", []string{"got  +2", "want +1"}},
	{"explained", "origin GET /a 200 'Cache-Control: max-age=60' body=one\nget /a -> 200\nexplain get /a -> verdict=miss", ":3:", []string{"explained verdict:", "got  hit", "want miss"}},
	{"explained member", "explain get /a -> stored.variants.0.status=200", ":1:", []string{"explained stored.variants.0.status:", "(absent)"}},
	{"purged", "origin GET /a 200 'Cache-Control: max-age=60' body=one\nget /a -> 200\npurge url www.hither.test/b -> pops.0.objects=1", ":3:", []string{"purged pops.0.objects:", "got  0", "want 1"}},
	{"purge not refused", "purge all -> error=never", ":1:", []string{"got  <nil>", "never"}},
	{"purge refused", "purge url nobody.test/", ":1:", []string{"no site has the host"}},
	{"parallel", "origin GET /a 200 body=one\nparallel 3 get /a -> 200 body=two", ":2:", []string{"got  one"}},
	{"eventually", "origin GET /a 200 body=one\neventually get /a -> 200 body=two", ":2:", []string{"got  one"}},
	{"nothing started", "finish A -> 200", ":1:", []string{`nothing was started as "A"`}},
	{"finish", "origin GET /a 200 hold=1 body=one\nstart A get /a\nread A 1\nrelease\nfinish A -> 200 body=two", ":5:", []string{"got  one"}},
	{"content sent", "origin POST /a 413 unread hold body=no\nstart A post /a body=-\nsend A beginning\nrelease\nfinish A -> 413 most=8", ":5:", []string{"content sent:", "got  9", "want at most 8"}},
	{"errors counted", "lie GET /a ':status: 103' 'link: </a>' flood=1000\nget /a -> 502\ncounter pool_errors_total{reason=origin-protocol} +1", ":3:", []string{"got  +0", "want +1"}},
	{"trickle", "lie GET /a ':status: 200' headers trickle=20 end\nget /a -> 200 size=21", ":2:", []string{"size:", "got  20", "want 21"}},
	{"gateway counted", "gateway h1\norigin GET /a 200 body=one\nget /a -> 200 body=one\ncounter gateway/origin_requests_total{code=404} +1", ":4:", []string{"got  +0", "want +1"}},
	{"no such frame", "lie GET /a trickle=x frame=0", ":1:", []string{"trickle=x is not a number", "frame=0: "}},
	{"handshake", "handshake sni=unknown.test -> ok", ":1:", []string{"unrecognized name"}},
	{"handshake refused", "handshake -> refused=x", ":1:", []string{"handshake:"}},
}

// TestPlanted shows the engine failing: a script whose expectation is wrong says so, with
// its line, over each protocol.
func TestPlanted(t *testing.T) {
	w := newWorld(t, &script{})
	for _, p := range planted {
		sc, err := parse("planted.txt", p.script)
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
			continue
		}
		for _, proto := range protocols {
			t.Run(p.name+"/"+proto, func(t *testing.T) {
				t.Parallel()
				err := w.play(sc, proto, time.Second)
				if err == nil {
					t.Fatal("the script passed")
				}
				for _, want := range append(p.says, "planted.txt"+p.line, "over "+proto) {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("the error lacks %q:\n%v", want, err)
					}
				}
			})
		}
	}
}

// TestPlantedRaw does the same for the steps that speak for themselves.
func TestPlantedRaw(t *testing.T) {
	w := newWorld(t, &script{})
	for _, p := range []struct{ name, proto, script, says string }{
		{"raw status", "h1", "raw tls\n| GET / HTTP/1.1\n| Host: www.hither.test\n|\n-> 200", "want 200"},
		{"raw close", "h1", "limit idle=2s\nraw tls\n| GET / HTTP/1.1\n| Host: www.hither.test\n|\n| GET / HTTP/1.1\n| Host: www.hither.test\n|\n-> 404 close", "end of the connection:"},
		{"fields", "h2", "fields ':method: GET' ':scheme: https' ':authority: www.hither.test' ':path: /' -> malformed", "got  404"},
		{"fields", "h3", "fields ':method: GET' ':scheme: https' ':authority: www.hither.test' ':path: /' -> malformed", "got  404"},
		{"not over h1", "h1", "fields ':method: GET' -> malformed", "HTTP/1.1 has no field sections"},
	} {
		t.Run(p.name+"/"+p.proto, func(t *testing.T) {
			t.Parallel()
			sc, err := parse("planted.txt", p.script)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.play(sc, p.proto, patience); err == nil || !strings.Contains(err.Error(), p.says) {
				t.Errorf("got %v, want an error with %q", err, p.says)
			}
		})
	}
}

// TestParse shows that a script which cannot be read is refused as a whole, with each
// mistake's line.
func TestParse(t *testing.T) {
	for _, c := range []struct{ script, says string }{
		{"get /a -> 200\ngot /b -> 200\nput /c -> 200\npoke", "bad.txt:2: no such step: got\nbad.txt:4: no such step: poke"},
		{"-> 200", "bad.txt:1: an arrow that belongs to no step"},
		{"raw tls\n| x\n-> 200\n-> 400", "bad.txt:4: an arrow"},
	} {
		if _, err := parse("bad.txt", c.script); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: got %v, want %q", c.script, err, c.says)
		}
	}
	for _, c := range []struct{ script, says string }{
		{"only h1", "bad.txt:1: write only PROTOCOL: REASON"},
		{"not h3:", "bad.txt:1: write not PROTOCOL: REASON"},
	} {
		sc, err := parse("bad.txt", c.script)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sc.skips("h1"); err == nil || err.Error() != c.says {
			t.Errorf("%q: got %v, want %q", c.script, err, c.says)
		}
	}
	for _, script := range []string{"site www colour=red", "limit patience=3", "rule nobody /a", "trust me", "limit header_fields=x"} {
		sc, err := parse("bad.txt", script)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sc.setup(netip.Addr{}); err == nil || !strings.HasPrefix(err.Error(), "bad.txt:1:") {
			t.Errorf("%q: got %v", script, err)
		}
	}
}

// FuzzParse looks for a script that the parser cannot take apart.
func FuzzParse(f *testing.F) {
	for _, p := range planted {
		f.Add(p.script)
	}
	f.Add("raw tls\n| \\x4 \\xzz \\\n~ {a*3}\n-> 400 'X: y' body='a b'  # prose")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "*") && len(text) > 100 {
			t.Skip("repetitions multiply")
		}
		sc, err := parse("fuzz.txt", text)
		if err != nil {
			return
		}
		for _, s := range sc.steps {
			if s.verb() == "" || !strings.HasPrefix(s.at, "fuzz.txt:") {
				t.Errorf("step %+v", s)
			}
		}
	})
}
