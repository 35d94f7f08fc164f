package zone

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestBounds wants more than a zone may hold to be one mistake, with the line where it begins.
func TestBounds(t *testing.T) {
	most := bound{records: 5, names: 8, file: 300, entry: 60, generated: 4, pattern: 40}
	for _, tt := range []struct{ name, file, want string }{
		{"as much as fits", "a 1 A 192.0.2.1\nb 1 A 192.0.2.1\nc 1 A 192.0.2.1\nd 1 A 192.0.2.1\ne 1 A 192.0.2.1\n", ""},
		{"records", "a 1 A 192.0.2.1\nb 1 A 192.0.2.1\nc 1 A 192.0.2.1\nd 1 A 192.0.2.1\ne 1 A 192.0.2.1\nf 1 A 192.0.2.1\ng 1 A nonsense\n",
			"f:6: the zone has more than 5 records from here on"},
		{"names", "a.b.c.d.e.f.g.h 1 A 192.0.2.1\nx 1 A 192.0.2.1\ny 1 A 192.0.2.1\n", "f:2: the zone has more than 8 names from here on, with those between"},
		{"bytes", strings.Repeat(";", 301), "f:1: the file has 301 bytes; a zone may have 300"},
		{"one record", "a 1 TXT " + strings.Repeat("x", 60) + "\nb 1 A 192.0.2.1\n", "f:1: the record is longer than 60 bytes"},
		{"one record over lines", "a 1 TXT ( x\n" + strings.Repeat("xxxxxxxx\n", 10) + ")\n", "f:7: the record is longer than 60 bytes"},
		{"generated", "$GENERATE 1-4 a$ 1 A 192.0.2.$\n$GENERATE 1-1 b$ 1 A 192.0.2.$\n", "f:2: the $GENERATE lines make more than 4 records; a wildcard may do"},
		{"pattern", "$GENERATE 1-4 " + strings.Repeat("a", 25) + "$ 1 A 192.0.2.$\n", "f:1: the $GENERATE line is longer than 40 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := build(Config{Name: "example", File: "f", Data: []byte(tt.file), NameServers: []string{"ns.example.net"}}, most)
			first := ""
			if err != nil {
				first, _, _ = strings.Cut(err.Error(), "\n")
			}
			if first != tt.want {
				t.Errorf("got %q, want %q", first, tt.want)
			}
		})
	}
}

// TestNothingLeft wants a built zone to keep nothing that only messages need.
func TestNothingLeft(t *testing.T) {
	z, err := New(Config{Name: "example", NameServers: []string{"ns.example.net"}, Records: []string{"a.b 300 A 192.0.2.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range z.nodes {
		if n.draft != nil || name != n.name {
			t.Errorf("%s: %+v", name, n)
		}
		for _, s := range n.sets {
			if s.at != nil {
				t.Errorf("%s %d: places are kept", name, s.rtype)
			}
		}
	}
}

func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		ok       bool
	}{
		{"WWW.Example.", "www.example.", true},
		{"www.example", "www.example.", true},
		{".", ".", true},
		{"", ".", true},
		{`\065.example.`, "a.example.", true},
		{`a\.b.example.`, `a\.b.example.`, true},
		{`\255.example.`, `\255.example.`, true},
		{"\xff.example.", `\255.example.`, true},
		{"É.example.", `\195\137.example.`, true}, // ASCII alone has case
		{`a\`, "", false},
		{`a\b..`, "", false},
	} {
		if got, ok := canonical(tt.in); ok != tt.ok || ok && got != tt.want {
			t.Errorf("canonical(%q) = %q, %v, want %q, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		name, zone string
		want       bool
	}{
		{"example.", "example.", true},
		{"a.example.", "example.", true},
		{"notexample.", "example.", false},
		{`a\.example.`, "example.", false},
		{`a\\.example.`, "example.", true},
		{"example.", "a.example.", false},
		{".", "example.", false},
		{"anything.", ".", true},
	} {
		if got := within(tt.name, tt.zone); got != tt.want {
			t.Errorf("within(%q, %q) = %v", tt.name, tt.zone, got)
		}
	}
}

// TestRoot wants the root, which has no label, to be a zone as any other.
func TestRoot(t *testing.T) {
	z, err := New(Config{Name: ".", NameServers: []string{"a.root."}, Records: []string{"a.root. 1 A 192.0.2.1", "com. 1 NS ns.com.", "ns.com. 1 A 192.0.2.2", "alt. 1 DNAME x.", "*.x. 1 A 192.0.2.3"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		want Kind
		end  string
	}{
		{".", NoData, "."}, {"a.root.", Success, "a.root."}, {"root.", NoData, "root."}, {"b.", NXDomain, "b."}, {"www.example.com.", Delegation, "www.example.com."},
		{"www.alt.", Success, "www.x."},
	} {
		if r := z.Lookup(tt.name, dns.TypeA); r.Kind != tt.want || r.Name != tt.end {
			t.Errorf("%s is %v at %s, want %v at %s", tt.name, r.Kind, r.Name, tt.want, tt.end)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	lines := []string{"@ 300 MX 10 host1", "sub 300 NS ns.sub", "ns.sub 300 A 192.0.2.1", "*.wild 300 A 192.0.2.2", "alias 300 CNAME host2"}
	for i := range 100_000 {
		lines = append(lines, fmt.Sprintf("host%d 300 A 192.0.2.%d", i, i%256))
	}
	z, err := New(Config{Name: "example", NameServers: []string{"ns.example.net"}, Records: lines})
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name, asked string
		qtype       uint16
	}{
		{"exists", "host4711.example.", dns.TypeA},
		{"mixed-case", "hOsT4711.eXaMpLe.", dns.TypeA},
		{"nodata", "host4711.example.", dns.TypeAAAA},
		{"nxdomain", "nobody.example.", dns.TypeA},
		{"nxdomain-deep", strings.Repeat("a.", 120) + "example.", dns.TypeA},
		{"wildcard", "x.wild.example.", dns.TypeA},
		{"delegation", "www.sub.example.", dns.TypeA},
		{"cname", "alias.example.", dns.TypeA},
		{"mx", "example.", dns.TypeMX},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := z.Lookup(bb.asked, bb.qtype); r.Kind == Outside {
					b.Fatal(r)
				}
			}
		})
	}
}
