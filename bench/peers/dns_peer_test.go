package peers

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/bench/load"
)

// TestDNSConfig fills in every file of every peer, and holds them to what all are told alike.
func TestDNSConfig(t *testing.T) {
	places := &Places{PoPs: []PlacePoP{{"fra", netip.MustParseAddr("127.83.1.1")}, {"iad", netip.MustParseAddr("127.83.1.2")}}}
	places.add(0, 0)
	places.add(valueOf(netip.MustParseAddr("3.0.0.0")), 1)
	places.add(valueOf(netip.MustParseAddr("4.0.0.0")), 0)
	taken := map[byte]string{1: "hither"}
	for _, p := range dnsPeers {
		if other := taken[p.host]; other != "" {
			t.Errorf("%s has the address of %s", p.name, other)
		}
		taken[p.host] = p.name
		dir := t.TempDir()
		config := dnsConfig{Dir: dir, Addr: netip.MustParseAddrPort("127.83.0.9:5300"), PoPs: places.PoPs, Prefixes: places.Prefixes()}
		all := ""
		for _, f := range p.files {
			if err := config.write(f[0], f[1]); err != nil {
				t.Fatalf("%s: %s: %v", p.name, f[0], err)
			}
			text, err := os.ReadFile(filepath.Join(dir, f[1]))
			if err != nil {
				t.Fatal(err)
			}
			all += string(text)
		}
		for _, want := range []string{dir, "127.83.0.9", "5300", "bench.test", "127.83.1.1", "127.83.1.2", "0.0.0.0/7", "2.0.0.0/8", "3.0.0.0/8", "128.0.0.0/1"} {
			if !strings.Contains(all, want) && !(want == "bench.test" && p.name == "gdnsd") { // there it is the file's name
				t.Errorf("%s is not told of %s", p.name, want)
			}
		}
		if strings.Contains(all, "<no value>") {
			t.Errorf("%s: something is not filled in", p.name)
		}
	}
	bad := dnsConfig{Dir: t.TempDir(), Prefixes: []Placed{{netip.MustParsePrefix("3.0.0.0/8"), "nowhere"}}}
	if err := bad.write("knot.geo", "geo.conf"); err == nil || !strings.Contains(err.Error(), `no PoP "nowhere"`) {
		t.Errorf("a prefix of no PoP: %v", err)
	}
}

// TestStartDNSPeerFails shows each way, with a small program in the place of a server.
func TestStartDNSPeerFails(t *testing.T) {
	cores, err := load.Cores()
	if err != nil {
		t.Fatal(err)
	}
	places := &Places{PoPs: []PlacePoP{{"fra", netip.MustParseAddr("127.83.1.1")}}}
	places.add(0, 0)
	for _, c := range []struct {
		name string
		peer dnsPeer
		why  string
	}{
		{"not there", dnsPeer{program: "nobody-has-this", pkg: "a-package"}, "nobody-has-this is not on this machine: install the Debian package a-package"},
		{"tells no version", dnsPeer{program: script(t, "echo hello; exit 1")}, "tells no version: exit status 1"},
		{"ends at once", dnsPeer{name: "x", program: script(t, "echo version 3.8.1; echo no such module >&2; exit 1")}, "x ended at once: no such module"},
		{"lacks its module", dnsPeer{name: "x", program: script(t, "echo 1.2.3; exit 1"), module: "/nowhere/*/geoip.so", pkg: "x-geoip"}, "geoip.so is not on this machine: install the Debian package x-geoip"},
		{"has its module", dnsPeer{name: "x", program: script(t, "echo 1.2.3; exit 1"), module: "/proc/self/*at"}, "x ended at once: 1.2.3"},
		{"has no such file", dnsPeer{program: script(t, "echo 1.2.3"), files: [][2]string{{"other.conf", "x"}}}, "other.conf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.peer.host = 9
			_, err := c.peer.run(t.Context(), t.TempDir(), "127.83", places, cores[0])
			if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, c.why)
			}
			if missing := new(load.MissingError); errors.As(err, &missing) != strings.Contains(c.why, "not on this machine") {
				t.Errorf("%T tells the wrong status", err)
			}
		})
	}
	if _, err := StartDNSPeer(t.Context(), "bind", t.TempDir(), "127.83", places, cores[0]); err == nil || !strings.Contains(err.Error(), "gdnsd, knot, powerdns") {
		t.Errorf("a server that nobody knows: %v", err)
	}
	if _, err := StartDNSPeer(t.Context(), "gdnsd", t.TempDir(), "10.1", places, cores[0]); !errors.Is(err, errNet) {
		t.Errorf("another net: %v", err)
	}
}
