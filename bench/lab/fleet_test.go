package lab

import "testing"

func TestClientsHaveNetworksOfTheirOwn(t *testing.T) {
	seen := make(map[[3]byte]bool)
	for i := range Clients {
		a := ClientAddr(i).As4()
		if p, ok := placeAt(a); !ok || p != Client || seen[[3]byte(a[:3])] {
			t.Errorf("client %d, %v: at the %v, %v", i, ClientAddr(i), p, ok)
		}
		seen[[3]byte(a[:3])] = true
	}
	for _, p := range Edges() {
		if q, ok := placeAt(p.Addr().As4()); !ok || q != p {
			t.Errorf("%v is at %v", p.Addr(), q)
		}
	}
	if (&Lab{}).has(Second) || !(&Lab{fleet: true}).has(Third) || !(&Lab{}).has(DNS) {
		t.Error("a lab has the places of a fleet's edges when it has a fleet")
	}
}
