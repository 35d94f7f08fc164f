package zone

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

const (
	maxLabels = 128 // of a name of 255 bytes on the wire, the root's included
	maxName   = 255 // bytes on the wire (RFC 1035 section 2.3.4)
)

// canonical returns a name as it is compared: with the last dot, A to Z in lower case, and everything that has two spellings
// (`\097` is `a`) in the one that is read off the wire. The common name is returned as it is, without a copy. ok is false for a
// name that cannot be written to the wire.
func canonical(name string) (_ string, ok bool) {
	upper := false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c <= ' ', c >= 0x7f, strings.IndexByte(`\"'();@`, c) >= 0:
			return respelled(name)
		case 'A' <= c && c <= 'Z':
			upper = true
		}
	}
	if name == "" || name[len(name)-1] != '.' {
		name += "."
	}
	if upper {
		name = lower(name)
	}
	return name, true
}

// respelled is the slow half of canonical.
func respelled(name string) (_ string, ok bool) {
	name, ok = asSent(name)
	return lower(name), ok
}

// asSent is a name in the spelling in which it is read off the wire, in the case it has.
func asSent(name string) (_ string, ok bool) {
	wire := make([]byte, maxName+1)
	n, err := dns.PackDomainName(dns.Fqdn(name), wire, 0, nil, false)
	if err != nil || n > maxName {
		return "", false
	}
	name, _, err = dns.UnpackDomainName(wire, 0)
	return name, err == nil
}

// lower changes A to Z alone, whatever else stands there (RFC 4343 section 3).
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// starts writes where each label of a canonical name begins, and returns how many there are; the root has none.
// Above maxLabels it returns maxLabels+1.
func starts(name string, at *[maxLabels]int) int {
	if name == "." {
		return 0
	}
	n, begins := 0, true
	for i := 0; i < len(name); i++ {
		if begins {
			if n == maxLabels {
				return maxLabels + 1
			}
			at[n], n = i, n+1
		}
		if begins = name[i] == '.'; name[i] == '\\' {
			i++
		}
	}
	return n
}

// parent cuts the first label off a canonical name that is not the root.
func parent(name string) string {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '.':
			if i+1 < len(name) {
				return name[i+1:]
			}
		}
	}
	return "."
}

// within reports whether a canonical name is a zone's own or below it.
func within(name, zone string) bool {
	if zone == "." || name == zone {
		return true
	}
	dot := len(name) - len(zone) - 1
	if dot < 1 || name[dot] != '.' || name[dot+1:] != zone {
		return false
	}
	escapes := 0
	for i := dot - 1; i >= 0 && name[i] == '\\'; i-- {
		escapes++
	}
	return escapes%2 == 0
}

// absolute returns a name as it stands in a line, completed by an origin with last dot, spelled as it was.
func absolute(name, origin string) (string, error) {
	if name == "@" {
		return origin, nil
	}
	if err := escapes(name); err != nil {
		return "", err
	}
	whole := name
	if !dns.IsFqdn(name) {
		whole += "."
		if origin != "." {
			whole += origin
		}
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '\\':
			i++
		case c <= ' ', c >= 0x7f:
			return "", fmt.Errorf("%s has a character that is no visible ASCII; write an international name in its xn-- form", quote(name))
		case c == '"', c == '@':
			return "", fmt.Errorf("%s has a `%c`; write a name without, or `\\%c` if it is meant", quote(name), c, c)
		}
	}
	if err := wireable(whole); err != nil {
		return "", fmt.Errorf("%s %w", quote(name), err)
	}
	return whole, nil
}

// wireable says why an absolute name is none.
func wireable(name string) error {
	_, ok := dns.IsDomainName(name)
	n, err := dns.PackDomainName(name, make([]byte, 2*maxName), 0, nil, false)
	if !ok || err != nil || name == "" {
		return errors.New("is not a domain name; labels are 1 to 63 bytes, with single dots between them")
	}
	if n > maxName {
		return fmt.Errorf("is a name of %d bytes; shorten it to %d", n, maxName)
	}
	return nil
}
