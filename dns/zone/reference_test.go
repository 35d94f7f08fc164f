package zone_test

import (
	"strings"

	"github.com/miekg/dns"
)

// A reference looks names up as RFC 1034 section 4.3.2 tells it, label by label over a plain list of records: slow, and
// without anything prepared that could be wrong. It knows no additional records, no dynamic names, and no ALIAS.
type reference struct {
	apex string
	rrs  []dns.RR
}

type referred struct {
	kind   string
	answer []string // in zone syntax, single blanks
	end    string
}

func (f *reference) owned(name string, rtype uint16) (out []dns.RR) {
	for _, rr := range f.rrs {
		if strings.EqualFold(rr.Header().Name, name) && rr.Header().Rrtype == rtype {
			out = append(out, rr)
		}
	}
	return out
}

// exists reports whether a name has records, or stands above one that has.
func (f *reference) exists(name string) bool {
	for _, rr := range f.rrs {
		if dns.IsSubDomain(name, rr.Header().Name) {
			return true
		}
	}
	return false
}

func (f *reference) lookup(name string, qtype uint16) (r referred) {
	seen := map[string]bool{}
	for range 16 {
		r.end = strings.ToLower(name)
		if !dns.IsSubDomain(f.apex, name) || seen[r.end] {
			r.kind = "success"
			return r
		}
		seen[r.end] = true
		if name = f.step(&r, name, qtype); name == "" {
			return r
		}
	}
	r.kind = "success"
	r.end = strings.ToLower(name)
	return r
}

func (f *reference) step(r *referred, name string, qtype uint16) (next string) {
	labels := dns.SplitDomainName(name)
	zone := dns.CountLabel(f.apex)
	at := f.apex
	for i := len(labels) - zone; ; i-- {
		if at != f.apex && f.owned(at, dns.TypeNS) != nil && (i > 0 || qtype != dns.TypeDS) {
			r.kind = "delegation"
			return ""
		}
		if i == 0 {
			return f.found(r, at, name, qtype)
		}
		if d := f.owned(at, dns.TypeDNAME); d != nil {
			to := strings.Join(labels[:i], ".") + "." + d[0].(*dns.DNAME).Target
			r.say(d)
			c := &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: 1, Ttl: d[0].Header().Ttl}, Target: to}
			r.say([]dns.RR{c})
			if qtype == dns.TypeCNAME {
				r.kind = "success"
				return ""
			}
			return to
		}
		below := labels[i-1] + "." + at
		if f.exists(below) {
			at = below
			continue
		}
		if f.exists("*." + at) {
			return f.found(r, "*."+at, name, qtype)
		}
		r.kind = "nxdomain"
		return ""
	}
}

// found answers with the records of a name, which is the one asked for or its wildcard.
func (f *reference) found(r *referred, at, name string, qtype uint16) (next string) {
	rrs, cname := f.owned(at, qtype), f.owned(at, dns.TypeCNAME)
	r.kind = "success"
	switch {
	case rrs != nil:
		r.say(named(rrs, at, name))
	case cname != nil:
		r.say(named(cname, at, name))
		return cname[0].(*dns.CNAME).Target
	default:
		r.kind = "nodata"
	}
	return ""
}

func named(rrs []dns.RR, at, name string) (out []dns.RR) {
	if strings.EqualFold(at, name) {
		return rrs
	}
	for _, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Name = name
		out = append(out, rr)
	}
	return out
}

// say adds to the answer what is not in it.
func (r *referred) say(rrs []dns.RR) {
	for _, text := range texts(rrs) {
		if rrs[0].Header().Rrtype == dns.TypeDNAME && strings.Contains(strings.Join(r.answer, "\n"), text) {
			continue
		}
		r.answer = append(r.answer, text)
	}
}
