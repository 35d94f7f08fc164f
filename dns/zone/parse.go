package zone

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/miekg/dns"
)

// maxTTL is the longest time to live, in seconds (RFC 2181 section 8).
const maxTTL = 1<<31 - 1

// A record is what one line says: rr, or an ALIAS.
type record struct {
	owner string // absolute, as written
	rr    dns.RR
	alias *AliasTarget
}

// A parser reads entries one by one. What stands before the data of a record is read here, and the data by the library's parser.
type parser struct {
	zone   string // canonical
	origin string
	owner  string // of the last record; "" before the first
	named  bool   // owner is that of the entry which was read last
	lost   bool   // the last name could not be read: lines that leave theirs out belong to a mistake that is told already
	ttl    uint32 // for records without one
	hasTTL bool
	fixed  bool // ttl was given by $TTL, which RFC 2308 section 4 puts before the last record's
	strict bool // a line of the configuration: it says everything itself
	bound  bound
	left   int // records that $GENERATE may still make
}

// entry reads one record, or the records of a $GENERATE line, and gives each to add.
func (p *parser) entry(e entry, add func(record)) error {
	if !e.indented && e.text[0] == '$' {
		return p.directive(e.text, add)
	}
	if e.indented && p.lost {
		return nil
	}
	rest, owner := e.text, p.owner
	if e.indented {
		if owner == "" || p.strict {
			return errors.New("the line begins with a blank, which stands for the name of a record before; write the name")
		}
	} else {
		var first string
		var err error
		first, rest = word(e.text)
		owner, err = p.name(first)
		if p.lost = err != nil; p.lost {
			return err
		}
		p.owner = owner
	}
	p.named = true
	h, data, err := p.head(rest)
	if err != nil {
		return err
	}
	h.Name = owner
	if h.Rrtype == typeALIAS {
		alias, err := p.alias(data, h.Ttl)
		if err == nil {
			add(record{owner: owner, alias: alias})
		}
		return err
	}
	rr, err := readData(h, data, p.origin)
	if err == nil {
		add(record{owner: owner, rr: rr})
	}
	return err
}

// name reads the name at the beginning of a line.
func (p *parser) name(s string) (string, error) {
	full, err := absolute(s, p.origin)
	if err != nil {
		return "", err
	}
	if key, ok := canonical(s); ok && s != "@" && !dns.IsFqdn(s) && p.zone != "." && within(key, p.zone) {
		return "", fmt.Errorf("%s without a last dot means %s; write %s if the dot was forgotten, else the whole name with it", quote(s), quote(full), quote(s+"."))
	}
	return full, nil
}

// typeALIAS marks records that are no RRs. It is of the range that is never on the wire (RFC 6895 section 3.1).
const typeALIAS = 0

// head reads the TTL, the class and the type, the first two in either order, and returns the data after them.
func (p *parser) head(text string) (h dns.RR_Header, data string, err error) {
	h.Class = dns.ClassINET
	var hasTTL, hasClass bool
	for {
		first, rest := word(text)
		ttl, isTTL, err := readTTL(first)
		class, isClass := classes[strings.ToUpper(first)]
		switch {
		case err != nil:
			return h, "", err
		case isTTL && hasTTL, isClass && hasClass:
			return h, "", fmt.Errorf("%s stands where the type is expected; write NAME TTL TYPE DATA", quote(first))
		case isTTL:
			h.Ttl, hasTTL = ttl, true
		case isClass:
			hasClass = true
			if class != dns.ClassINET {
				return h, "", fmt.Errorf("class %s is not served; only IN is", strings.ToUpper(first))
			}
		default:
			if h.Rrtype, err = readType(first); err != nil {
				return h, "", err
			}
			if err := p.given(&h, hasTTL); err != nil {
				return h, "", err
			}
			data = strings.TrimLeft(rest, " ")
			if data == "" {
				return h, "", fmt.Errorf("the %s record has no data%s", strings.ToUpper(first), form(h.Rrtype))
			}
			return h, data, nil
		}
		text = rest
	}
}

var classes = map[string]uint16{"IN": dns.ClassINET, "CH": dns.ClassCHAOS, "CS": dns.ClassCSNET, "HS": dns.ClassHESIOD, "CLASS1": dns.ClassINET, "NONE": dns.ClassNONE}

// given completes the TTL of a record.
func (p *parser) given(h *dns.RR_Header, hasTTL bool) error {
	switch {
	case hasTTL:
		if !p.fixed {
			p.ttl, p.hasTTL = h.Ttl, true
		}
	case p.strict:
		return errors.New("the record has no TTL; write NAME TTL TYPE DATA, such as `ns1 300 A 192.0.2.1`")
	case !p.hasTTL:
		return errors.New("the record has no TTL, and none stands before it; begin the file with a line such as `$TTL 300`")
	default:
		h.Ttl = p.ttl
	}
	return nil
}

// readTTL reads seconds, or the units of BIND (1h30m).
func readTTL(s string) (ttl uint32, ok bool, err error) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false, nil
	}
	var sum, n uint64
	for i := range len(s) {
		c := s[i]
		if '0' <= c && c <= '9' {
			n = min(n*10+uint64(c-'0'), maxTTL+1)
			continue
		}
		unit := map[byte]uint64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}[c|0x20]
		if unit == 0 || s[i-1] < '0' || s[i-1] > '9' {
			return 0, false, nil
		}
		sum, n = min(sum+n*unit, maxTTL+1), 0
	}
	if sum += n; sum > maxTTL {
		return 0, true, fmt.Errorf("the TTL %s is longer than %d seconds (RFC 2181 section 8)", quote(s), maxTTL)
	}
	return uint32(sum), true, nil
}

// readType reads the name of a type, and refuses those that are no data of a zone.
func readType(s string) (uint16, error) {
	upper := strings.ToUpper(s)
	if upper == "ALIAS" {
		return typeALIAS, nil
	}
	rtype, known := dns.StringToType[upper]
	if digits, ok := strings.CutPrefix(upper, "TYPE"); ok && !known {
		n, err := strconv.ParseUint(digits, 10, 16)
		rtype, known = uint16(n), err == nil
	}
	switch {
	case s == "":
		return 0, errors.New("the record has no type; write NAME TTL TYPE DATA")
	case strings.HasPrefix(upper, "CLASS"):
		return 0, fmt.Errorf("class %s is not served; only IN is", quote(s))
	case !known:
		return 0, fmt.Errorf("%s is neither a TTL, a class nor a known type; another type is written by its number, TYPE65280 \\# 4 0a000001 (RFC 3597)", quote(s))
	case rtype == dns.TypeNone, rtype == dns.TypeOPT, 128 <= rtype && rtype <= 255, rtype == dns.TypeReserved:
		return 0, fmt.Errorf("%s is a type of messages, not of zones (RFC 6895 section 3.1); take the record out", upper)
	}
	switch rtype {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeSIG, dns.TypeNXT:
		return 0, fmt.Errorf("%s is a record of a signed zone; give the zone as it was before signing", upper)
	}
	return rtype, nil
}

// alias reads the data of an ALIAS record.
func (p *parser) alias(data string, ttl uint32) (*AliasTarget, error) {
	first, rest := word(data)
	if rest != "" {
		return nil, fmt.Errorf("%s stands after the target of the ALIAS; write one name", quote(strings.TrimLeft(rest, " ")))
	}
	full, err := absolute(first, p.origin)
	if err != nil {
		return nil, fmt.Errorf("the target of the ALIAS: %w", err)
	}
	key, _ := canonical(full)
	if key == "." {
		return nil, errors.New("the target of the ALIAS is the root, which has no addresses; write a name")
	}
	return &AliasTarget{Target: key, TTL: ttl}, nil
}

// readData reads the data of a record with the library's parser, and checks that it stays the same on the wire.
func readData(h dns.RR_Header, data, origin string) (dns.RR, error) {
	if err := checkText(h.Rrtype, data); err != nil {
		return nil, fmt.Errorf("%s record: %w", dns.Type(h.Rrtype), err)
	}
	line := fmt.Sprintf("%s %d IN %s %s\n", h.Name, h.Ttl, dns.Type(h.Rrtype), data)
	zp := dns.NewZoneParser(strings.NewReader(line), origin, "")
	rr, _ := zp.Next()
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("%s record: %s%s", dns.Type(h.Rrtype), plain(err, h.Rrtype), form(h.Rrtype))
	}
	if rr == nil {
		return nil, fmt.Errorf("%s record: no data%s", dns.Type(h.Rrtype), form(h.Rrtype))
	}
	if err := checkService(rr); err != nil {
		return nil, err
	}
	return rr, onWire(rr)
}

// onWire says why a record cannot be sent.
func onWire(rr dns.RR) error {
	h := rr.Header()
	if err := wireable(h.Name); err != nil {
		return fmt.Errorf("%s %w", quote(h.Name), err)
	}
	wire := make([]byte, packedMost(rr))
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err == nil {
		_, _, err = dns.UnpackRR(wire[:n], 0)
	}
	if err != nil {
		return fmt.Errorf("%s record: %s%s", dns.Type(h.Rrtype), plain(err, h.Rrtype), form(h.Rrtype))
	}
	return nil
}

// packedMost is a buffer that holds a record on the wire: the library needs some bytes more than it fills.
func packedMost(rr dns.RR) int { return dns.Len(rr) + 64 }

// plain is the library's message without its name, the type, and the place in the text it was given, which is none of the file.
func plain(err error, rtype uint16) string {
	s := strings.ReplaceAll(err.Error(), "dns: ", "")
	if i := strings.LastIndex(s, " at line: "); i >= 0 {
		s = s[:i]
	}
	s = strings.TrimPrefix(s, dns.Type(rtype).String()+": ")
	s = strings.Replace(s, "bad "+dns.Type(rtype).String()+" ", "bad ", 1)
	s = strings.TrimSuffix(strings.ReplaceAll(s, `\n`, ""), `: " "`)
	if strings.HasPrefix(s, ": ") { // it has said no more than where
		s = "bad value" + s
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > 2*maxQuoted {
		s = strings.ToValidUTF8(s[:2*maxQuoted], "") + "…"
	}
	return s
}

// form is the end of a message: how the data of the type is written.
func form(rtype uint16) string {
	if f := forms[rtype]; f != "" {
		return "; it is written as in `" + dns.Type(rtype).String() + " " + f + "`"
	}
	if rtype == typeALIAS {
		return "; it is written as in `ALIAS www.example.org.`"
	}
	if dns.TypeToRR[rtype] == nil {
		return "; a type without a form of its own is written as in `\\# 4 0a000001` (RFC 3597)"
	}
	return ""
}

var forms = map[uint16]string{
	dns.TypeA: "192.0.2.1", dns.TypeAAAA: "2001:db8::1", dns.TypeCNAME: "www", dns.TypeDNAME: "example.org.", dns.TypeNS: "ns1",
	dns.TypePTR: "www.example.org.", dns.TypeMX: "10 mail", dns.TypeTXT: `"some text"`, dns.TypeSRV: "10 5 443 www",
	dns.TypeCAA: `0 issue "ca.example"`, dns.TypeHTTPS: "1 . alpn=h3,h2", dns.TypeSVCB: "1 www alpn=dot",
	dns.TypeSOA: "ns1 hostmaster 1 3600 600 604800 60", dns.TypeDS: "12345 13 2 5A1B…", dns.TypeTLSA: "3 1 1 5A1B…",
	dns.TypeSSHFP: "4 2 5A1B…", dns.TypeNAPTR: `10 100 "s" "SIP+D2U" "" _sip._udp`,
}
