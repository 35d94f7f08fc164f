package cache

import (
	"errors"
	"strings"
)

// ErrTarget: a request target that no two parsers need agree on; the answer is 400.
var ErrTarget = errors.New("cache: malformed request target")

// NormalizeTarget brings the path and query of a request target into the one form
// that equivalent targets share (RFC 3986 section 6.2.2): percent-encodings of
// unreserved characters are decoded and the others written in upper case, dot
// segments of the path are removed, and bytes that may not stand in a URI are
// encoded. The proxy sends the origin what it used as key, so that the two cannot
// disagree about which resource was meant.
//
// It fails with ErrTarget where the target does not begin with a slash, holds control
// characters, a "#", an incomplete percent-encoding in the path, or "%00" there. A
// target that is normal already is returned as it is, without allocating.
func NormalizeTarget(target string) (string, error) {
	if target == "" || target[0] != '/' {
		return "", ErrTarget
	}
	normal := true
	for i := range len(target) {
		switch c := target[i]; {
		case c < 0x20 || c == 0x7f || c == '#':
			return "", ErrTarget
		case c == '%', c == '.' && target[i-1] == '/', !uriByte[c]:
			normal = false
		}
	}
	if normal {
		return target, nil
	}
	path, query, hasQuery := strings.Cut(target, "?")
	path, err := recode(path, true)
	if err != nil {
		return "", err
	}
	path = removeDots(path)
	if !hasQuery {
		return path, nil
	}
	query, err = recode(query, false)
	return path + "?" + query, err
}

// recode normalises percent-encodings. A strict part fails on what cannot be decoded;
// in a query, which is the application's to read, a lone "%" is encoded.
func recode(s string, strict bool) (string, error) {
	var b strings.Builder
	b.Grow(len(s) + 8)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%' && i+2 < len(s) && hexByte(s[i+1]) >= 0 && hexByte(s[i+2]) >= 0:
			c = byte(hexByte(s[i+1])<<4 | hexByte(s[i+2]))
			i += 2
			if c == 0 && strict {
				return "", ErrTarget
			}
			if unreserved(c) {
				b.WriteByte(c)
			} else {
				encode(&b, c)
			}
		case c == '%' && strict:
			return "", ErrTarget
		case uriByte[c] && c != '%':
			b.WriteByte(c)
		default:
			encode(&b, c)
		}
	}
	return b.String(), nil
}

func encode(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}

// removeDots removes "." and ".." segments (RFC 3986 section 5.2.4). Empty segments
// stay: "//" is not equivalent to "/".
func removeDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	out := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

func hexByte(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// unreserved reports RFC 3986 section 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// uriByte holds the bytes that may stand for themselves in a path or query: pchar, "/"
// and "?" (RFC 3986 sections 3.3 and 3.4).
var uriByte = func() (t [256]bool) {
	for c := range 256 {
		t[c] = unreserved(byte(c)) || c < 0x80 && strings.IndexByte("!$&'()*+,;=:@/?%", byte(c)) >= 0
	}
	return t
}()
