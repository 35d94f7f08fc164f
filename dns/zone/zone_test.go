package zone_test

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/dns/zone"
)

func TestOutside(t *testing.T) {
	z, err := zone.New(zone.Config{Name: "Example", NameServers: []string{"ns.example.net"}})
	if err != nil {
		t.Fatal(err)
	}
	if z.Name() != "example." {
		t.Errorf("name %q", z.Name())
	}
	for _, name := range []string{"example.org.", "notexample.", `a\.example.`, ".", "", `\`} {
		if r := z.Lookup(name, dns.TypeA); r.Kind != zone.Outside || r.Answer != nil || r.Authority != nil {
			t.Errorf("%q is %v", name, r.Kind)
		}
	}
}

func TestSOA(t *testing.T) {
	z, err := zone.New(zone.Config{Name: "example", NameServers: []string{"ns.example.net"}, SOA: zone.SOA{
		Mailbox: "admin.example.org", Serial: 9, Refresh: time.Hour, Retry: time.Minute, Expire: 24 * time.Hour, Negative: 90 * time.Second,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := texts([]dns.RR{z.SOA()})[0], "example. 3600 IN SOA ns.example.net. admin.example.org. 9 3600 60 86400 90"; got != want {
		t.Errorf("SOA %s, want %s", got, want)
	}
	if got, want := texts(z.NegativeAuthority())[0], "example. 90 IN SOA ns.example.net. admin.example.org. 9 3600 60 86400 90"; got != want {
		t.Errorf("negative %s, want %s", got, want)
	}
}

// TestGrowing wants two DNAMEs that make each other's names longer to come to an end.
func TestGrowing(t *testing.T) {
	z, err := zone.New(zone.Config{Name: "example", NameServers: []string{"ns.example.net"}, Records: []string{"a 300 DNAME x.b", "b 300 DNAME y.a"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]zone.Kind{"q.a.example.": zone.Success, strings.Repeat("q.", 118) + "a.example.": zone.YXDomain} {
		r := z.Lookup(name, dns.TypeA)
		if r.Kind != kind || len(r.Answer) < 3 || len(r.Answer) > 2+16 {
			t.Errorf("%s is %v with %d records", name, r.Kind, len(r.Answer))
		}
		sendable(t, name, dns.TypeA, r)
	}
}

// TestRecordsAndFile wants both to be one zone, in which the file's NS records replace the made ones.
func TestRecordsAndFile(t *testing.T) {
	z, err := zone.New(zone.Config{
		Name: "example", NameServers: []string{"ns.example.net"}, Records: []string{"a 300 IN A 192.0.2.1", "a IN 300 A 192.0.2.2", "@ 1h ALIAS b.example.org."},
		File: "f", Data: []byte("@ 60 NS ns1.example.org.\nb 60 ALIAS b.example.org.\nc 60 ALIAS c.c\nc.c 60 A 192.0.2.3\nd 60 ALIAS C.example.\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(z.Lookup("example.", dns.TypeNS).Answer); !slices.Equal(got, []string{"example. 60 IN NS ns1.example.org."}) {
		t.Errorf("NS %v", got)
	}
	if got := z.Lookup("a.example.", dns.TypeA).Answer; len(got) != 2 {
		t.Errorf("A %v", got)
	}
	var targets []string
	for _, a := range z.Aliases() {
		targets = append(targets, a.Target)
	}
	if want := []string{"b.example.org.", "c.c.example.", "c.example."}; !slices.Equal(targets, want) {
		t.Errorf("aliases %v, want %v", targets, want)
	}
}

// TestShared wants an answer's slices to be such that appending to one writes nowhere into the zone.
func TestShared(t *testing.T) {
	z, err := zone.New(zone.Config{Name: "example", NameServers: []string{"ns.example.net"}, Records: []string{
		"a 300 A 192.0.2.1", "a 300 A 192.0.2.2", "a 300 A 192.0.2.3", "b 300 CNAME a", "c 300 CNAME b",
	}})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 { // under -race, a write would be seen
		all.Go(func() {
			for _, name := range []string{"a.example.", "B.example.", "c.example.", "nobody.example."} {
				r := z.Lookup(name, dns.TypeA)
				r.Answer = append(r.Answer, &dns.NULL{})
			}
		})
	}
	all.Wait()
	if got := z.Lookup("c.example.", dns.TypeA).Answer; len(got) != 5 {
		t.Errorf("answer %v", got)
	}
}

// TestReadme reads the zone file of the README.
func TestReadme(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "```zone\n")
	text, _, _ := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no zone file in the README")
	}
	z, err := zone.New(zone.Config{Name: "hither.test", File: "README.md", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		qtype uint16
		kind  zone.Kind
	}{
		{"hither.test.", dns.TypeAAAA, zone.Alias}, {"host7.hither.test.", dns.TypeA, zone.Success}, {"any.preview.hither.test.", dns.TypeAAAA, zone.Success},
		{"x.lab.hither.test.", dns.TypeA, zone.Delegation}, {"printer.hither.test.", 65280, zone.Success}, {"preview.hither.test.", dns.TypeA, zone.NoData},
	} {
		if r := z.Lookup(tt.name, tt.qtype); r.Kind != tt.kind {
			t.Errorf("%s %s is %v, want %v", tt.name, dns.Type(tt.qtype), r.Kind, tt.kind)
		}
	}
}
