//go:build nogeo

package geo_test

import (
	"net/netip"
	"strings"
	"testing"

	"hither/dns/geo"
)

func TestBuiltWithoutTable(t *testing.T) {
	f := geo.New(nil, geo.Embedded()).Lookup(netip.MustParseAddr("193.0.6.139"))
	if f.Source != geo.SourceNone || f.Bits != 0 || len(geo.Countries()) != 0 {
		t.Errorf("%+v, %d countries", f, len(geo.Countries()))
	}
	m := &mmdb{kind: "DBIP-Country-Lite", size: 24}
	m.add("10.0.0.0/8", map[string]any{"country": map[string]any{"iso_code": "DE"}})
	if _, err := geo.OpenMMDB(m.bytes()); err == nil || !strings.Contains(err.Error(), "built without") {
		t.Errorf("a file of countries: %v", err)
	}
}
