package zone

import (
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// checkService finds SVCB and HTTPS records that the library writes and every client takes for malformed (RFC 9460 sections 7.1.1 and 8).
func checkService(rr dns.RR) error {
	var s *dns.SVCB
	switch rr := rr.(type) {
	case *dns.SVCB:
		s = rr
	case *dns.HTTPS:
		s = &rr.SVCB
	default:
		return nil
	}
	if s.Priority == 0 && len(s.Value) > 0 {
		return fmt.Errorf("%s record: with priority 0 it is an alias and has no parameters (RFC 9460 section 2.4.2)", dns.Type(s.Hdr.Rrtype))
	}
	var keys []dns.SVCBKey
	for _, v := range s.Value {
		keys = append(keys, v.Key())
	}
	for _, v := range s.Value {
		switch v := v.(type) {
		case *dns.SVCBAlpn:
			if len(v.Alpn) == 0 || slices.Contains(v.Alpn, "") {
				return fmt.Errorf("%s record: alpn names no protocol; write one, such as `alpn=h2`", dns.Type(s.Hdr.Rrtype))
			}
		case *dns.SVCBNoDefaultAlpn:
			if !slices.Contains(keys, dns.SVCB_ALPN) {
				return fmt.Errorf("%s record: no-default-alpn stands without alpn, which leaves no protocol", dns.Type(s.Hdr.Rrtype))
			}
		case *dns.SVCBMandatory:
			for i, k := range v.Code {
				if k == dns.SVCB_MANDATORY || !slices.Contains(keys, k) || slices.Contains(v.Code[:i], k) {
					return fmt.Errorf("%s record: mandatory names %s, which is not another parameter of the record, or twice there", dns.Type(s.Hdr.Rrtype), k)
				}
			}
		}
	}
	return nil
}
