package zone_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/dns/zone"
)

// TestBadFiles reads every file of testdata/bad and compares its mistakes with the text beside it, word for word.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.zone")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files in testdata/bad: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".zone"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			z, err := zone.New(zone.Config{Name: "example", File: filepath.Base(file), Data: data, NameServers: []string{"ns.example.net"}})
			got := mistakes(t, z, err)
			golden := strings.TrimSuffix(file, ".zone") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// mistakes checks that an error is a list of them, each with its place on a line of its own.
func mistakes(t testing.TB, z *zone.Zone, err error) string {
	t.Helper()
	var ms zone.Mistakes
	if z != nil || !errors.As(err, &ms) || len(ms) == 0 {
		t.Fatalf("zone %v, error %T: %v", z, err, err)
	}
	for _, m := range ms {
		if m.Where == "" || m.What == "" || strings.ContainsAny(m.Error(), "\n\r\t\x1b\x00") {
			t.Errorf("%q is not one line of text with a place", m.Error())
		}
	}
	return err.Error() + "\n"
}

func TestConfigMistakes(t *testing.T) {
	ns := []string{"ns.example.net"}
	dynamic := func(name string, types ...uint16) zone.DynamicName { return zone.DynamicName{Name: name, Types: types} }
	for _, tt := range []struct {
		name string
		c    zone.Config
		want string
	}{
		{"no name", zone.Config{NameServers: ns}, "zone: the name of the zone: there is none; write one such as `example.org`"},
		{"bad name", zone.Config{Name: "a..b", NameServers: ns},
			"zone: the name of the zone: `a..b` is not a domain name; labels are 1 to 63 bytes, with single dots between them"},
		{"no servers", zone.Config{Name: "example"}, "zone: example. has no name servers; name at least one, or give NS records"},
		{"bad server", zone.Config{Name: "example", NameServers: []string{"ns@example"}},
			"name_servers[0]: `ns@example` has a `@`; write a name without, or `\\@` if it is meant"},
		{"server twice", zone.Config{Name: "example", NameServers: []string{"ns.example.net", "NS.example.net."}},
			"name_servers[1]: the NS record of `example.` is there already (name_servers[0]); keep one"},
		{"server nowhere", zone.Config{Name: "example", NameServers: []string{"ns.example"}},
			"name_servers[0]: the NS record of `example.` names `ns.example.`, which does not exist in this zone; add it, or end it with a dot if it is meant outside of example."},
		{"bad SOA", zone.Config{Name: "example", NameServers: ns, SOA: zone.SOA{Mailbox: "me@example.org"}},
			"zone: SOA: the mailbox `me@example.org` has a `@`; write a name without, or `\\@` if it is meant"},
		{"half seconds", zone.Config{Name: "example", NameServers: ns, SOA: zone.SOA{Retry: 1500 * time.Millisecond}},
			"zone: SOA: retry is 1.5s; give whole seconds from 0 to 2147483647"},
		{"record without TTL", zone.Config{Name: "example", NameServers: ns, Records: []string{"a 300 A 192.0.2.1", "b A 192.0.2.1"}},
			"records[1]: the record has no TTL; write NAME TTL TYPE DATA, such as `ns1 300 A 192.0.2.1`"},
		{"two records in one", zone.Config{Name: "example", NameServers: ns, Records: []string{"a 300 A 192.0.2.1\nb 300 A 192.0.2.1"}},
			"records[0]: a record is one line"},
		{"empty record", zone.Config{Name: "example", NameServers: ns, Records: []string{" ; nothing"}},
			"records[0]: the record is empty; write NAME TTL TYPE DATA, such as `ns1 300 A 192.0.2.1`"},
		{"no name in a record", zone.Config{Name: "example", NameServers: ns, Records: []string{"a 300 A 192.0.2.1", " 300 A 192.0.2.1"}},
			"records[1]: the line begins with a blank, which stands for the name of a record before; write the name"},
		{"directive", zone.Config{Name: "example", NameServers: ns, Records: []string{"$TTL 300"}},
			"records[0]: `$TTL` is a directive; it belongs in a zone file"},
		{"record and file", zone.Config{Name: "example", NameServers: ns, Records: []string{"a 300 A 192.0.2.1"}, File: "f.zone", Data: []byte("b 1 A 192.0.2.1\na 300 A 192.0.2.1\n")},
			"f.zone:2: the A record of `a.example.` is there already (records[0]); keep one"},
		{"parenthesis", zone.Config{Name: "example", NameServers: ns, Records: []string{"a 300 A 192.0.2.1 )"}}, "records[0]: a `)` has no `(` before it"},
		{"control character", zone.Config{Name: "example", NameServers: ns, Records: []string{"a\x07b 300 A 192.0.2.1"}},
			`records[0]: "a\ab" has a character that is no visible ASCII; write an international name in its xn-- form`},
		{"mark", zone.Config{Name: "example", NameServers: ns, Records: []string{"\ufeffa 300 A 192.0.2.1"}},
			`records[0]: "\ufeffa" has a character that is no visible ASCII; write an international name in its xn-- form`},
		{"escapes", zone.Config{Name: "example", NameServers: []string{`ns\256.example.net`}, Records: []string{`a\300 300 A 192.0.2.1`},
			Dynamic: []zone.DynamicName{dynamic(`b\26.example`, dns.TypeA)}},
			"name_servers[0]: `ns\\256.example.net` has the escape `\\256`, which stands for no byte; write three digits from 000 to 255 after a backslash, or `\\\\` for a backslash that is meant (RFC 1035 section 5.1)\n" +
				"records[0]: `a\\300` has the escape `\\300`, which stands for no byte; write three digits from 000 to 255 after a backslash, or `\\\\` for a backslash that is meant (RFC 1035 section 5.1)\n" +
				"dynamic[0]: `b\\26.example` has the escape `\\26`, which stands for no byte; write three digits from 000 to 255 after a backslash, or `\\\\` for a backslash that is meant (RFC 1035 section 5.1)"},
		{"dynamic name", zone.Config{Name: "example", NameServers: ns, Dynamic: []zone.DynamicName{dynamic("a..example", dns.TypeA)}},
			"dynamic[0]: `a..example` is not a domain name; labels are 1 to 63 bytes, with single dots between them"},
		{"dynamic outside", zone.Config{Name: "example", NameServers: ns, Dynamic: []zone.DynamicName{dynamic("www.example.org", dns.TypeA)}},
			"dynamic[0]: `www.example.org.` is outside the zone example.; write names relative to the zone, without a last dot"},
		{"dynamic twice", zone.Config{Name: "example", NameServers: ns, Dynamic: []zone.DynamicName{dynamic("www.example", dns.TypeA), dynamic("WWW.example.", dns.TypeA)}},
			"dynamic[1]: `www.example.` is answered for each client already (dynamic[0])"},
		{"dynamic without types", zone.Config{Name: "example", NameServers: ns, Dynamic: []zone.DynamicName{dynamic("www.example")}},
			"dynamic[0]: `www.example` has no types to be answered"},
		{"dynamic CNAME", zone.Config{Name: "example", NameServers: ns, Dynamic: []zone.DynamicName{dynamic("www.example", dns.TypeCNAME)}},
			"dynamic[0]: `www.example`: CNAME records are not made for each client"},
		{"dynamic beside A", zone.Config{Name: "example", NameServers: ns, Records: []string{"www 300 A 192.0.2.1", `www 300 TXT "may stay"`},
			Dynamic: []zone.DynamicName{{Name: "www.example", Types: []uint16{dns.TypeA, dns.TypeAAAA}, Where: "steered[3]"}}},
			"records[0]: the A records of `www.example.` are made for each client (steered[3]); take this one out"},
		{"dynamic beside CNAME", zone.Config{Name: "example", NameServers: ns, Records: []string{"www 300 CNAME www.example.org."},
			Dynamic: []zone.DynamicName{dynamic("www.example", dns.TypeA)}},
			"records[0]: `www.example.` has a CNAME, and its records are made for each client (dynamic[0]); take one of them out"},
		{"dynamic beside ALIAS", zone.Config{Name: "example", NameServers: ns, Records: []string{"www 300 ALIAS www.example.org."},
			Dynamic: []zone.DynamicName{dynamic("www.example", dns.TypeHTTPS, dns.TypeA)}},
			"records[0]: the A records of `www.example.` are made for each client (dynamic[0]); take the ALIAS out"},
		{"dynamic delegated", zone.Config{Name: "example", NameServers: ns, Records: []string{"sub 300 NS ns.example.org."},
			Dynamic: []zone.DynamicName{{Name: "www.sub.example", Types: []uint16{dns.TypeA}, Where: "steered[0]"}}},
			"steered[0]: `www.sub.example.` is delegated to other servers at `sub.example.`, which are asked instead"},
		{"dynamic below DNAME", zone.Config{Name: "example", NameServers: ns, Records: []string{"sub 300 DNAME example.org."},
			Dynamic: []zone.DynamicName{dynamic("www.sub.example", dns.TypeA)}},
			"dynamic[0]: `www.sub.example.` is below `sub.example.`, whose DNAME (records[0]) stands for all names there; take one of them out (RFC 6672 section 2.4)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			z, err := zone.New(tt.c)
			if got := strings.TrimSuffix(mistakes(t, z, err), "\n"); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestMany wants a hundred mistakes told, and the others counted.
func TestMany(t *testing.T) {
	var lines []string
	for i := range 5000 {
		lines = append(lines, fmt.Sprintf("a%d 300 A nonsense", i))
	}
	z, err := zone.New(zone.Config{Name: "example", NameServers: []string{"ns.example.net"}, Records: lines})
	got := strings.Split(mistakes(t, z, err), "\n")
	if len(got) != 102 || got[100] != "records[99]: and 4900 more mistakes after this" {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-2])
	}
}

// TestLargeSets wants what no message holds to be a mistake, and what just fits to be none.
func TestLargeSets(t *testing.T) {
	text := strings.Repeat(` "`+strings.Repeat("x", 255)+`"`, 100)
	for n, fits := range map[int]bool{2: true, 3: false} {
		var lines []string
		for i := range n {
			lines = append(lines, fmt.Sprintf(`big 300 TXT "%d"%s`, i, text))
		}
		z, err := zone.New(zone.Config{Name: "example", NameServers: []string{"ns.example.net"}, Records: lines})
		if fits {
			if err != nil {
				t.Fatal(err)
			}
			r := z.Lookup("big.example.", dns.TypeTXT)
			sendable(t, "big.example.", dns.TypeTXT, r)
			continue
		}
		if got := mistakes(t, z, err); !strings.Contains(got, "which no message holds") {
			t.Error(got)
		}
	}
}

// TestOrder wants mistakes in the order of the records and then the file, whatever found them.
func TestOrder(t *testing.T) {
	_, err := zone.New(zone.Config{Name: "example", NameServers: []string{"ns.example.net"}, File: "f",
		Records: []string{"x 1 A nonsense"}, Data: []byte("$TTL 1\n@ MX 1 nobody\nb A nonsense\nc CNAME c\nc A 192.0.2.1\nd ANY x\n")})
	var ms zone.Mistakes
	if !errors.As(err, &ms) {
		t.Fatal(err)
	}
	var where []string
	for _, m := range ms {
		where = append(where, m.Where)
	}
	if want := []string{"records[0]", "f:2", "f:3", "f:4", "f:6"}; !slices.Equal(where, want) {
		t.Errorf("mistakes at %v, want %v", where, want)
	}
}
