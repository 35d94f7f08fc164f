package zone

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// maxString is how many bytes one string of a record holds (RFC 1035 section 3.3).
const maxString = 255

// strung are the types whose data is strings alone. The library cuts a longer one into several.
var strung = map[uint16]bool{
	dns.TypeTXT: true, dns.TypeSPF: true, dns.TypeAVC: true, dns.TypeNINFO: true, dns.TypeRESINFO: true, dns.TypeHINFO: true, dns.TypeISDN: true,
}

// checkText finds what the library takes for something else in the data of a record: escapes that stand for no byte, and strings
// that are too long.
func checkText(rtype uint16, data string) error {
	if err := escapes(data); err != nil {
		return err
	}
	if !strung[rtype] || strings.HasPrefix(data, `\#`) { // RFC 3597 has its bytes in hexadecimal
		return nil
	}
	begin, size, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		if c == '"' || c == ' ' && !quoted {
			if size > maxString {
				break
			}
			quoted = quoted != (c == '"')
			begin, size = i+1, 0
			continue
		}
		size++
		i += escaped(data[i:])
	}
	if size <= maxString {
		return nil
	}
	advice := "split it into several, `" + dns.Type(rtype).String() + " \"first part\" \"second part\"`, which readers join"
	if rtype == dns.TypeHINFO || rtype == dns.TypeISDN { // of two strings with meanings of their own
		advice = "shorten it"
	}
	return fmt.Errorf("the string %s has %d bytes, and one holds %d (RFC 1035 section 3.3); %s", quote(data[begin:]), size, maxString, advice)
}

// escapes finds a backslash before a digit that is not \DDD, three digits up to 255 (RFC 1035 section 5.1). The library takes
// \300 for \044.
func escapes(text string) error {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i+1 < len(text) && isDigit(text[i+1]) && escaped(text[i:]) < 3 {
			end := i + 2
			for end < min(i+4, len(text)) && isDigit(text[end]) {
				end++
			}
			return fmt.Errorf("%s has the escape `%s`, which stands for no byte; write three digits from 000 to 255 after a backslash, or `\\\\` for a backslash that is meant (RFC 1035 section 5.1)",
				quote(text), text[i:end])
		}
		i += escaped(text[i:])
	}
	return nil
}

// escaped is how many characters after the first of a text belong to it: three in \DDD, one after another backslash.
func escaped(text string) int {
	switch {
	case text[0] != '\\' || len(text) == 1:
		return 0
	case len(text) > 3 && isDigit(text[1]) && isDigit(text[2]) && isDigit(text[3]) && text[1:4] <= "255":
		return 3
	}
	return 1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
