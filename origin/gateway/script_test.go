package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A plot is one case of a script in testdata/bad: what an instance does, and what becomes of it. testdata/README.md tells how
// it is written.
type plot struct {
	at     string // file:line
	limits []string
	greets []string // what the instance does with a connection
	says   []string // with a request for /
	names  []string // where instances are looked up: what the name server says
	wants  []want
}

// A want is what one line with an arrow expects.
type want struct {
	at, text string
	over     []string
	status   string // a number, or broken: the content breaks off, or 502 where it had been read ahead
	token    string // of Proxy-Status; - = there is none
	reason   string // the counter that moves by one, alone of its kind; - = none
	later    bool   // the connection is of no use any more, which its PING finds out
}

// tongues are the protocols that instances are reached by, and the words for several.
var tongues = map[string][]string{
	"h1": {"h1"}, "h1+tls": {"h1+tls"}, "h2c": {"h2c"}, "h2": {"h2"}, "h3": {"h3"},
	"text": {"h1", "h1+tls"}, "frames": {"h2c", "h2"}, "tls": {"h1+tls", "h2", "h3"}, "all": {"h1", "h1+tls", "h2c", "h2", "h3"},
}

// readPlots reads a script. All mistakes are in the error.
func readPlots(name, text string) (plots []*plot, _ error) {
	var errs []error
	var limits []string
	p := &plot{}
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, i+1)
		words := split(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if words[0] != "->" && len(p.wants) > 0 {
			p = &plot{}
		}
		switch words[0] {
		case "limits":
			limits = words[1:]
		case "greets":
			p.greets = words[1:]
		case "says":
			p.says = words[1:]
		case "names":
			p.names = words[1:]
		case "->":
			w := want{at: at, text: line}
			rest := words[1:]
			for len(rest) > 0 && tongues[rest[0]] != nil {
				w.over, rest = append(w.over, tongues[rest[0]]...), rest[1:]
			}
			if len(rest) == 4 && rest[3] == "later" {
				w.later, rest = true, rest[:3]
			}
			if len(w.over) == 0 || len(rest) != 3 {
				errs = append(errs, fmt.Errorf("%s: write -> PROTOCOL… STATUS TOKEN REASON [later]", at))
				continue
			}
			w.status, w.token, w.reason = rest[0], rest[1], rest[2]
			if len(p.wants) == 0 {
				p.at, p.limits = at, limits
				plots = append(plots, p)
			}
			p.wants = append(p.wants, w)
		default:
			errs = append(errs, fmt.Errorf("%s: no such line: %s", at, words[0]))
		}
		if words[0] == "says" || words[0] == "greets" {
			if err := checkWords(words[0], words[1:]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", at, err))
			}
		}
	}
	return plots, errors.Join(errs...)
}

// split takes a line apart at blanks; what is within ” is one word, with Go's escapes, and {text*n} is n times text.
func split(line string) (words []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		var w strings.Builder
		quoted, i := false, 0
		for ; i < len(line) && (quoted || line[i] != ' '); i++ {
			if line[i] == '\'' {
				quoted = !quoted
			} else {
				w.WriteByte(line[i])
			}
		}
		word, line1 := w.String(), line[i:]
		if strings.Contains(word, `\`) {
			if s, err := strconv.Unquote(`"` + strings.ReplaceAll(word, `"`, `\"`) + `"`); err == nil {
				word = s
			}
		}
		if before, rest, ok := strings.Cut(word, "{"); ok {
			if text, rest, ok := strings.Cut(rest, "*"); ok {
				if n, after, ok := strings.Cut(rest, "}"); ok {
					times, _ := strconv.Atoi(n)
					word = before + strings.Repeat(text, times) + after
				}
			}
		}
		words, line = append(words, word), line1
	}
	return words
}

// keys are the limits as a network file has them. Only those who say nothing are to be given up by the clock: a busy machine
// must not look like them.
func (p *plot) keys() string {
	limits := map[string]string{"connect": "10s", "first_byte": "10s", "idle": "10s"}
	for _, l := range p.limits {
		key, value, _ := strings.Cut(l, "=")
		limits[key] = value
	}
	return fmt.Sprintf("limits: {connect: %s, first_byte: %s, idle: %s}\nretry: {attempts: 0}\n", limits["connect"], limits["first_byte"], limits["idle"])
}

// most is how much an instance gets rid of before it is stopped, whatever it sends: what sockets hold, and a little.
const most = 32 << 20

// play plays a case over one protocol.
func (p *plot) play(t *testing.T, w want, over string) error {
	var a *application
	in := &badInstance{plot: p, over: over}
	counter := "hither_pool_errors_total"
	if p.names != nil {
		counter = "hither_discover_lookups_total"
		a = p.named(t)
	} else {
		in.start(t)
		a = behind(t, list(in.entry)+p.keys())
	}
	g := &Gateway{}
	g.app.Store(&app{backend: a})
	registry := prometheus.NewRegistry()
	registry.MustRegister(appCollector{g})
	s := newServer(t, a)

	res, err := s.get(t, "/")
	body, err := whole(res, err)
	var wrong []error
	switch {
	case w.status == "broken":
		if err == nil && (res.StatusCode != 502 || res.Header.Get("Proxy-Status") == "") {
			wrong = append(wrong, fmt.Errorf("what broke off came as whole: %d %.50q", res.StatusCode, body))
		}
	case err != nil:
		return err
	default:
		token := "-"
		if ps := res.Header.Get("Proxy-Status"); ps != "" {
			token = strings.TrimPrefix(ps, "us; error=")
		}
		if !among(strconv.Itoa(res.StatusCode), w.status) || !among(token, w.token) {
			wrong = append(wrong, fmt.Errorf("got %d %s, want %s %s", res.StatusCode, token, w.status, w.token))
		}
		if res.StatusCode >= 500 && res.Header.Get("Cache-Control") != "no-store" {
			wrong = append(wrong, fmt.Errorf("an error may be stored: %v", res.Header))
		}
	}
	if err := counts(t, registry, counter, w.reason, p.names != nil); err != nil {
		wrong = append(wrong, err)
	}
	if n := in.sent.Load(); n > most {
		wrong = append(wrong, fmt.Errorf("the instance got rid of %d bytes", n))
	}
	// The next request has nothing to do with it.
	if p.greets == nil && p.names == nil {
		got, err := whole(s.get(t, "/good"))
		for end := deadline(t); w.later && got != "good" && end.Err() == nil; {
			got, err = whole(s.get(t, "/good"))
		}
		if err != nil || got != "good" {
			wrong = append(wrong, fmt.Errorf("and then: %q, %v", got, err))
		}
	}
	return errors.Join(wrong...)
}

// counts waits until the counter has moved by one for the reason, and holds it to no other reason. A look-up goes on by
// itself, and counts again.
func counts(t *testing.T, r *prometheus.Registry, counter, reason string, more bool) error {
	var got []string
	for end := deadline(t); ; {
		families, err := r.Gather()
		if err != nil {
			return err
		}
		got = nil
		for _, f := range families {
			for _, m := range f.Metric {
				n := int(m.GetCounter().GetValue())
				if f.GetName() != counter || n == 0 {
					continue
				}
				for _, l := range m.Label {
					if l.GetName() == "reason" || l.GetName() == "result" {
						if more {
							n = 1
						}
						got = append(got, fmt.Sprintf("%s %d", l.GetValue(), n))
					}
				}
			}
		}
		if reason == "-" && len(got) == 0 || len(got) == 1 && among(strings.TrimSuffix(got[0], " 1"), reason) {
			return nil
		}
		if len(got) > 0 || end.Err() != nil {
			return fmt.Errorf("%s has counted %q, want %s", counter, got, reason)
		}
		select {
		case <-end.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// among is whether a word is one of list, in which | stands between them.
func among(word, list string) bool { return slices.Contains(strings.Split(list, "|"), word) }

// named is an application whose instances are behind a name.
func (p *plot) named(t *testing.T) *application {
	networks := ""
	n := &names{}
	port := "80"
	for _, w := range p.names {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "fails":
			n.fails = true
		case "networks":
			networks = ", networks: [" + value + "]"
		case "A":
			n.zone = append(n.zone, "app.test. 60 IN A "+value)
		case "thousand": // all of which are one instance
			in := badInstance{plot: &plot{says: []string{"200", "data=good", "end"}}, over: "h1", at: "0.0.0.0:0"}
			in.start(t)
			port = in.port
			for i := range 1000 {
				n.zone = append(n.zone, fmt.Sprintf("app.test. 60 IN A 127.75.%d.%d", 1+i/250, 1+i%250))
			}
		}
	}
	serveNames(t, n)
	a := behindWith(t, fmt.Sprintf("app: {discover: {servers: [%q], dns: app.test, type: A, port: %s%s}}\n", n.at, port, networks)+p.keys(),
		&Options{Name: "us", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if !n.fails { // else there is no answer to wait for
		a.warm(deadline(t))
	}
	return a
}

func TestBadScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		plots, err := readPlots(filepath.Base(file), string(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plots {
			for _, w := range p.wants {
				for _, over := range w.over {
					t.Run(w.at+"/"+over, func(t *testing.T) {
						t.Parallel()
						if err := p.play(t, w, over); err != nil {
							t.Errorf("%s over %s:%s\n%v", w.at, over, strings.TrimPrefix(w.text, "->"), err)
						}
					})
				}
			}
		}
	}
}

// TestBadScriptsPlanted shows the checker failing: scripts whose expectation is wrong.
func TestBadScriptsPlanted(t *testing.T) {
	for _, test := range []struct{ script, says string }{
		{"says 200 'content-length: 4' data=four end\n-> all broken - -", "came as whole"},
		{"says 404 end\n-> all 200 - -", "got 404"},
		{"says 103 flood\n-> all 502 http_response_timeout origin-informational", "got 502 http_protocol_error"},
		{"says 103 flood\n-> all 502 http_protocol_error origin-protocol", `has counted ["origin-informational 1"]`},
		{"says close\n-> all 502 connection_terminated -", `has counted ["origin-reset 1"]`},
		{"says 200 data=bad close\n-> text broken - origin-reset", `has counted ["origin-short 1"]`},
		{"names A=127.0.0.1\n-> h1 503 destination_unavailable empty", `has counted ["refused 1"]`},
	} {
		plots, err := readPlots("planted.txt", test.script)
		if err != nil {
			t.Fatal(err)
		}
		p := plots[0]
		for _, over := range p.wants[0].over {
			t.Run(over, func(t *testing.T) {
				if err := p.play(t, p.wants[0], over); err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s\ngot %v\nwant an error with %s", test.script, err, test.says)
				}
			})
		}
	}
	for _, test := range []struct{ script, says string }{
		{"says\nsings", "bad.txt:2: no such line: sings"}, {"says 200 dance", "no such word: dance"},
		{"-> h9 200 - -", "write -> PROTOCOL"}, {"-> h1 200", "write -> PROTOCOL"},
	} {
		if _, err := readPlots("bad.txt", test.script); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %v", test.script, err)
		}
	}
}
