package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hither/deploy"
	"hither/deploy/fleet"
)

// Which ways a PoP has to an origin: its shield first, the gateways a group behind it, as near as the file says.
func TestGatewaysOf(t *testing.T) {
	n, err := deploy.Load("../../deploy/testdata/good/gateways.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for pop, want := range map[string][]string{
		"fra": {"edge/iad edge/iad [198.51.100.2:9444] 1 0", "us origin/us [192.0.2.4:9443] 1 1", "us-2 origin/us-2 [gateway.example.org:9443] 3 1", "eu origin/eu [192.0.2.6:9443] 1 2"},
		"iad": {"us origin/us [192.0.2.4:9443] 1 0", "us-2 origin/us-2 [gateway.example.org:9443] 3 0", "eu origin/eu [192.0.2.6:9443] 1 1"},
		"gru": {"us origin/us [192.0.2.4:9443] 1 0", "us-2 origin/us-2 [gateway.example.org:9443] 3 0", "eu origin/eu [192.0.2.6:9443] 1 1"}, // of another trust domain
	} {
		list := gatewaysOf(n, n.PoP(pop), n.Origin("us"))
		var got []string
		for _, g := range list {
			got = append(got, fmt.Sprintf("%s %s/%s %v %d %d", g.name, g.role, g.node, g.addresses, g.weight, g.group))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pop, got, want)
		}
		// What another PoP sends here goes by no shield.
		d, _ := (&origin{gateways: list}).direct().(direct)
		if wantAvoid := map[string][]string{"fra": {"edge/iad"}}[pop]; !slices.Equal(d.avoid, wantAvoid) {
			t.Errorf("%s: what PoPs send avoids %v, want %v", pop, d.avoid, wantAvoid)
		}
	}
	if got := shieldOf(n, "iad"); !slices.Equal(got, []string{"us"}) || shieldOf(n, "fra") != nil {
		t.Errorf("iad is the shield of %v, fra of %v", got, shieldOf(n, "fra"))
	}
}

// A PoP speaks for clients of its own trust domain's sites alone.
func TestShields(t *testing.T) {
	network, err := deploy.Load("../../deploy/testdata/good/gateways.yaml")
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{o: Options{Name: "iad"}, network: network}
	for pop, says := range map[string]string{"fra": "", "iad": "", "gru": "edge-gru is of the trust domain other", "new": "edge-new is no PoP"} {
		err := n.shields(fleet.Peer{Role: fleet.RoleEdge, Name: pop, Network: network.Name})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", pop, err, says)
		}
	}
}
