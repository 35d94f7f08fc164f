package accesslog

import (
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"hither/edge/proxy"
)

// maxString is where a string of the client's is cut: a header may have 64 KiB, and one
// client should not fill the disk sixteen times as fast as another.
const maxString = 4096

// appendJSON appends x as a [Line] by hand, in a quarter of the time and without the
// allocations of encoding/json: it runs for each request, a hit included. A test holds
// the two to each other.
func appendJSON(dst []byte, x *proxy.Exchange) []byte {
	dst = append(dst, `{"time":"`...)
	dst = x.Start.UTC().Truncate(time.Microsecond).AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	dst = member(dst, "node", x.Node, true)
	dst = member(dst, "site", x.Site, false)
	dst = member(dst, "origin", x.Origin, false)
	if x.Client.IsValid() {
		dst = append(dst, `,"client":"`...)
		// A zone (RFC 4007 section 11) is a name on this host, but any string may be one.
		dst = x.Client.WithZone("").AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = member(dst, "proto", x.Proto, true)
	dst = member(dst, "tls", x.TLS, false)
	dst = flag(dst, "early", x.Early)
	dst = flag(dst, "inner", x.Inner)
	dst = member(dst, "method", cut(x.Method), true)
	dst = member(dst, "host", cut(x.Host), false)
	dst = member(dst, "target", cut(x.Target), true)
	dst = member(dst, "referer", cut(x.Referer), false)
	dst = member(dst, "user_agent", cut(x.Agent), false)
	dst = flag(dst, "cut", max(len(x.Method), len(x.Host), len(x.Target), len(x.Referer), len(x.Agent)) > maxString)
	if x.Status != 0 {
		dst = number(dst, "status", int64(x.Status))
	}
	dst = member(dst, "verdict", x.Verdict.String(), true)
	dst = member(dst, "reason", string(x.Reason), false)
	if x.Fault != nil {
		dst = member(dst, "error", cut(x.Fault.Error()), false)
	}
	dst = number(dst, "request_bytes", x.BytesIn)
	dst = number(dst, "response_bytes", x.BytesOut)
	if x.FirstByte != 0 {
		dst = millis(dst, "first_byte_ms", x.FirstByte)
	}
	if x.Wait != 0 {
		dst = millis(dst, "origin_wait_ms", x.Wait)
	}
	dst = millis(dst, "total_ms", x.Total)
	return append(dst, '}', '\n')
}

func cut(s string) string { return s[:min(len(s), maxString)] }

// name appends what stands before a value: all names are plain ASCII.
func name(dst []byte, n string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, n...)
	return append(dst, '"', ':')
}

func member(dst []byte, n, value string, always bool) []byte {
	if value == "" && !always {
		return dst
	}
	return appendString(name(dst, n), value)
}

func flag(dst []byte, n string, value bool) []byte {
	if !value {
		return dst
	}
	return append(name(dst, n), "true"...)
}

func number(dst []byte, n string, value int64) []byte {
	return strconv.AppendInt(name(dst, n), value, 10)
}

// millis appends a duration in ms with three digits after the point. A clock that was
// set back gives 0.
func millis(dst []byte, n string, d time.Duration) []byte {
	us := max(0, d.Round(time.Microsecond).Microseconds())
	dst = strconv.AppendInt(name(dst, n), us/1000, 10)
	us %= 1000
	return append(dst, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

const hex = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259 section 7). More is escaped than
// must be: whatever is not printable, so that a terminal or a viewer which shows the log
// obeys no control character, no C1 control, and no mark that turns the direction of
// text. Invalid UTF-8 becomes U+FFFD, byte by byte.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0 // s[plain:i] needs no escape
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[plain:i]...)
			if c == '"' || c == '\\' {
				dst = append(dst, '\\', c)
			} else {
				dst = appendEscape(dst, rune(c))
			}
			i++
			plain = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if invalid := r == utf8.RuneError && n == 1; !invalid && unicode.IsPrint(r) {
			i += n
			continue
		}
		dst = append(dst, s[plain:i]...)
		dst = appendEscape(dst, r)
		i += n
		plain = i
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}

// appendEscape appends r as \uXXXX, above U+FFFF as two of them (RFC 8259 section 7).
func appendEscape(dst []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		dst = appendEscape(dst, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
