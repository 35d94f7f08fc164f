package zone_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"hither/dns/zone"
)

// FuzzZone reads anything as a zone file: there is a zone whose every record can be asked for and sent, or a list of mistakes.
func FuzzZone(f *testing.F) {
	for _, pattern := range []string{"testdata/*.txt", "testdata/bad/*.zone"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			text, _, _ := strings.Cut(string(data), "\n---\n")
			if filepath.Base(file) != "generate.zone" { // makes more than a step of a fuzzer should take
				f.Add([]byte(text + "\n"))
			}
		}
	}
	f.Add([]byte("$TTL 1\n\\\n"))
	f.Add([]byte("a 1 TXT \"\\"))
	f.Add([]byte("\xef\xbb\xbf@ 1 TXT x\r\n"))
	f.Add([]byte("$GENERATE 1-3 ${0,2,x} 1 A 192.0.2.$\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Count(strings.ToUpper(string(data)), "GENERATE") > 1 {
			return
		}
		z, err := zone.New(zone.Config{Name: "example", File: "f", Data: data, NameServers: []string{"ns.example.net"}})
		if err != nil {
			mistakes(t, z, err)
			return
		}
		zp := dns.NewZoneParser(strings.NewReader(string(data)), "example.", "")
		for range 50 {
			rr, ok := zp.Next()
			if !ok {
				return
			}
			name := rr.Header().Name
			if _, ok := dns.IsDomainName(name); !ok || len(name) > 1000 {
				continue
			}
			for _, name := range []string{name, "x." + name, strings.ToUpper(name)} {
				for _, qtype := range []uint16{rr.Header().Rrtype, dns.TypeA, dns.TypeANY} {
					if r := z.Lookup(name, qtype); r.Kind != zone.Outside {
						sendable(t, "question.", qtype, r)
					}
				}
			}
		}
	})
}

// FuzzLookup makes a zone of what three bytes each say, leaves out what New finds wrong with it, and compares every answer with the
// reference's.
func FuzzLookup(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		seed := make([]byte, 3*(1+random.IntN(12)))
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	names := []string{"a", "b", "*", "a.a", "b.a", "*.a", "a.b", "*.b", "b.b.b", "a.*", "*.*", "c.a.b", "b.a.a", "A.B.A"}
	asked := append([]string{"@", "c", "c.c", "c.a", "c.b.b", "x.c.a.b", "a.c", "c.*", "c.b.a.a"}, names...)
	types := []string{"A", "A", "TXT", "CNAME", "CNAME", "NS", "DNAME", "DS"}
	ask := []uint16{dns.TypeA, dns.TypeTXT, dns.TypeCNAME, dns.TypeNS, dns.TypeDNAME, dns.TypeDS}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := []string{"@ 300 SOA ns.example.net. hostmaster 1 3600 600 604800 60", "@ 300 NS ns.example.net."}
		for ; len(data) >= 3 && len(lines) < 24; data = data[3:] {
			name, rtype := names[int(data[0])%len(names)], types[int(data[1])%len(types)]
			to := append(names, "@", "www.example.org.", "c.a", "x.b")[int(data[2])%(len(names)+4)]
			switch rtype {
			case "A":
				to = fmt.Sprintf("192.0.2.%d", data[2])
			case "TXT":
				to = fmt.Sprint(data[2])
			case "NS":
				to = "ns.example.org."
			case "DS":
				to = "1 13 2 " + strings.Repeat("ab", 32)
			}
			lines = append(lines, fmt.Sprintf("%s 300 %s %s", name, rtype, to))
		}
		z, lines := faultless(t, lines)
		ref := reference{apex: "example."}
		for _, line := range lines {
			rr, _ := dns.NewZoneParser(strings.NewReader(line+"\n"), "example.", "").Next()
			ref.rrs = append(ref.rrs, rr)
		}
		for _, name := range asked {
			for _, qtype := range ask {
				name := absolute(name)
				r, want := z.Lookup(name, qtype), ref.lookup(name, qtype)
				if r.Kind.String() != want.kind || !slices.Equal(texts(r.Answer), want.answer) || r.Name != want.end {
					t.Errorf("%s\n%s %s is %v at %s:\n  %s\nwant %s at %s:\n  %s", strings.Join(lines, "\n"), name, dns.Type(qtype), r.Kind, r.Name,
						strings.Join(texts(r.Answer), "\n  "), want.kind, want.end, strings.Join(want.answer, "\n  "))
				}
				sendable(t, name, qtype, r)
			}
		}
	})
}

// faultless makes a zone of those lines with which nothing is wrong.
func faultless(t *testing.T, lines []string) (*zone.Zone, []string) {
	for range len(lines) {
		z, err := zone.New(zone.Config{Name: "example", Records: lines})
		if err == nil {
			return z, lines
		}
		var ms zone.Mistakes
		if !errors.As(err, &ms) {
			t.Fatal(err)
		}
		wrong := map[int]bool{}
		for _, m := range ms {
			var i int
			if _, err := fmt.Sscanf(m.Where, "records[%d]", &i); err != nil || i < 2 {
				t.Fatalf("%v in\n%s", m, strings.Join(lines, "\n"))
			}
			wrong[i] = true
		}
		var rest []string
		for i, line := range lines {
			if !wrong[i] {
				rest = append(rest, line)
			}
		}
		lines = rest
	}
	t.Fatalf("mistakes without end in\n%s", strings.Join(lines, "\n"))
	return nil, nil
}
