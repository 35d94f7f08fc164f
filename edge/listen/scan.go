package listen

import (
	"bytes"
	"strconv"
)

// A scanner reads along the bytes of an HTTP/1.1 connection on their way to net/http, which
// stays the parser. It knows just enough of RFC 9112 to find where each header begins and ends, and refuses the
// forms which net/http takes although another parser in the chain may see the message end elsewhere:
//
//   - a line that ends in LF alone (section 2.2),
//   - a field continued on the next line (obs-fold, section 5.2),
//   - two Content-Length fields, or one that is not a number (section 6.3, RFC 9110 section 8.6),
//   - Content-Length with Transfer-Encoding, or Transfer-Encoding in HTTP/1.0 (section 6.1).
//
// After a request with a transfer coding it stops to look: such a request is the last of its
// connection (the guard says so), hence no byte after it is ever read as another request.
type scanner struct {
	at   place
	line []byte // a line's beginning, when its end has not come yet; net/http bounds it by its header limit
	left int64  // bytes of the body still to come

	// What the header being read has said.
	old     bool  // HTTP/1.0, or no version that has transfer codings for certain
	lengths int   // Content-Length fields
	length  int64 // the value of the first
	codings int   // Transfer-Encoding fields
}

// A place is where in a connection the next byte lies.
type place byte

const (
	atStart  place = iota // before or in a request line
	atFields              // in the fields
	atBody                // in a body of known length
	atRest                // in bytes that belong to the last request, or to another protocol
)

// inHeader reports whether a header has begun and not ended.
func (s *scanner) inHeader() bool { return s.at == atFields || s.at == atStart && len(s.line) > 0 }

// scan looks at the next bytes and returns how many of them may pass. Fewer than len(p) means
// that the line which follows them (or began in an earlier call) must not.
func (s *scanner) scan(p []byte) int {
	n := 0
	for n < len(p) {
		switch s.at {
		case atRest:
			return len(p)
		case atBody:
			k := min(s.left, int64(len(p)-n))
			s.left -= k
			n += int(k)
			if s.left == 0 {
				s.at = atStart
			}
		default:
			i := bytes.IndexByte(p[n:], '\n')
			if i < 0 {
				s.line = append(s.line, p[n:]...)
				return len(p)
			}
			line := p[n : n+i+1]
			if len(s.line) > 0 {
				s.line = append(s.line, line...)
				line = s.line
			}
			ok := s.take(line)
			s.line = s.line[:0]
			if !ok {
				return n
			}
			n += i + 1
		}
	}
	return n
}

// take looks at one whole line and reports whether it may pass.
func (s *scanner) take(line []byte) bool {
	line, crlf := bytes.CutSuffix(line, []byte("\r\n"))
	switch {
	case !crlf:
		return false
	case s.at == atStart:
		if len(line) > 0 { // an empty line before a request is net/http's to judge
			*s = scanner{at: atFields, line: s.line, old: !bytes.HasSuffix(line, []byte("HTTP/1.1"))}
		}
		return true
	case len(line) == 0:
		return s.end()
	case line[0] == ' ' || line[0] == '\t':
		return false
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch {
	case bytes.EqualFold(name, []byte("content-length")):
		s.lengths++
		n, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
		s.length = int64(n)
		return err == nil && s.lengths == 1
	case bytes.EqualFold(name, []byte("transfer-encoding")):
		s.codings++
	}
	return true
}

// end decides, at the empty line after the fields, what follows it.
func (s *scanner) end() bool {
	switch {
	case s.codings > 0 && (s.lengths > 0 || s.old):
		return false
	case s.codings > 0:
		s.at = atRest
	case s.length > 0:
		s.at, s.left = atBody, s.length
	default:
		s.at = atStart
	}
	return true
}
