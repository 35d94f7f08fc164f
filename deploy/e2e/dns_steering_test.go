//go:build e2e

package e2e_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A land is a network of the real world, and the PoP that is nearest to it.
type land struct{ client, pop string }

// lands are on three continents, of registries, universities and providers.
var lands = []land{
	{"193.0.6.0/24", "fra"},         // RIPE NCC, Amsterdam
	{"81.2.69.0/24", "fra"},         // Andrews & Arnold, England
	{"62.210.0.0/24", "fra"},        // Scaleway, Paris
	{"217.0.0.0/24", "fra"},         // Deutsche Telekom
	{"2001:67c:2e8::/48", "fra"},    // RIPE NCC
	{"199.43.0.0/24", "iad"},        // ARIN, Virginia
	{"24.48.0.0/24", "iad"},         // Videotron, Canada
	{"200.160.2.0/24", "iad"},       // NIC.br, São Paulo
	{"2620:0:2d0::/48", "iad"},      // ICANN
	{"165.21.83.0/24", "sin"},       // Singtel, Singapore
	{"133.242.0.0/24", "sin"},       // Sakura Internet, Japan
	{"202.12.27.0/24", "sin"},       // WIDE, the M root
	{"103.6.84.0/24", "sin"},        // Hong Kong
	{"2001:200:0:8800::/56", "sin"}, // WIDE
}

// dual gives PoPs an IPv6 address in DNS. Nobody has to reach it.
func dual(netName string, names ...string) (edit []string) {
	for _, pop := range names {
		four := netName + "." + pops[pop]
		edit = append(edit, "addresses: ["+four+"]", fmt.Sprintf("bind: [%q]\n    probe: [%q]\n    addresses: [%s, %q]", four, four, four, six(pop)))
	}
	return edit
}

func six(pop string) string { return "2001:db8::" + strings.TrimPrefix(pops[pop], "1.") }

// TestDNSSteering asks our server with dig and kdig, as resolvers of three continents do.
func TestDNSSteering(t *testing.T) {
	scenario(t, "dns-steering")
	var big []string
	for i := range 20 {
		big = append(big, fmt.Sprintf("big.hither.test. 300 IN TXT %02d-%s", i, strings.Repeat("x", 90)))
	}
	lines := ""
	for _, rr := range big {
		data := rr[strings.LastIndexByte(rr, ' ')+1:]
		lines += fmt.Sprintf(`, "big 300 TXT %s"`, data)
	}
	edit := append(dual("127.70", "fra", "sin"), `TXT \"hither\""]`, `TXT \"hither\""`+lines+`]`)
	n := run(t, setup{net: "127.70", edit: edit})
	askers := n.askers(t)
	dig := askers[0]
	for _, a := range askers {
		t.Log(a.path)
		for _, l := range lands {
			if err := n.steers(t, a, l); err != nil {
				t.Errorf("%s: %v", l.client, err)
			}
		}
		for _, c := range []struct {
			question string
			want     expected
		}{
			{"+tcp +subnet=165.21.83.0/24 www.hither.test A", expected{name: host + ".", scope: 16, records: []string{host + ". 30 IN A " + n.net + ".1.3"}}},
			{"www.hither.test A", expected{name: host + ".", scope: -1, records: []string{host + ". 30 IN A " + n.net + ".1.1"}}},
			{"+subnet=0.0.0.0/0 hither.test TXT", expected{name: "hither.test.", records: []string{"hither.test. 300 IN TXT hither"}}},
			{"+subnet=165.21.83.0/24 hither.test TXT", expected{name: "hither.test.", records: []string{"hither.test. 300 IN TXT hither"}}},
			{"nobody.hither.test A", expected{status: "NXDOMAIN", name: "nobody.hither.test.", scope: -1}},
			{"www.hither.test MX", expected{name: host + ".", scope: -1}},
			{"+edns=1 +noednsneg www.hither.test A", expected{status: "BADVERS", flags: "qr", name: host + ".", scope: -1}},
			{"+ednsopt=65001:c0ffee hither.test TXT", expected{name: "hither.test.", scope: -1, records: []string{"hither.test. 300 IN TXT hither"}}},
			{"example.org A", expected{status: "REFUSED", flags: "qr", name: "example.org.", scope: -1}},
			{"+ignore big.hither.test TXT", expected{flags: "aa tc", name: "big.hither.test.", scope: -1}},
			{"+ignore +bufsize=4096 big.hither.test TXT", expected{flags: "aa tc", name: "big.hither.test.", scope: -1}},
			{"big.hither.test TXT", expected{name: "big.hither.test.", scope: -1, records: big}},
		} {
			if c.want.flags == "" {
				c.want.flags = "qr aa"
			}
			question := strings.Fields(c.question)
			// kdig has no such negotiation, and no word for it.
			if strings.HasSuffix(a.path, "kdig") {
				question = slices.DeleteFunc(question, func(s string) bool { return s == "+noednsneg" })
			}
			if err := a.ask(t, question...).differs(c.want); err != nil {
				t.Errorf("%s: %v", c.question, err)
			}
		}
	}

	t.Log("the commands that `up` prints show three continents")
	var seen []string
	for line := range strings.Lines(n.up.stdout.String()) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == "dig" {
			out, err := exec.CommandContext(t.Context(), dig.path, words[1:]...).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
			seen = append(seen, strings.TrimSpace(string(out)))
		}
	}
	if want := []string{n.net + ".1.1", n.net + ".1.2", n.net + ".1.3"}; !slices.Equal(seen, want) {
		t.Errorf("they show %q, not %q", seen, want)
	}

	t.Log("letters as they were asked for (kdig asks in small ones)")
	for qtype, data := range map[string]string{"A": n.net + ".1.1", "HTTPS": "1 . alpn=h3,h2 port=8443 ipv4hint=" + n.net + ".1.1 ipv6hint=" + six("fra")} {
		name := "wWW.hItHeR.TEst."
		want := expected{flags: "qr aa", name: name, scope: 20, records: []string{name + " 30 IN " + qtype + " " + data}}
		if err := dig.ask(t, "+subnet=193.0.6.0/24", name, qtype).differs(want); err != nil {
			t.Error(err)
		}
	}
}

// steers asks for every record of the site as a client of a land: with its subnet, and
// with an address elsewhere in what the scope says. All have to be of the nearest PoP,
// as `explain` has it too.
func (n *network) steers(t *testing.T, a asker, l land) error {
	t.Helper()
	x := n.explain(t, l.client, "A")
	if !slices.Equal(x.Answer.PoPs, []string{l.pop}) {
		return fmt.Errorf("explain says %v, not %s", x.Answer.PoPs, l.pop)
	}
	client := netip.MustParsePrefix(l.client)
	within, err := client.Addr().Prefix(x.Scope)
	if err != nil {
		return err
	}
	elsewhere, _ := bounds(within)
	four := n.net + "." + pops[l.pop]
	// iad has no IPv6 address. Who asks for one gets the nearest PoP that has.
	sixth := six(map[string]string{"fra": "fra", "iad": "fra", "sin": "sin"}[l.pop])
	params := "alpn=h3,h2 port=8443 ipv4hint=" + four + " ipv6hint=" + sixth
	for _, q := range []struct{ from, name, qtype, data string }{
		{l.client, host + ".", "A", four},
		{single(elsewhere), host + ".", "A", four},
		{l.client, host + ".", "AAAA", sixth},
		{l.client, host + ".", "HTTPS", "1 . " + params},
		{l.client, "_8443._https." + host + ".", "HTTPS", "1 " + host + ". " + params},
	} {
		want := expected{flags: "qr aa", name: q.name, scope: x.Scope, records: []string{q.name + " 30 IN " + q.qtype + " " + q.data}}
		if err := a.ask(t, "+subnet="+q.from, q.name, q.qtype).differs(want); err != nil {
			return fmt.Errorf("%s from %s: %w", q.qtype, q.from, err)
		}
	}
	return nil
}
