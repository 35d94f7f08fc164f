package server

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// The rules are told by the scripts of testdata. Each is played twice against a server with real sockets, over UDP and over TCP.
// Its lines, # begins a comment, words may stand in single quotes:
//
//	network FILE                        the network file of testdata; without it, that of `hither up`
//	zonefile NAME FILE                  puts a zone file where the network file has @NAME@
//	probe POP pass|fail [N]             N probes of each of the PoP's addresses come out so
//	reload FILE [refused]               takes another network file; refused: the server must not
//	ask NAME TYPE [OPTION...] -> RCODE [FLAG...] [scope=N] [size<=N] [bytes>=N]
//	  RECORD                            below ask, the whole answer in zone syntax, in order; with bytes, which is for long ones, left out
//	  authority RECORD                  and the other sections
//	  additional RECORD
//	send HEX... -> RCODE [FLAG...] | silence    a raw message, without a length before it; below as for ask
//	fault REASON N                      so many messages had this fault since the last such line
//	metric NAME{LABELS} N               the value of a metric
//
// Options of ask: client=PREFIX edns[=SIZE] do rd cd class=CH opcode=N id=N option=CODE:HEX over=udp|tcp (alone). Flags: aa tc rd cd ad do
// edns noedns; those that are not told must not be set, but for edns, which follows the question.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	bad, err2 := filepath.Glob("testdata/bad/*.txt")
	if err != nil || err2 != nil || len(files) == 0 || len(bad) == 0 {
		t.Fatal("no scripts", err, err2)
	}
	for _, file := range append(files, bad...) {
		for _, over := range []string{"udp", "tcp"} {
			t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txt")+"/"+over, func(t *testing.T) {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				p := &player{t: t, over: over, file: file, zones: make(map[string]string), faults: make(map[string]float64)}
				p.play(string(data))
			})
		}
	}
}

// A player plays one script.
type player struct {
	t      *testing.T
	over   string
	file   string
	line   int
	w      *house
	path   string // of the network file; "" is the local one
	zones  map[string]string
	faults map[string]float64
	asked  int
}

func (p *player) fatal(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

func (p *player) play(text string) {
	lines := strings.Split(text, "\n")
	for n := 0; n < len(lines); n++ {
		p.line = n + 1
		words := scriptWords(lines[n])
		if len(words) == 0 {
			continue
		}
		var below []string
		for words[0] == "ask" || words[0] == "send" {
			if n+1 >= len(lines) || !strings.HasPrefix(lines[n+1], "  ") {
				break
			}
			n++
			below = append(below, strings.TrimSpace(lines[n]))
		}
		p.do(words, below)
	}
	if p.asked == 0 {
		p.t.Error("nothing was asked")
	}
}

// scriptWords splits a line, with single quotes.
func scriptWords(line string) (words []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] == '#' {
			break
		}
		if rest, quoted := strings.CutPrefix(line, "'"); quoted {
			word, after, _ := strings.Cut(rest, "'")
			words, line = append(words, word), after
			continue
		}
		end := strings.IndexByte(line, ' ')
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words
}

func (p *player) server() *Server {
	if p.w == nil {
		p.w = newHouse(p.t, p.networkFile(p.path))
	}
	return p.w.server
}

// networkFile is a network file of testdata, with the zone files of the script in their places.
func (p *player) networkFile(name string) string {
	if name == "" {
		return localFile(p.t)
	}
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		p.fatal("%v", err)
	}
	text := string(data)
	for name, path := range p.zones {
		text = strings.ReplaceAll(text, "@"+name+"@", path)
	}
	return text
}

func (p *player) do(words, below []string) {
	switch words[0] {
	case "network":
		p.path = words[1]
	case "zonefile":
		abs, err := filepath.Abs(filepath.Join("testdata", words[2]))
		if err != nil {
			p.fatal("%v", err)
		}
		p.zones[words[1]] = abs
	case "probe":
		p.probe(words[1:])
	case "reload":
		err := p.w.reload(p.t, p.networkFile(words[1]))
		if refused := len(words) > 2; refused != (err != nil) {
			p.fatal("reload: %v", err)
		}
	case "ask", "send":
		p.asked++
		p.ask(words, below)
	case "fault":
		now := p.w.metric(p.t, `hither_dns_faults_total{node="dns-ns1",reason="`+words[1]+`"}`)
		if want, _ := strconv.ParseFloat(words[2], 64); now-p.faults[words[1]] != want {
			p.fatal("%v messages had the fault %s", now-p.faults[words[1]], words[1])
		}
		p.faults[words[1]] = now
	case "metric":
		if want, err := strconv.ParseFloat(words[2], 64); err != nil || p.w.metric(p.t, words[1]) != want {
			p.fatal("%s is %v", words[1], p.w.metric(p.t, words[1]))
		}
	default:
		p.fatal("no command %q", words[0])
	}
}

func (p *player) probe(words []string) {
	s := p.server()
	times := 1
	if len(words) > 2 {
		times, _ = strconv.Atoi(words[2])
	}
	var err error
	if words[1] == "fail" {
		err = fmt.Errorf("the script says so")
	}
	found := false
	for range times {
		for _, target := range s.world.Load().targets {
			if target.pop == words[0] {
				s.probed(target, err)
				found = true
			}
		}
	}
	if !found {
		p.fatal("no PoP %s is probed", words[0])
	}
}

// ask sends a question and holds the reply against the script.
func (p *player) ask(words, below []string) {
	p.server()
	split := 0
	for i, w := range words {
		if w == "->" {
			split = i
		}
	}
	if split == 0 {
		p.fatal("no -> in %q", words)
	}
	msg, over, err := message(words[:split])
	if err != nil {
		p.fatal("%v", err)
	}
	if over == "" {
		over = p.over
	}
	want := words[split+1:]
	raw := p.w.exchange(p.t, over, msg, want[0] == "silence")
	if want[0] == "silence" {
		if raw != nil {
			p.fatal("an answer instead of silence: %x", raw)
		}
		return
	}
	if raw == nil {
		p.fatal("no answer")
	}
	var reply dns.Msg
	if err := reply.Unpack(raw); err != nil {
		p.fatal("unpack the answer: %v", err)
	}
	if has := reply.IsEdns0() != nil; words[0] == "ask" && has != asksEDNS(words[:split]) || slices.Contains(want, "edns") && !has || slices.Contains(want, "noedns") && has {
		p.fatal("OPT record: %v\n%v", has, &reply)
	}
	if got := describe(&reply, msg); strings.Join(got, " ") != strings.Join(plainFlags(want), " ") {
		p.fatal("got %q, want %q\n%v", got, plainFlags(want), &reply)
	}
	if most := option(want, "size<"); most != "" {
		if n, _ := strconv.Atoi(most); len(raw) > n {
			p.fatal("%d bytes", len(raw))
		}
	}
	if scope := option(want, "scope"); scope != "" || subnetOf(&reply) != nil {
		if s := subnetOf(&reply); s == nil || fmt.Sprint(s.SourceScope) != scope {
			p.fatal("client subnet of the answer: %v, want scope %q", s, scope)
		}
	}
	if least := option(want, "bytes>"); least != "" {
		if n, _ := strconv.Atoi(least); len(raw) < n || len(reply.Answer) == 0 {
			p.fatal("%d bytes, %d records", len(raw), len(reply.Answer))
		}
		return
	}
	if got := sections(&reply); strings.Join(got, "\n") != strings.Join(below, "\n") {
		p.fatal("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(below, "\n  "))
	}
}

// asksEDNS reports whether the question of `ask` has an OPT record.
func asksEDNS(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		key, _, _ := strings.Cut(w, "=")
		return slices.Contains([]string{"client", "edns", "version", "option", "do"}, key)
	})
}

func option(words []string, key string) string {
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			return v
		}
	}
	return ""
}

func plainFlags(words []string) (out []string) {
	for _, w := range words {
		if !strings.Contains(w, "=") && w != "edns" && w != "noedns" {
			out = append(out, w)
		}
	}
	return out
}

// describe is a reply's code and flags.
func describe(m *dns.Msg, question []byte) []string {
	out := []string{rcodeWord(m.Rcode)}
	for _, f := range []struct {
		set  bool
		word string
	}{
		{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"}, {m.CheckingDisabled, "cd"},
		{m.AuthenticatedData, "ad"}, {m.Zero, "z"}, {!m.Response, "not-a-response"},
	} {
		if f.set {
			out = append(out, f.word)
		}
	}
	if o := m.IsEdns0(); o != nil && o.Do() {
		out = append(out, "do")
	}
	if len(question) > 2 && m.Id != uint16(question[0])<<8|uint16(question[1]) {
		out = append(out, "another-id")
	}
	return out
}

func subnetOf(m *dns.Msg) *dns.EDNS0_SUBNET {
	if o := m.IsEdns0(); o != nil {
		for _, x := range o.Option {
			if s, ok := x.(*dns.EDNS0_SUBNET); ok {
				return s
			}
		}
	}
	return nil
}

// sections are a reply's records in zone syntax.
func sections(m *dns.Msg) (out []string) {
	for _, s := range []struct {
		name string
		rrs  []dns.RR
	}{{"", m.Answer}, {"authority ", m.Ns}, {"additional ", m.Extra}} {
		for _, rr := range s.rrs {
			if rr.Header().Rrtype != dns.TypeOPT {
				out = append(out, s.name+strings.Join(strings.Fields(rr.String()), " "))
			}
		}
	}
	return out
}
