package geo_test

import (
	"net/netip"
	"testing"

	"hither/dns/geo"
)

func prefixes(of map[string]string) map[netip.Prefix]geo.Spot {
	m := map[netip.Prefix]geo.Spot{}
	for p, pop := range of {
		m[netip.MustParsePrefix(p)] = geo.Spot{PoP: pop}
	}
	return m
}

func TestOperatorsPrefixes(t *testing.T) {
	nested := map[string]string{"10.0.0.0/8": "fra", "10.1.0.0/16": "iad", "10.1.2.0/24": "fra", "10.1.2.3/32": "sin",
		"2001:db8::/32": "fra", "2001:db8:1::/48": "iad", "2001:db8:1::1/128": "sin"}
	cases := []struct {
		what    string
		given   map[string]string
		client  string
		pop     string
		matched string
		bits    int
	}{
		{"nothing", nil, "192.0.2.1", "", "0.0.0.0/0", 0},
		{"nothing", nil, "2001:db8::1", "", "::/0", 0},
		{"nothing", nil, "::ffff:192.0.2.1", "", "0.0.0.0/0", 0},
		{"all of IPv4", map[string]string{"0.0.0.0/0": "fra"}, "192.0.2.1", "fra", "0.0.0.0/0", 0},
		{"all of IPv4 as seen from IPv6", map[string]string{"0.0.0.0/0": "fra"}, "::ffff:192.0.2.1", "fra", "0.0.0.0/0", 96},
		{"all of IPv4 says nothing of IPv6", map[string]string{"0.0.0.0/0": "fra"}, "2001:db8::1", "", "2000::/3", 3},
		{"all of IPv6 says nothing of IPv4", map[string]string{"::/0": "fra"}, "192.0.2.1", "", "0.0.0.0/0", 0},
		{"all of IPv6 says nothing of IPv4", map[string]string{"::/0": "fra"}, "::ffff:192.0.2.1", "", "0.0.0.0/0", 96},
		{"all of IPv6", map[string]string{"::/0": "fra"}, "2001:db8::1", "fra", "::/0", 3},
		{"everything", map[string]string{"::/0": "fra", "0.0.0.0/0": "fra"}, "2001:db8::1", "fra", "::/0", 0},
		{"everything", map[string]string{"::/0": "fra", "0.0.0.0/0": "fra"}, "::ffff:192.0.2.1", "fra", "0.0.0.0/0", 0},
		{"one host", map[string]string{"192.0.2.1/32": "fra"}, "192.0.2.1", "fra", "192.0.2.1/32", 32},
		{"beside one host", map[string]string{"192.0.2.1/32": "fra"}, "192.0.2.0", "", "192.0.2.0/32", 32},
		{"a gap", map[string]string{"192.0.2.1/32": "fra"}, "128.0.0.1", "", "128.0.0.0/2", 2},
		{"halves of one answer", map[string]string{"10.0.0.0/9": "fra", "10.128.0.0/9": "fra"}, "10.200.0.1", "fra", "10.128.0.0/9", 8},
		{"halves of two answers", map[string]string{"10.0.0.0/9": "fra", "10.128.0.0/9": "iad"}, "10.200.0.1", "iad", "10.128.0.0/9", 9},
		{"nested in the same answer", map[string]string{"10.0.0.0/8": "fra", "10.1.0.0/16": "fra"}, "10.1.0.1", "fra", "10.1.0.0/16", 8},
		{"mapped prefix", map[string]string{"::ffff:10.0.0.0/104": "fra"}, "10.2.3.4", "fra", "10.0.0.0/8", 8},
		{"mapped client", map[string]string{"10.0.0.0/8": "fra"}, "::ffff:10.2.3.4", "fra", "10.0.0.0/8", 104},
		{"unmasked", map[string]string{"10.2.3.4/8": "fra"}, "10.9.9.9", "fra", "10.0.0.0/8", 8},
		{"equal when masked", map[string]string{"10.0.0.1/8": "fra", "10.0.0.2/8": "iad"}, "10.9.9.9", "fra", "10.0.0.0/8", 8},
		{"last addresses", map[string]string{"255.255.255.255/32": "fra"}, "255.255.255.255", "fra", "255.255.255.255/32", 32},
		{"last addresses", map[string]string{"ffff::/16": "fra"}, "ffff::1", "fra", "ffff::/16", 16},
		{"nested", nested, "10.200.0.1", "fra", "10.0.0.0/8", 9},
		{"nested", nested, "10.1.128.1", "iad", "10.1.0.0/16", 17},
		{"nested", nested, "10.1.2.4", "fra", "10.1.2.0/24", 30},
		{"nested", nested, "10.1.2.2", "fra", "10.1.2.0/24", 32},
		{"nested", nested, "10.1.2.3", "sin", "10.1.2.3/32", 32},
		{"nested", nested, "11.0.0.1", "", "11.0.0.0/8", 8},
		{"nested", nested, "2001:db8:8000::1", "fra", "2001:db8::/32", 33},
		{"nested", nested, "2001:db8:1:8000::1", "iad", "2001:db8:1::/48", 49},
		{"nested", nested, "2001:db8:1::1", "sin", "2001:db8:1::1/128", 128},
		{"zone", nested, "2001:db8:1::1%eth0", "sin", "2001:db8:1::1/128", 128},
		{"6to4 of 10.1.2.3", nested, "2002:a01:203::1", "", "2002::/15", 15},
		{"NAT64 of 10.1.2.3", nested, "64:ff9b::a01:203", "", "40::/10", 10},
	}
	for _, c := range cases {
		f := geo.New(prefixes(c.given), nil).Lookup(netip.MustParseAddr(c.client))
		source := geo.SourcePrefix
		if c.pop == "" {
			source = geo.SourceNone
		}
		if f.PoP != c.pop || f.Matched.String() != c.matched || f.Bits != c.bits || f.Source != source {
			t.Errorf("%s: %s: %+v, want %s %s /%d", c.what, c.client, f, c.pop, c.matched, c.bits)
		}
	}
}
