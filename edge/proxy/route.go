package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"hither/cache"
	"hither/edge/compress"
)

// A Site is a set of hosts that are served alike.
type Site struct {
	Name   string // first part of every cache key
	Origin string // the origin's name
	// Transport reaches the origin. Its errors, and those of reading a response's body,
	// may say whose fault they are: see originError.
	Transport http.RoundTripper
	// Direct is Transport for what other PoPs send here, and leads to no other PoP; nil = Transport.
	Direct http.RoundTripper
	// Policy names the site's TLS policy: trust domain, least version, client
	// certificates. A connection made for one site serves another only where the two
	// agree (RFC 9110 section 7.4).
	Policy string
	// EarlyData lets safe requests be answered before the handshake is complete.
	EarlyData bool
	// MergeSchemes makes http and https requests share stored responses.
	MergeSchemes bool
	// HonourRequests takes what requests' own directives say of stored responses (RFC 9111 section 5.2.1); else no more than
	// no-store and only-if-cached counts.
	HonourRequests bool
	Reuse          cache.Policy
	Compress       compress.Policy // what is encoded of what is stored
	Rules          []Rule          // the first that matches a path applies
}

// A Rule changes what a site does for some paths.
type Rule struct {
	// Path is matched against the normalised path; "*" stands for any run of characters.
	Path   string
	TTL    *time.Duration // replaces the lifetime that responses give; nil = theirs
	Query  QueryKey
	Choose Choosers // beside the response's Vary
	Bypass bool     // neither look up nor store

	// What replaces the fields of the same names in Site.Reuse; nil = those.
	Negative                 *time.Duration
	WhileRevalidate, IfError *time.Duration
	SetCookie                *bool
	MaxObject, Slice         *int64
}

// change makes a site's policy that of the rule.
func (r *Rule) change(p *cache.Policy) {
	if r.TTL != nil {
		p.TTL = r.TTL
	}
	if r.Negative != nil {
		p.Negative = r.Negative
	}
	if r.WhileRevalidate != nil {
		p.WhileRevalidate = *r.WhileRevalidate
	}
	if r.IfError != nil {
		p.IfError = *r.IfError
	}
	if r.SetCookie != nil {
		p.SetCookie = *r.SetCookie
	}
	if r.MaxObject != nil {
		p.MaxObject = *r.MaxObject
	}
	if r.Slice != nil {
		p.Slice = *r.Slice
	}
}

// Sites finds the site of an authority. It never changes: it is replaced as a whole.
type Sites struct {
	exact    map[string]*Site
	wildcard map[string]*Site // by what follows "*."
}

// NewSites returns an empty table. Add is called before the table is in use.
func NewSites() *Sites {
	return &Sites{exact: make(map[string]*Site), wildcard: make(map[string]*Site)}
}

// Add lets s answer for hosts: lower-case names, or "*." and a name for every name with
// one label more.
func (t *Sites) Add(s *Site, hosts ...string) {
	for _, h := range hosts {
		if parent, ok := strings.CutPrefix(h, "*."); ok {
			t.wildcard[parent] = s
		} else {
			t.exact[h] = s
		}
	}
}

// Of returns the site of an authority or a TLS server name, or nil.
func (t *Sites) Of(authority string) *Site {
	s, _, _ := t.find(authority)
	return s
}

// find is Of with the host that matched; parent tells that it was "*." and that.
func (t *Sites) find(authority string) (s *Site, host string, parent bool) {
	if s := t.exact[authority]; s != nil {
		return s, authority, false
	}
	host, _ = splitPort(authority)
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if s := t.exact[host]; s != nil {
		return s, host, false
	}
	if label, parent, ok := strings.Cut(host, "."); ok && isLabel(label) {
		return t.wildcard[parent], parent, true
	}
	return nil, host, false
}

// isLabel reports whether s may be a label of a host name. What a wildcard matches is the
// client's to choose, and goes into fields for the origin.
func isLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 63 // RFC 1035 section 2.3.4
}

// splitPort cuts ":port" off an authority; an IPv6 literal keeps its brackets.
func splitPort(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") {
		return authority, ""
	}
	return authority[:i], authority[i+1:]
}

// A plan is what the edge means to do for a request.
type plan struct {
	site   *Site
	target string // normalised; what the origin is asked
	key    cache.Key
	policy cache.Policy
	bypass cache.Reason // why the cache is left out; "" = it is asked
	early  bool
	asked  string // the normalised target before a rule changed its query
	rule   *Rule  // that applies; nil = none

	demand  cache.Demand // of stored responses, by the request's own directives
	inner   bool         // another PoP of the network asks
	unkeyed bool         // the key would not say what the origin sees (see hides, Choosers.plain): nothing may be stored
}

// choose lets the rule's choosers into the plan.
func (pl *plan) choose(v RequestView) {
	c := &pl.rule.Choose
	pl.policy.Choose = c.names
	pl.unkeyed = !c.plain(v)
	if c.device { // which the origin is told by us, as the variant has it
		pl.policy.Opaque = opaqueBesideMerged
		if !pl.site.MergeSchemes {
			pl.policy.Opaque = opaqueBeside
		}
	}
}

// fields are a request's fields as variants are chosen by.
func (pl *plan) fields(f cache.FieldReader) cache.FieldReader {
	if pl.rule == nil {
		return f
	}
	return pl.rule.Choose.reader(f)
}

// planFor decides from the request alone. The error is a *refusal.
func (p *Proxy) planFor(v RequestView) (plan, error) {
	sites := p.sites.Load()
	site := sites.Of(v.Authority())
	if site == nil {
		return plan{}, errUnknownHost
	}
	if v.Secure() && !v.Inner() {
		if named := sites.Of(v.ServerName()); named != site && (named == nil || named.Policy != site.Policy) {
			return plan{site: site}, errOtherPolicy
		}
	}
	pl := plan{site: site, policy: site.Reuse, early: v.Early(), inner: v.Inner()}
	method := v.Method()
	switch {
	case !served(method):
		return pl, errMethod
	case method != http.MethodGet && method != http.MethodHead:
		pl.bypass = cache.ReasonMethod
	}
	if pl.early && (!site.EarlyData || !safe(method)) {
		return pl, errTooEarly
	}
	target, err := cache.NormalizeTarget(v.Target())
	if err != nil {
		if method != http.MethodOptions || v.Target() != "*" { // RFC 9112 section 3.2.4
			return pl, errTarget
		}
		target = "*"
	}
	pl.asked = target
	pl.rule = site.rule(target)
	pl.policy.Opaque = opaqueMerged
	if !site.MergeSchemes {
		pl.policy.Opaque = opaque
	}
	if rule := pl.rule; rule != nil {
		target = rule.Query.apply(target)
		rule.change(&pl.policy)
		if len(rule.Choose.names) > 0 {
			pl.choose(v)
		}
		if rule.Bypass && pl.bypass == "" {
			pl.bypass = cache.ReasonRule
		}
	}
	pl.unkeyed = pl.unkeyed || hides(v)
	switch {
	case pl.bypass != "":
	case pl.unkeyed:
		pl.bypass = cache.ReasonKey
	case v.Content():
		pl.bypass = cache.ReasonRequestBody
	case len(v.Values("If-Match")) > 0 || len(v.Values("If-Unmodified-Since")) > 0:
		pl.bypass = cache.ReasonPrecondition
	}
	// Where an answer may be stored, the origin is asked what the key says and no more.
	// Elsewhere nothing is taken from the request; the key tells what it invalidates.
	if pl.target = target; pl.bypass != "" {
		pl.target = pl.asked
	}
	pl.key = site.key(target, pl.rule, v.Secure())
	if site.HonourRequests {
		pl.demand = cache.DemandOf(v)
	}
	return pl, nil
}

// rule is the one that applies to a normalised target, or nil.
func (s *Site) rule(target string) *Rule {
	for i := range s.Rules {
		if s.Rules[i].matches(target) {
			return &s.Rules[i]
		}
	}
	return nil
}

// key is the primary key of a normalised target whose query the site's rule has been applied to; rule is that one, or nil.
func (s *Site) key(target string, rule *Rule, secure bool) cache.Key {
	k := cache.Key{Site: s.Name, Class: cache.ClassGet, Path: target}
	if rule != nil && rule.Choose.suffix != "" {
		k.Path += rule.Choose.suffix
	}
	switch {
	case s.MergeSchemes:
	case secure:
		k.Scheme = "https"
	default:
		k.Scheme = "http"
	}
	return k
}

// route is planFor with the exchange told.
func (p *Proxy) route(x *Exchange) (plan, error) {
	pl, err := p.planFor(x.view())
	if pl.site != nil {
		x.Site = pl.site.Name
	}
	if err == nil && p.loops(x.r, came(x.Inner)) {
		err = errLoop
	}
	return pl, err
}

// served reports whether a method is for a PoP's public address: purges are the hub's.
func served(method string) bool {
	return method != http.MethodConnect && method != http.MethodTrace && method != "PURGE"
}

// safe reports RFC 9110 section 9.2.1.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// matches reports whether the rule's pattern covers the path of target.
func (r *Rule) matches(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	part, rest, star := strings.Cut(r.Path, "*")
	path, ok := strings.CutPrefix(path, part)
	if !star {
		return ok && path == ""
	}
	for ok {
		part, rest, star = strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(path, part)
		}
		_, path, ok = strings.Cut(path, part)
	}
	return false
}

// client is the address of the request's sender: the peer's, or what a trusted peer
// or another PoP says by X-Forwarded-For, taken from the right up to the first that is not trusted.
func (p *Proxy) client(r *http.Request, inner bool) netip.Addr {
	addr := peer(r)
	if !inner && !p.trusts(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.Trim(hops[i], " \t"))
		if err != nil {
			break
		}
		addr = hop.Unmap()
		if !p.trusts(addr) {
			break
		}
	}
	return addr
}

// peer is the address that the request came from; the zero Addr where nobody knows it.
func peer(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr().Unmap()
}

func (p *Proxy) trusts(addr netip.Addr) bool {
	for _, prefix := range p.cfg.Trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
