package server

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"hither/deploy/ops"
	"hither/dns/geo"
	"hither/dns/steer"
)

// A trace is what an answer was made from, where it was a steered name's.
type trace struct {
	steered *steered
	choice  choice
}

// Explanation is the document "explain-dns": what a client would be answered now, and why.
type Explanation struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Asked    Asked  `json:"asked"`
	Node     string `json:"node"`
	Revision int    `json:"revision"`
	Live     bool   `json:"live"` // a running server says it
	Rcode    string `json:"rcode"`

	Place      *Place      `json:"place"` // null where the name is not steered
	Scope      int         `json:"scope"` // prefix length for which the answer holds; 0 where no client subnet was told
	Candidates []Candidate `json:"candidates"`
	Answer     Answer      `json:"answer"`
	Reason     string      `json:"reason"`
}

// Asked is whom the question is from.
type Asked struct {
	Client   string `json:"client,omitempty"` // client subnet; absent: the resolver told none
	Resolver string `json:"resolver"`
}

// Place is where the client was found to be.
type Place struct {
	Lat     *float64 `json:"lat"` // null where nobody knows, or the operator's prefix names a PoP
	Lon     *float64 `json:"lon"`
	PoP     string   `json:"pop,omitempty"`     // that the operator's prefix names
	Country string   `json:"country,omitempty"` // where the database says it
	Source  string   `json:"source"`            // prefix, mmdb, embedded, none; resolver where its address had to stand for the client's
	FoundBy string   `json:"found_by"`          // the same, and for a resolver's address what found that
	Matched string   `json:"matched"`           // the entry that holds the address
}

// Candidate is a PoP as it stood in the decision.
type Candidate struct {
	PoP      string   `json:"pop"`
	Distance *float64 `json:"distance_km"` // null where nobody knows the client's place
	RTT      *float64 `json:"rtt_ms"`      // null: nothing was measured of the client's prefix; see RTTFrom
	Up       bool     `json:"up"`
	State    string   `json:"state"` // up, down, flapping; absent: no address of the family
	Load     *float64 `json:"load"`  // null: not measured
	Weight   int      `json:"weight"`
	Rank     int      `json:"rank"`   // from 1; 0 = does not serve the site
	Struck   *string  `json:"struck"` // why it is in no answer; null where it may be
	Reason   string   `json:"reason"` // of its rank

	// RTT's story, where anything was measured of the client's prefix: RTT then is a guess by the map for PoPs nobody measured.
	RTTFrom    string   `json:"rtt_from,omitempty"`    // report: the PoP's word; probe: this server's own; guess
	RTTSamples float64  `json:"rtt_samples,omitempty"` // connections it stands for, faded
	RTTAge     *float64 `json:"rtt_age_s,omitempty"`   // since it was last measured
	RTTUnused  string   `json:"rtt_unused,omitempty"`  // why it does not count, or is the best and not first; absent where neither is so

	Shed  float64         `json:"shed,omitempty"`  // the part of its clients that is sent on
	Drain *CandidateDrain `json:"drain,omitempty"` // the operator's
}

// CandidateDrain is the operator's word that a PoP gets no new clients.
type CandidateDrain struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"`
}

// Answer is what the client gets.
type Answer struct {
	PoPs    []string `json:"pops"`
	Records []string `json:"records"` // in zone syntax
	TTL     uint32   `json:"ttl"`
	AllDown bool     `json:"all_down"` // no PoP is up, so it was answered as if all were
}

// Prefix lengths that resolvers tell of a client (RFC 7871 section 11.1), for an operator who gives an address.
const (
	usual4 = 24
	usual6 = 56
)

// explainCall answers GET /v1/explain/dns?name=NAME&type=TYPE&client=IP|PREFIX&resolver=IP.
func (s *Server) explainCall(r *http.Request) (string, any, error) {
	v := r.URL.Query()
	bad := func(format string, args ...any) (string, any, error) {
		return "", nil, &ops.Refusal{Status: http.StatusBadRequest, Cause: fmt.Errorf(format, args...)}
	}
	name := v.Get("name")
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return bad("dns: %q is no domain name", name)
	}
	qtype, ok := dns.StringToType[strings.ToUpper(orElse(v.Get("type"), "A"))]
	if !ok {
		return bad("dns: %q is no record type; A, AAAA or HTTPS are those of a steered name", v.Get("type"))
	}
	resolver, err := netip.ParseAddr(orElse(v.Get("resolver"), "127.0.0.1"))
	if err != nil {
		return bad("dns: resolver: %v", err)
	}
	var client netip.Prefix
	if text := v.Get("client"); text != "" {
		if client, err = parseClient(text); err != nil {
			return bad("dns: client: %v", err)
		}
	}
	x, err := s.Explain(dns.Fqdn(name), qtype, client, resolver.Unmap())
	if err != nil {
		return bad("%v", err)
	}
	return "explain-dns", x, nil
}

func orElse(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// parseClient reads a prefix, or an address for the prefix that a resolver would tell of it.
func parseClient(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err == nil && p.Addr().Is4In6() {
			err = fmt.Errorf("write %s as the IPv4 prefix it is", text)
		}
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	bits := usual6
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = usual4
	}
	return a.Prefix(bits)
}

// Explain answers a question as from a resolver that told the client's subnet, or none where that is the zero Prefix,
// by the very code that answers clients, and says why. It counts nothing.
func (s *Server) Explain(name string, qtype uint16, client netip.Prefix, resolver netip.Addr) (Explanation, error) {
	msg, err := wireQuestion(name, qtype, client)
	if err != nil {
		return Explanation{}, fmt.Errorf("dns: explain %s: %w", name, err)
	}
	q, wrong := parse(msg)
	if wrong != faultNone {
		return Explanation{}, fmt.Errorf("dns: explain %s: the question is malformed: %s", name, wrong)
	}
	s.mu.Lock()
	w, revision := s.world.Load(), s.o.Fleet.Number(s.revision)
	s.mu.Unlock()
	var t trace
	r := &reply{q: &q, from: resolver, trace: &t}
	s.look(r, w)
	x := Explanation{
		Name: name, Type: dns.TypeToString[qtype], Asked: Asked{Resolver: resolver.String()}, Node: "dns-" + s.o.Name, Revision: revision, Live: true,
		Rcode: rcodeWord(r.Rcode), Scope: r.scope, Candidates: []Candidate{},
		Answer: Answer{PoPs: []string{}, Records: []string{}},
	}
	if client.IsValid() {
		x.Asked.Client = client.String()
	}
	for i, rr := range r.Answer {
		x.Answer.Records = append(x.Answer.Records, strings.Join(strings.Fields(rr.String()), " "))
		if ttl := rr.Header().Ttl; i == 0 || ttl < x.Answer.TTL {
			x.Answer.TTL = ttl
		}
	}
	if t.steered == nil {
		x.Reason = plainReason(w, r)
		return x, nil
	}
	x.Place = t.choice.place()
	sights, now := s.sights(t.choice.client)
	for _, family := range families(qtype) {
		x.decided(w, w.pops.now.Explain(t.steered.question(&t.choice, family)))
	}
	s.tell(x.Candidates, sights, now)
	switch {
	case t.choice.told:
	case client.IsValid():
		x.Reason += "; the place is the resolver's, for an option of /0 says not to look at the client"
	default:
		x.Reason += "; the place is the resolver's, for it told no client subnet"
	}
	return x, nil
}

// decided adds what was decided for one family. An HTTPS record has hints of both: its candidates and reason are those of the
// first family that has a PoP, its PoPs those of either.
func (x *Explanation) decided(w *world, d steer.Decision) {
	if len(x.Answer.PoPs) == 0 {
		x.Reason, x.Candidates = d.Reason.Text(), []Candidate{}
		for _, c := range d.Candidates {
			x.Candidates = append(x.Candidates, candidate(c))
		}
	}
	x.Answer.AllDown = x.Answer.AllDown || d.AllDown
	for _, i := range d.PoPs {
		if name := w.pops.list[i].name; !slices.Contains(x.Answer.PoPs, name) {
			x.Answer.PoPs = append(x.Answer.PoPs, name)
		}
	}
}

// plainReason says why a name that is not steered is answered as it is.
func plainReason(w *world, r *reply) string {
	z := w.zoneOf(r.q.name, r.q.qtype)
	switch {
	case z == nil:
		return "the name is in no zone of this network"
	case r.Rcode == dns.RcodeNameError:
		return "there is no such name in zone " + z.Name()
	case r.Rcode == dns.RcodeServerFailure:
		return "the target of its ALIAS could not be looked up, or leads back to it"
	case r.Rcode == dns.RcodeSuccess && !r.Authoritative:
		return "zone " + z.Name() + " delegates the name to other servers"
	case r.Rcode == dns.RcodeSuccess && len(r.Answer) == 0:
		return "zone " + z.Name() + " has no record of this type at the name"
	case r.Rcode == dns.RcodeSuccess:
		return "the name is not steered: records of zone " + z.Name()
	}
	return "a question that is not answered here"
}

// wireQuestion is the question on the wire.
func wireQuestion(name string, qtype uint16, client netip.Prefix) ([]byte, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(maxUDP, false)
	if client.IsValid() {
		e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(client.Bits()), Address: client.Addr().AsSlice()}
		if client.Addr().Is6() {
			e.Family = 2
		}
		o := m.IsEdns0()
		o.Option = append(o.Option, e)
	}
	return m.Pack()
}

func (c *choice) place() *Place {
	f := &c.found
	p := &Place{PoP: f.PoP, Country: f.Country, Source: f.Source.String(), FoundBy: f.Source.String(), Matched: f.Matched.String()}
	if !c.told && f.Source != geo.SourceNone {
		p.Source = "resolver"
	}
	if f.Source != geo.SourceNone && f.PoP == "" {
		p.Lat, p.Lon = &f.Point.Lat, &f.Point.Lon
	}
	return p
}

func candidate(c steer.Candidate) Candidate {
	out := Candidate{PoP: c.PoP, Up: c.State == steer.Up, State: c.State.String(), Weight: c.Weight, Rank: c.Rank, Reason: string(c.Reason)}
	if !math.IsNaN(c.DistanceKM) {
		km := math.Round(c.DistanceKM)
		out.Distance = &km
	}
	if c.Load >= 0 {
		out.Load = &c.Load
	}
	if c.Struck != "" {
		struck := string(c.Struck)
		out.Struck = &struck
	}
	return out
}

// sights is what is known of a client's prefix.
func (s *Server) sights(client netip.Prefix) ([]steer.Sight, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	return s.told.times.Sights(client, now), now
}

// tell adds to candidates what the fleet tells of them.
func (s *Server) tell(list []Candidate, sights []steer.Sight, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		c := &list[i]
		c.Load = nil
		if load := s.told.loadOf(c.PoP, now); load >= 0 {
			c.Load = &load
		}
		c.Shed = s.told.shareOf(c.PoP)
		if d, ok := s.told.drains[c.PoP]; ok && d.Asked() {
			c.Drain = &CandidateDrain{d.Since, d.By}
		}
		at := slices.IndexFunc(sights, func(x steer.Sight) bool { return x.PoP == c.PoP })
		if at < 0 {
			continue
		}
		x := &sights[at]
		ms, age := math.Round(x.MS*100)/100, x.Age.Seconds()
		c.RTT, c.RTTFrom, c.RTTUnused = &ms, x.From, x.Unused
		if x.From != steer.SightGuess {
			c.RTTSamples, c.RTTAge = math.Round(x.Samples*10)/10, &age
		}
	}
}
