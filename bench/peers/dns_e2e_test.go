//go:build e2e

package peers

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"hither/bench/load"
)

// TestDNSPeers starts each real peer, has it answer as hither does, and shows that one with another view of the world is found out.
func TestDNSPeers(t *testing.T) {
	cores, err := load.Cores()
	if err != nil {
		t.Fatal(err)
	}
	places, err := NewPlaces("127.83")
	if err != nil {
		t.Fatal(err)
	}
	queries, err := load.NewQueries(Name, 4000, 2)
	if err != nil {
		t.Fatal(err)
	}
	if queries, err = queries.Keep(func(client netip.Prefix) bool { return places.Alike(client) }); err != nil {
		t.Fatal(err)
	}
	questions, err := queries.Sample(4000)
	if err != nil {
		t.Fatal(err)
	}
	// The planted fault: who knows other is told that the clients of one range, which one question is from, get another PoP.
	other := &Places{PoPs: places.PoPs}
	client, _ := netip.AddrFromSlice(subnetOf(questions[1234]).Address.To4())
	moved := places.rangeOf(valueOf(client))
	for i, start := range places.starts {
		pop := places.pops[i]
		if i == moved {
			pop = (pop + 1) % len(places.PoPs)
		}
		other.add(start, pop)
	}
	for _, name := range DNSPeers() {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			s, err := StartDNSPeer(t.Context(), name, dir, "127.83", places, cores[0])
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			if err := s.Agrees(t.Context(), questions, places); err != nil {
				t.Error(err)
			}
			if err := s.Agrees(t.Context(), questions, other); err == nil || !strings.Contains(err.Error(), "("+other.Lookup(client).Name+")") {
				t.Errorf("with another view of the world: %v", err)
			}
			if u, err := load.ReadUsage(s.PID()); err != nil || u.CPU == 0 {
				t.Errorf("its usage is %+v, %v", u, err)
			}
			s.Stop()
			if err := free(s.Addr); err != nil {
				t.Errorf("after its end: %v", err)
			}
		})
	}
}
