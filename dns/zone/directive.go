package zone

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// directive obeys a line that begins with `$`.
func (p *parser) directive(text string, add func(record)) error {
	name, rest := word(text)
	value, tail := word(rest)
	if p.strict {
		return fmt.Errorf("%s is a directive; it belongs in a zone file", quote(name))
	}
	switch strings.ToUpper(name) {
	case "$GENERATE":
		return p.generate(rest, add)
	case "$INCLUDE":
		return errors.New("$INCLUDE is not understood, so that a zone reads no other file; put the records in here")
	case "$ORIGIN":
		if value == "" || strings.TrimLeft(tail, " ") != "" {
			return errors.New("$ORIGIN takes one name, such as `$ORIGIN example.org.`")
		}
		origin, err := absolute(value, p.origin)
		if err == nil {
			p.origin = origin
		}
		return err
	case "$TTL":
		ttl, ok, err := readTTL(value)
		p.ttl, p.hasTTL, p.fixed = ttl, true, true // even if it is none, so that not every record after it is told of
		if err == nil && (!ok || strings.TrimLeft(tail, " ") != "") {
			err = errors.New("$TTL takes one time, such as `$TTL 300` or `$TTL 1h`")
		}
		return err
	}
	return fmt.Errorf("%s is not a directive; there are $ORIGIN, $TTL and $GENERATE", quote(name))
}

// generate makes the records of a $GENERATE line: BIND's range, name, TTL, class, type and data. The library counts and puts the
// numbers in; the TTL is filled in before, since it would take one of its own.
func (p *parser) generate(text string, add func(record)) error {
	if len(text) > p.bound.pattern {
		return fmt.Errorf("the $GENERATE line is longer than %d bytes", p.bound.pattern)
	}
	span, rest := word(text)
	owner, rest := word(rest)
	if span == "" || owner == "" {
		return errors.New("$GENERATE takes a range and a record, such as `$GENERATE 1-10 host$ 300 A 192.0.2.$`")
	}
	h, data, err := p.head(rest)
	if err != nil {
		return err
	}
	if h.Rrtype == typeALIAS {
		return errors.New("$GENERATE makes no ALIAS records; write them one by one")
	}
	if err := escapes(owner); err != nil {
		return err
	}
	if err := checkText(h.Rrtype, data); err != nil {
		return fmt.Errorf("%s record: %w", dns.Type(h.Rrtype), err)
	}
	line := fmt.Sprintf("$GENERATE %s %s %d IN %s %s\n", span, owner, h.Ttl, dns.Type(h.Rrtype), data)
	zp := dns.NewZoneParser(strings.NewReader(line), p.origin, "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if p.left--; p.left < 0 {
			return fmt.Errorf("the $GENERATE lines make more than %d records; a wildcard may do", p.bound.generated)
		}
		err := checkService(rr)
		if err == nil {
			err = onWire(rr)
		}
		if err != nil {
			return err
		}
		add(record{owner: rr.Header().Name, rr: rr})
	}
	if err := zp.Err(); err != nil {
		return fmt.Errorf("$GENERATE: %s", plain(err, h.Rrtype))
	}
	return nil
}
