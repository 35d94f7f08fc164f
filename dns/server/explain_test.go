package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"hither/deploy/ops"
)

// wireAnswer asks as Explain does, over TCP.
func wireAnswer(t *testing.T, s *Server, name string, qtype uint16, client netip.Prefix, from netip.Addr) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	if client.IsValid() {
		e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(client.Bits()), Address: net.IP(client.Addr().AsSlice())}
		if client.Addr().Is6() {
			e.Family = 2
		}
		m.IsEdns0().Option = []dns.EDNS0{e}
	}
	return s.ask(t, m, from.String())
}

// Whatever is asked, by whom, in whatever state: what is explained is what is answered, and explaining counts nothing.
func TestExplanationsAreTheAnswers(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 7))
	for _, file := range []string{testdata(t, "records.yaml"), localFile(t), testdata(t, "alias.yaml"),
		strings.ReplaceAll(testdata(t, "records.yaml"), "place: {lat: 38.95, lon: -77.45}", "place: {lat: 50.2, lon: 8.7}, weight: 3")} {
		s := bare(t, file)
		var names []string
		for _, n := range []string{"www", "WWW", "both", "cname", "two", "alias", "mirror", "lost", "x.any", "none", "sub", "mx", "a.b", "back", "loop", "by-zones", "_8443._https.www", "big"} {
			names = append(names, n+".hither.test.")
		}
		names = append(names, "hither.test.", "example.org.", ".", `\097.hither.test.`)
		types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT, dns.TypeANY, dns.TypeSOA, dns.TypeAXFR, dns.TypeDS}
		for i := range 1000 {
			if random.IntN(4) == 0 {
				targets := s.world.Load().targets
				result := []error{io.EOF, nil}[random.IntN(2)]
				for range 3 {
					s.probed(targets[random.IntN(len(targets))], result)
				}
			}
			name, qtype := names[random.IntN(len(names))], types[min(random.IntN(12), len(types)-1)]
			if random.IntN(2) == 0 {
				qtype = types[random.IntN(3)]
			}
			client, from := randomClient(random), netip.AddrFrom4([4]byte{byte(random.Uint32()), 2, 3, 4})
			before := ""
			if i%40 == 0 {
				before = dnsMetrics(s)
			}
			x, err := s.Explain(name, qtype, client, from)
			if err != nil {
				t.Fatal(err)
			}
			if before != "" && before != dnsMetrics(s) {
				t.Fatalf("explaining counts:\n%s\n%s", before, dnsMetrics(s))
			}
			m := wireAnswer(t, s, name, qtype, client, from)
			what := fmt.Sprintf("%s %s for %s from %s", name, dns.TypeToString[qtype], client, from)
			holdExplanation(t, s, what, &x, m, qtype)
		}
	}
}

func holdExplanation(t *testing.T, s *Server, what string, x *Explanation, m *dns.Msg, qtype uint16) {
	t.Helper()
	only := *m
	only.Ns, only.Extra = nil, nil
	if got := sections(&only); !slices.Equal(got, x.Answer.Records) || rcodeWord(m.Rcode) != x.Rcode {
		t.Fatalf("%s: answered %s %q, explained %s %q", what, rcodeWord(m.Rcode), got, x.Rcode, x.Answer.Records)
	}
	for _, rr := range m.Answer {
		if x.Answer.TTL > rr.Header().Ttl {
			t.Fatalf("%s: TTL %d", what, x.Answer.TTL)
		}
	}
	if e := subnetOf(m); e != nil && e.SourceNetmask > 0 && int(e.SourceScope) != x.Scope {
		t.Fatalf("%s: scope %d, explained %d", what, e.SourceScope, x.Scope)
	}
	if x.Reason == "" {
		t.Fatalf("%s: no reason", what)
	}
	// The PoPs that are told have the addresses that are answered, and are those not struck out.
	var addresses, answered []string
	w := s.world.Load()
	for _, pop := range x.Answer.PoPs {
		i := slices.IndexFunc(w.pops.list, func(p popEntry) bool { return p.name == pop })
		for _, family := range families(qtype) {
			for _, a := range w.pops.addresses(i, family) {
				addresses = append(addresses, a.String())
			}
		}
		c := x.Candidates[slices.IndexFunc(x.Candidates, func(c Candidate) bool { return c.PoP == pop })]
		if qtype != dns.TypeHTTPS && (c.Struck != nil || c.Rank == 0) {
			t.Fatalf("%s: the answer has %s, struck out: %+v", what, pop, c)
		}
	}
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			answered = append(answered, rr.A.String())
		case *dns.AAAA:
			answered = append(answered, rr.AAAA.String())
		}
	}
	if qtype != dns.TypeHTTPS && x.Place != nil && !slices.Equal(addresses, answered) {
		t.Fatalf("%s: answered %v, explained %v at %v", what, answered, x.Answer.PoPs, addresses)
	}
}

func randomClient(random *rand.Rand) netip.Prefix {
	var b [16]byte
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	known := []string{"192.0.2.0/24", "198.51.0.0/20", "203.0.113.0/25", "203.0.113.128/25", "192.0.0.0/16", "2001:db8:1::/48", "0.0.0.0/0", "::/0", "10.1.2.3/32"}
	switch random.IntN(4) {
	case 0:
		return netip.Prefix{}
	case 1:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), random.IntN(33)).Masked()
	case 2:
		b[0] = 0x20
		return netip.PrefixFrom(netip.AddrFrom16(b), random.IntN(129)).Masked()
	}
	return netip.MustParsePrefix(known[random.IntN(len(known))])
}

// dnsMetrics are the counters of this package.
func dnsMetrics(s *Server) string {
	var b strings.Builder
	for line := range strings.Lines(page(s)) {
		if strings.HasPrefix(line, "hither_dns") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// document is what the admin socket writes, as a program reads it.
func document(t *testing.T, name string, doc any) map[string]any {
	t.Helper()
	b, err := ops.MarshalDocument(name, doc)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExplanationDocument(t *testing.T) {
	s := bare(t, localFile(t))
	for range 3 {
		for _, target := range s.world.Load().targets {
			if target.pop == "iad" {
				s.probed(target, io.EOF)
			}
		}
	}
	for _, c := range []struct{ query, want string }{
		{"name=www.hither.test&client=198.51.8.9", `{
			"schema": "hither/explain-dns/1", "name": "www.hither.test.", "type": "A", "asked": {"client": "198.51.8.0/24", "resolver": "127.0.0.1"},
			"node": "dns-ns1", "revision": 0, "live": true, "rcode": "NOERROR",
			"place": {"lat": 40.7, "lon": -74, "source": "prefix", "found_by": "prefix", "matched": "198.51.0.0/20"}, "scope": 20,
			"candidates": [
				{"pop": "iad", "distance_km": 353, "rtt_ms": null, "up": false, "state": "down", "load": null, "weight": 1, "rank": 1, "struck": "down", "reason": "nearest"},
				{"pop": "fra", "distance_km": 6203, "rtt_ms": null, "up": true, "state": "up", "load": null, "weight": 1, "rank": 2, "struck": null, "reason": "distance"},
				{"pop": "sin", "distance_km": 15335, "rtt_ms": null, "up": true, "state": "up", "load": null, "weight": 1, "rank": 3, "struck": null, "reason": "distance"}],
			"answer": {"pops": ["fra"], "records": ["www.hither.test. 30 IN A 127.53.1.1"], "ttl": 30, "all_down": false},
			"reason": "nearest healthy by distance"}`},
		{"name=ns1.hither.test&type=aaaa&resolver=192.0.2.1", `{
			"schema": "hither/explain-dns/1", "name": "ns1.hither.test.", "type": "AAAA", "asked": {"resolver": "192.0.2.1"},
			"node": "dns-ns1", "revision": 0, "live": true, "rcode": "NOERROR", "place": null, "scope": 0, "candidates": [],
			"answer": {"pops": [], "records": [], "ttl": 0, "all_down": false}, "reason": "zone hither.test. has no record of this type at the name"}`},
	} {
		name, x, err := s.explainCall(httptest.NewRequest("GET", "/v1/explain/dns?"+c.query, nil))
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if got := document(t, name, x); !reflect.DeepEqual(got, want) {
			g, _ := json.MarshalIndent(got, "", " ")
			t.Errorf("%s: %s", c.query, g)
		}
	}
	x, err := s.Explain("www.hither.test.", dns.TypeA, netip.Prefix{}, addr("127.0.0.1"))
	if err != nil || x.Place.Source != "resolver" || x.Place.FoundBy != "prefix" || x.Place.PoP != "fra" || x.Place.Lat != nil {
		t.Errorf("%+v %v", x.Place, err)
	}
}

func TestBadCalls(t *testing.T) {
	s := bare(t, localFile(t))
	for query, want := range map[string]string{
		"":          `"" is no domain name`,
		"name=a..b": `"a..b" is no domain name`,
		"name=" + strings.Repeat("a", 64) + ".test":                     "is no domain name",
		"name=" + strings.Repeat("a.", 200):                             "is no domain name",
		"name=www.hither.test&type=AX":                                  `"AX" is no record type; A, AAAA or HTTPS`,
		"name=www.hither.test&client=nowhere":                           "client: ",
		"name=www.hither.test&client=192.0.2.0/33":                      "client: ",
		"name=www.hither.test&client=::ffff:192.0.2.0/120":              "write ::ffff:192.0.2.0/120 as the IPv4 prefix it is",
		"name=www.hither.test&resolver=192.0.2.0/24":                    "resolver: ",
		"name=www.hither.test&resolver=example.org&client=192.0.2.0/24": "resolver: ",
	} {
		_, _, err := s.explainCall(httptest.NewRequest("GET", "/?"+(&url.URL{RawQuery: query}).Query().Encode(), nil))
		var r *ops.Refusal
		if !errors.As(err, &r) || r.Status != http.StatusBadRequest || !strings.Contains(r.Cause.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
	for client, want := range map[string]string{
		"81.2.69.142": "81.2.69.0/24", "81.2.69.142/20": "81.2.64.0/20", "2001:db8:1:2ff::1": "2001:db8:1:200::/56", "::ffff:81.2.69.142": "81.2.69.0/24",
		"0.0.0.0/0": "0.0.0.0/0", "fe80::1%eth0": "fe80::/56",
	} {
		if got, err := parseClient(client); err != nil || got.String() != want {
			t.Errorf("%s: %v %v, want %s", client, got, err, want)
		}
	}
	_, _, err := s.mapCall(httptest.NewRequest("GET", "/?site=nowhere", nil))
	var r *ops.Refusal
	if !errors.As(err, &r) || r.Status != http.StatusBadRequest || !strings.Contains(err.Error(), `no site "nowhere"`) {
		t.Error(err)
	}
}

// The socket gives the same.
func TestAdmin(t *testing.T) {
	h := newHouse(t, localFile(t))
	admin := ops.Dial(h.server.o.State)
	var x Explanation
	if err := admin.Get(t.Context(), "/v1/explain/dns?name=www.hither.test&client=203.0.113.9", &x); err != nil || !slices.Equal(x.Answer.PoPs, []string{"sin"}) || x.Revision != 1 {
		t.Error(x, err)
	}
	var r *ops.Refusal
	if err := admin.Get(t.Context(), "/v1/explain/dns?name=..", &x); !errors.As(err, &r) || r.Status != http.StatusBadRequest {
		t.Error(err)
	}
	var m Map
	if err := admin.Get(t.Context(), "/v1/explain/map", &m); err != nil || m.Site != "www" || len(m.Countries) < 150 {
		t.Error(len(m.Countries), err)
	}
	var status ops.Status
	if err := admin.Get(t.Context(), "/v1/status", &status); err != nil || status.Nodes[0].State != ops.Ready || status.Nodes[0].Role != "dns" {
		t.Error(status, err)
	}
	if err := admin.Post(t.Context(), "/v1/drain", nil, &status); err != nil || status.Nodes[0].State != ops.Draining {
		t.Error(status, err)
	}
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
	h.cancel = nil
}

// Each country is coloured by the PoP that is nearest of those that are up.
func TestMap(t *testing.T) {
	s := bare(t, localFile(t))
	for _, down := range []string{"", "fra"} {
		for _, target := range s.world.Load().targets {
			for range 3 {
				if target.pop == down {
					s.probed(target, io.EOF)
				}
			}
		}
		m, err := s.Map("")
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]int)
		for _, c := range m.Countries {
			seen[c.PoP]++
			nearest := ""
			for _, p := range m.PoPs {
				if p.Up && (nearest == "" || c.Distances[p.PoP] < c.Distances[nearest]) {
					nearest = p.PoP
				}
			}
			if c.Distance == nil || *c.Distance != c.Distances[nearest] {
				t.Errorf("%s gets %s, nearest is %s: %v", c.Country, c.PoP, nearest, c.Distances)
			}
		}
		if down != "" && seen[down] > 0 || len(seen) != len(m.PoPs)-len(down)/3 {
			t.Error(down, seen)
		}
		doc := document(t, "explain-map", m)
		country := doc["countries"].([]any)[0].(map[string]any)
		for _, key := range []string{"country", "lat", "lon", "weight", "pop", "distance_km", "distances_km"} {
			if _, ok := country[key]; !ok {
				t.Errorf("no %s in %v", key, country)
			}
		}
		if doc["schema"] != "hither/explain-map/1" || doc["site"] != "www" || len(doc["unknown"].([]any)) != 3 {
			t.Errorf("%v %v %v", doc["schema"], doc["site"], doc["unknown"])
		}
	}
}
