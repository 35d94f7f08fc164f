package deploy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hither/deploy"
)

// What the file says of an origin's gateways, with the defaults filled in, and what each of its nodes is told.
func TestGateways(t *testing.T) {
	n, err := deploy.Load("testdata/good/gateways.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range n.Origin("us").AllGateways() {
		got = append(got, fmt.Sprintf("%s %d %d %v %v %v %s", g.Name, g.Group, g.Weight, g.Addresses, g.Bind, g.Metrics, g.App.Instances[0].URL))
	}
	want := []string{
		"us 0 1 [192.0.2.4:9443] [192.0.2.4:9443] 127.0.0.1:9182 http://192.0.2.7:3000",
		"us-2 0 3 [gateway.example.org:9443] [[::]:9443] 127.0.0.1:9182 http://127.0.0.1:3000",
		"eu 1 1 [192.0.2.6:9443] [0.0.0.0:9443] 127.0.0.1:9200 http://192.0.2.7:3000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("gateways are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for name, addresses := range map[string]string{"us": "192.0.2.4:9443", "us-2": "gateway.example.org:9443", "eu": "192.0.2.6:9443"} {
		o := n.OriginNode(name)
		if o == nil || o.Name != "us" || o.Gateway.Addresses[0].String() != addresses || o.Limits != n.Origin("us").Limits || len(o.AllGateways()) != 1 {
			t.Errorf("node %s has %+v", name, o)
		}
	}
	if n.OriginNode("fra") != nil || n.OriginNode("") != nil || n.Origin("us-2") != nil {
		t.Error("there are nodes that the file does not have, or origins")
	}
}

func TestShieldOf(t *testing.T) {
	n, err := deploy.Load("testdata/good/gateways.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for pop, want := range map[string]string{"fra": "iad", "iad": "", "gru": ""} {
		got := ""
		if p := n.ShieldOf(n.Origin("us"), n.PoP(pop)); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("%s fetches through %q, want %q", pop, got, want)
		}
	}
	if n.ShieldOf(&deploy.Origin{Name: "none"}, n.PoP("fra")) != nil {
		t.Error("an origin without a shield has one")
	}
}
