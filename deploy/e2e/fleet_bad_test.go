//go:build e2e

package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// TestFleetBad has somebody with the stolen identity of an edge, and strangers with none that holds, do to the fleet what they can. It is refused, counted and
// logged once, and has no effect: by what clients, operators and the edges see.
func TestFleetBad(t *testing.T) {
	scenario(t, "fleet-bad")
	a := newApp(t, "127.30")
	n := run(t, setup{net: "127.30", origin: a.url, edit: append([]string{"disk: 0B", "disk: 64MiB", "rules: []", "rules: [] # none yet"}, soonForgotten...)})
	n.hear(t, members, true, 1)
	all := homes(t)
	var visitors []*visitor
	for i, pop := range []string{"fra", "iad", "sin"} {
		visitors = append(visitors, n.via(t, protocols[i], pop))
	}
	still(t, visitors, "/keep/1")
	if err := receipts(n.purge(t, 0, "url", host+"/keep/other", "--wait")); err != nil {
		t.Fatal(err)
	}
	n.done(t, nil, "fleet", "add", "pop", "syd")
	gone := steal(t, filepath.Join(n.state("edge-syd"), "identity"))
	n.done(t, nil, "fleet", "revoke", "edge-syd", "--why", "a test")
	token := n.token(t, "cms")

	began := time.Now()
	before := n.situation(t, all, visitors, "/keep/1")
	if len(before.stored) != 3 {
		t.Fatalf("the page is stored at %q", before.stored)
	}
	var accounts []account
	grows := func(least int64, node, metric string, labels ...string) {
		accounts = append(accounts, account{n.meter(t, node, metric, labels...), least})
	}

	t.Log("at the doors")
	n.doors(t, gone, grows)

	t.Log("a stolen edge")
	x := n.thief(t, filepath.Join(n.state("edge-fra"), "identity"))
	n.thieves(t, x, all, grows)

	t.Log("tokens that were guessed")
	n.guesses(t, token, grows)

	t.Log("a file for a newer program")
	grows(1, "origin-us", "hither_control_requests_total", "transport", "bus", "result", "refused")
	newer := n.revised(t, "newer.yaml", strings.Replace(n.file(t), "version: 1", "version: 2", 1))
	const says = "version: `2` is not known to this program, which reads version 1"
	n.fleet(t, 1, []string{"newer.yaml:7:10: " + says}, "fleet", "apply", newer, "--yes", "--now")
	if a := n.applies(t, newer); a.Status != http.StatusBadRequest || !strings.Contains(a.Error, says) {
		t.Errorf("the control, asked by a program that does not look itself: %d %s", a.Status, a.Error)
	}

	n.hear(t, members, true, 1)
	after := n.situation(t, all, visitors, "/keep/1")
	ns := n.counters(t, "dns-ns1")
	t.Logf("clients that another PoP gets than before: %q; %d answers by round-trip times, %d to explore", movedFrom(before, after, "fra"),
		ns.sum("hither_dns_answers_total", "reason", "rtt"), ns.sum("hither_dns_answers_total", "reason", "explore"))
	for _, w := range harm(before, after, "fra") {
		t.Error(w)
	}
	for _, x := range accounts {
		if !until(countTime, func() bool { return x.what.grown(t) >= x.most }) {
			t.Errorf("%s grew by %d, not by %d", x.what.what, x.what.grown(t), x.most)
		}
	}
	n.logged(t, began)
	if err := receipts(n.purge(t, 0, "url", site+"/keep/1", "--wait")); err != nil {
		t.Errorf("an honest purge: %v", err)
	}
	if found := still(t, visitors, "/keep/1"); len(found) > 0 {
		t.Errorf("an honest purge has its receipts, and is served by %q", found)
	}

	t.Log("a journal cut short")
	n.cutShort(t, visitors)

	t.Log("a node's own file, of a newer version")
	n.newerOnDisk(t)

	t.Log("the checkers, held to faults")
	n.plantBad(t, all, visitors)
}

// applies gives the control a file, as a program does that has not looked at it before.
func (n *network) applies(t *testing.T, file string) (a bus.Answer) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	call, err := json.Marshal(map[string]any{"file": data, "now": true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := n.thief(t, filepath.Join(n.dir, "operator")).nc.Request("control.main.apply", call, endTime)
	if err == nil {
		err = bus.Decode(m.Data, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// doors has everybody knock who has no business in the fleet, three times each.
func (n *network) doors(t *testing.T, gone *fleet.Identity, grows func(int64, string, string, ...string)) {
	t.Helper()
	other := filepath.Join(t.TempDir(), "authority")
	if _, err := fleet.OpenAuthority(other, "demo"); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(n.dir, "authority")
	revoked, err := gone.HubTLS("us").GetClientCertificate(new(tls.CertificateRequestInfo))
	if err != nil {
		t.Fatal(err)
	}
	const times = 3
	now := time.Now()
	named := func(network, role, name, as string) tls.Certificate {
		return forged(t, own, "hither://"+network+"/"+role+"/"+name, as+"."+role+"."+network+".hither.internal", now.AddDate(0, 1, 0))
	}
	iad := func(authority string, until time.Time) tls.Certificate {
		return forged(t, authority, "hither://demo/edge/iad", "iad.edge.demo.hither.internal", until)
	}
	doors := []struct {
		what, reason string // at the hub
		certificate  []tls.Certificate
	}{
		{"of another fleet", "certificate", []tls.Certificate{iad(other, now.AddDate(0, 1, 0))}},
		{"that ended 31 days ago", "certificate", []tls.Certificate{iad(own, now.AddDate(0, 0, -31))}},
		{"of a role that has nothing to say", "certificate", []tls.Certificate{named("demo", "hub", "n1", "n1")}},
		{"of an edge that has another's name", "certificate", []tls.Certificate{named("demo", "edge", "iad", "fra")}},
		{"of another network", "certificate", []tls.Certificate{named("other", "edge", "iad", "iad")}},
		{"that is revoked", "revoked", []tls.Certificate{*revoked}},
		{"that is none", "nobody", nil},
	}
	byReason := map[string]int64{}
	for _, d := range doors {
		byReason[d.reason] += times
	}
	byReason["handshake"] = times
	for reason, k := range byReason {
		grows(k, "origin-us", "hither_hub_rejected_total", "reason", reason)
	}
	grows(int64(len(doors)*times), "origin-us", "hither_origin_rejected_total", "reason", "tls")
	rejected := n.meter(t, "origin-us", "hither_hub_rejected_total")
	for _, d := range doors {
		for range times {
			for at, protocol := range map[string][]string{n.at("0.1", 4222): nil, n.at("0.1", 9443): {"h2"}} {
				if in, err := knocks(at, d.certificate, protocol...); in || err != nil {
					t.Errorf("a certificate %s: let in at %s: %t, %v", d.what, at, in, err)
				}
			}
		}
	}
	for range times {
		conn, err := net.Dial("tcp", n.at("0.1", 4222))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "CONNECT {\"verbose\":false,\"user\":\"control\"}\r\nPUB journal 2\r\n{}\r\n")
		conn.SetReadDeadline(time.Now().Add(endTime))
		if k, err := conn.Read(make([]byte, 10)); k > 0 && err == nil {
			t.Error("the hub speaks with somebody without TLS")
		}
		conn.Close()
	}
	if k := int64((len(doors) + 1) * times); !until(countTime, func() bool { return rejected.grown(t) >= k }) {
		t.Errorf("the hub has counted %d, not %d", rejected.grown(t), k)
	}
	// Who is of the fleet is let in, or nothing was shown.
	good := []tls.Certificate{iad(own, now.AddDate(0, 1, 0))}
	for at, protocol := range map[string][]string{n.at("0.1", 4222): nil, n.at("0.1", 9443): {"h2"}} {
		if in, err := knocks(at, good, protocol...); !in || err != nil {
			t.Errorf("a good certificate: let in at %s: %t, %v", at, in, err)
		}
	}
}

// thieves has a thief do all that it can.
func (n *network) thieves(t *testing.T, x *thief, all []home, grows func(int64, string, string, ...string)) {
	t.Helper()
	up := func(kind string) string { return bus.UpSubject("edge", "fra", kind) }
	subjects, silent := forbidden("iad"), deaf("iad")
	own := []string{
		up(bus.UpReport), up(bus.UpReceipt), up(bus.UpRTT), up("more"), "_INBOX.operator.main.answer.x", "_INBOX.origin.us.answer.x", "read.edge.fra.TABLES",
	}
	denied := int64(len(subjects)*len(junk()) + len(silent))
	grows(denied+3, "origin-us", "hither_hub_rejected_total", "reason", "denied")
	grows(1, "origin-us", "hither_hub_rejected_total", "reason", "flood")
	grows(1, "origin-us", "hither_hub_rejected_total", "reason", "banned")
	grows(int64(2*len(junk())), "origin-us", "hither_control_receipts_total", "result", "garbage")
	grows(int64(len(x.impossible()[bus.UpReport])), "origin-us", "hither_control_receipts_total", "result", "impossible")
	grows(1, "origin-us", "hither_control_receipts_total", "result", "foreign")
	for _, kind := range []string{bus.UpReport, bus.UpRTT} {
		grows(1, "dns-ns1", "hither_dns_reports_total", "pop", "fra", "kind", kind, "result", "garbage")
	}
	grows(1, "dns-ns1", "hither_dns_reports_total", "pop", "fra", "result", "flood")
	grows(1000, "dns-ns1", "hither_dns_rtt_total", "pop", "fra", "result", "light")
	grows(3, "dns-ns1", "hither_dns_rtt_total", "pop", "fra", "result", "invalid")

	x.claims(t, all) // first: DNS hears a few messages of a flood
	for kind, contents := range x.impossible() {
		x.says(t, []string{up(kind)}, contents)
	}
	x.says(t, subjects, junk())
	x.listens(t, silent)
	x.says(t, own, junk())
	x.says(t, own, oversized())
	if !until(countTime, func() bool { return x.denied.Load() >= denied }) {
		t.Errorf("the hub has denied %d of %d", x.denied.Load(), denied)
	}
	if k := x.reads(t, bus.StreamTables, ""); k == 0 {
		t.Error("an edge does not read what it may: nothing is shown")
	}
	for _, r := range [][2]string{{bus.StreamSecrets, ""}, {bus.StreamTables, bus.LiveJournal}, {bus.StreamJournal, "_INBOX.edge.iad.x"}} {
		if k := x.reads(t, r[0], r[1]); k > 0 {
			t.Errorf("it has read %d entries of %s, with the answers at %q", k, r[0], r[1])
		}
	}
	if x.heard.Load() > 0 {
		t.Errorf("it has heard %d messages that are not for it", x.heard.Load())
	}
	if !x.floods(endTime) {
		t.Error("it floods, and is not cut off")
	}
	if !until(countTime, func() bool {
		nc, err := x.connect(x.id.HubTLS("us"))
		if err == nil {
			nc.Close()
		}
		return err != nil
	}) {
		t.Error("who was cut off comes in again at once")
	}
}

// guesses tries a thousand tokens, and one that holds from elsewhere.
func (n *network) guesses(t *testing.T, token string, grows func(int64, string, string, ...string)) {
	t.Helper()
	grows(10, "origin-us", "hither_control_requests_total", "transport", "http", "result", "denied")
	grows(990, "origin-us", "hither_control_requests_total", "transport", "http", "result", "throttled")
	statuses := map[int]int{}
	ask := func(from, token, path string) int {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		c := http.Client{Timeout: endTime, Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}}
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+n.at("0.1", 9190)+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if token == "" {
			r.Method = "PURGE"
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for i := range 1000 {
		statuses[ask(n.net+".0.8", fmt.Sprintf("hither_guess%d", i), "/purge/1")]++
	}
	if statuses[401] != 10 || statuses[429] != 990 {
		t.Errorf("a thousand guesses: %v", statuses)
	}
	if got := ask(n.net+".0.8", token, "/purge/1"); got != 429 {
		t.Errorf("the right one after that, from there: %d", got)
	}
	if got := ask(n.net+".0.10", token, "/purge/1"); got != 200 {
		t.Errorf("the right one, from elsewhere: %d", got)
	}
}
