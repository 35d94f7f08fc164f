package zone_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"hither/dns/zone"
)

var update = flag.Bool("update", false, "write the golden files anew; read them before you keep them")

// A script is a zone and questions about it. testdata/README.md says how it is written.
type script struct {
	config    zone.Config
	questions []question
}

type question struct {
	line       int
	name, kind string
	qtype      uint16
	end        string // where the look-up ends; "": at the name
	sections   map[string][]string
}

// TestScripts runs every script of testdata, each question as it is written and in upper case.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d scripts in testdata: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			s := readScript(t, file)
			z, err := zone.New(s.config)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.questions) == 0 {
				t.Fatal("no questions")
			}
			for _, q := range s.questions {
				q.ask(t, z, q.name)
				q.ask(t, z, strings.ToUpper(q.name))
			}
		})
	}
}

func (q *question) ask(t *testing.T, z *zone.Zone, name string) {
	t.Helper()
	r := z.Lookup(name, q.qtype)
	if r.Kind.String() != q.kind {
		t.Errorf("line %d: %s %s is %v, want %s", q.line, name, dns.Type(q.qtype), r.Kind, q.kind)
	}
	end := q.end
	if end == "" {
		end = q.name
	}
	if end = dns.CanonicalName(end); r.Name != end {
		t.Errorf("line %d: %s %s ends at %s, want %s", q.line, name, dns.Type(q.qtype), r.Name, end)
	}
	if (r.Kind == zone.NoData || r.Kind == zone.NXDomain) && q.sections["authority"] == nil {
		q.sections["authority"] = texts(z.NegativeAuthority())
	}
	for section, got := range map[string][]dns.RR{"answer": r.Answer, "authority": r.Authority, "additional": r.Additional} {
		got := texts(got)
		if !slices.EqualFunc(got, q.sections[section], strings.EqualFold) {
			t.Errorf("line %d: %s %s has the %s\n  %s\nwant\n  %s", q.line, name, dns.Type(q.qtype), section,
				strings.Join(got, "\n  "), strings.Join(q.sections[section], "\n  "))
		}
	}
	if (r.Dynamic != nil) != (r.Kind == zone.Dynamic) || (r.Alias != nil) != (r.Kind == zone.Alias) {
		t.Errorf("line %d: kind %v with dynamic %v and alias %v", q.line, r.Kind, r.Dynamic, r.Alias)
	}
	if r.Alias != nil {
		if got := fmt.Sprintf("%s %d", r.Alias.Target, r.Alias.TTL); !slices.Equal(q.sections["alias"], []string{got}) {
			t.Errorf("line %d: alias %s, want %v", q.line, got, q.sections["alias"])
		}
	}
	if r.Dynamic != nil {
		if got := fmt.Sprint(r.Dynamic.Value); !slices.Equal(q.sections["dynamic"], []string{got}) {
			t.Errorf("line %d: dynamic %s, want %v", q.line, got, q.sections["dynamic"])
		}
	}
	sendable(t, name, q.qtype, r)
}

// sendable wants a result to fit a message and to come out of it unchanged.
func sendable(t testing.TB, name string, qtype uint16, r zone.Result) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Compress = true
	m.Answer, m.Ns = r.Answer, r.Authority
	wire, err := m.Pack()
	if err == nil {
		err = new(dns.Msg).Unpack(wire)
	}
	if err != nil {
		t.Errorf("%s %s cannot be sent: %v", name, dns.Type(qtype), err)
	}
}

// texts are records in zone syntax, with single blanks.
func texts(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	return out
}

func readScript(t *testing.T, file string) (s script) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.config = zone.Config{Name: "example.", File: file, SOA: zone.SOA{Serial: 7, Negative: 60e9}, NameServers: []string{"ns.example.net."}}
	zonePart, rest, ok := strings.Cut(string(data), "\n---\n")
	if !ok {
		t.Fatalf("%s: no line --- after the zone", file)
	}
	var zoneText strings.Builder
	for line := range strings.Lines(zonePart + "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "dynamic":
			d := zone.DynamicName{Name: absolute(f[1]), Value: f[2]}
			for _, w := range f[3:] {
				d.Types = append(d.Types, dns.StringToType[w])
			}
			s.config.Dynamic = append(s.config.Dynamic, d)
			line = "\n"
		case strings.HasPrefix(line, "#"):
			line = "\n"
		}
		zoneText.WriteString(line)
	}
	s.config.Data = []byte(zoneText.String())
	at := strings.Count(zonePart, "\n") + 2
	for line := range strings.Lines(rest) {
		at++
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0][0] == '#':
		case line[0] != ' ': // NAME TYPE -> KIND [END]
			if len(f) < 4 || f[2] != "->" {
				t.Fatalf("%s:%d: not a question: %s", file, at, line)
			}
			q := question{line: at, name: absolute(f[0]), qtype: readType(t, f[1]), kind: f[3], sections: make(map[string][]string)}
			if len(f) > 4 {
				q.end = absolute(f[4])
			}
			s.questions = append(s.questions, q)
		default: // SECTION: RECORD
			q := s.questions[len(s.questions)-1]
			section, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
			if !ok {
				t.Fatalf("%s:%d: no section: %s", file, at, line)
			}
			if section == "answer" || section == "authority" || section == "additional" {
				zp := dns.NewZoneParser(strings.NewReader(text+"\n"), "example.", file)
				rr, _ := zp.Next()
				if zp.Err() != nil || rr == nil {
					t.Fatalf("%s:%d: %v", file, at, zp.Err())
				}
				text = texts([]dns.RR{rr})[0]
			}
			q.sections[section] = append(q.sections[section], text)
		}
	}
	return s
}

func absolute(name string) string {
	switch {
	case name == "@":
		return "example."
	case dns.IsFqdn(name):
		return name
	}
	return name + ".example."
}

func readType(t *testing.T, s string) uint16 {
	t.Helper()
	if n, ok := dns.StringToType[s]; ok {
		return n
	}
	var n uint16
	if _, err := fmt.Sscanf(s, "TYPE%d", &n); err != nil {
		t.Fatalf("type %s", s)
	}
	return n
}
