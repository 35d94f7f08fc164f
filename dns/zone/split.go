package zone

import (
	"bytes"
	"fmt"
)

// An entry is one directive or record of a zone file, as one line: without comments, and with blanks for the parentheses that
// held it together and the line ends between them (RFC 1035 section 5.1).
type entry struct {
	line     int // where it begins, from 1
	text     string
	indented bool // it begins with a blank: the name is that of the record before
}

// A splitter cuts a zone file into entries, so that a mistake in one hides none in the next, and each is told with its line.
type splitter struct {
	data []byte
	max  int // bytes of an entry
	pos  int
	line int // of pos, from 1
	text []byte
}

func newSplitter(data []byte, max int) *splitter {
	return &splitter{data: data, max: max, line: 1}
}

// next returns the next entry that holds anything; ok is false at the end. With an error, which belongs to the entry's line, the
// entry is to be left out.
func (s *splitter) next() (e entry, ok bool, err error) {
	for s.pos < len(s.data) {
		e, err = s.entry()
		if e.text != "" || err != nil {
			return e, true, err
		}
	}
	return e, false, nil
}

func (s *splitter) entry() (e entry, err error) {
	e.line = s.line
	e.indented = s.data[s.pos] == ' ' || s.data[s.pos] == '\t'
	s.text = s.text[:0]
	var open, quote int // the lines of an open parenthesis and of an open quote, or 0
	depth, kept := 0, 0 // kept: up to where trailing blanks are part of the text, being escaped or quoted
	for s.pos < len(s.data) && err == nil {
		c := s.data[s.pos]
		s.pos++
		switch {
		case c == '\n':
			s.line++
			if quote > 0 {
				s.pos, s.line = s.pos-1, s.line-1
				err = fmt.Errorf(`a quote is not closed on its line; write \" for one that is meant`)
				break
			}
			if depth == 0 {
				return s.made(e, kept), nil
			}
			s.text = append(s.text, ' ')
		case c == '\\' && s.pos < len(s.data) && s.data[s.pos] != '\n':
			s.text = append(s.text, c, s.data[s.pos])
			s.pos++
			kept = len(s.text)
		case c == '"':
			s.text = append(s.text, c)
			if kept = len(s.text); quote == 0 {
				quote = s.line
			} else {
				quote = 0
			}
		case quote > 0:
			s.text = append(s.text, c)
		case c == ';':
			for s.pos < len(s.data) && s.data[s.pos] != '\n' {
				s.pos++
			}
		case c == '(':
			if depth++; depth == 1 {
				open = s.line
			}
			s.text = append(s.text, ' ')
		case c == ')':
			if depth--; depth < 0 {
				err = fmt.Errorf("a `)` has no `(` before it")
			}
			s.text = append(s.text, ' ')
		case c == '\t', c == '\r':
			s.text = append(s.text, ' ')
		default:
			s.text = append(s.text, c)
		}
		if len(s.text) > s.max && err == nil {
			err = fmt.Errorf("the record is longer than %d bytes", s.max)
		}
	}
	switch {
	case err != nil:
		e.line = s.line
		s.skip()
	case quote > 0:
		e.line, err = quote, fmt.Errorf(`a quote is not closed on its line; write \" for one that is meant`)
	case depth > 0:
		e.line, err = open, fmt.Errorf("a `(` is never closed")
	}
	return s.made(e, kept), err
}

// made ends an entry's text.
func (s *splitter) made(e entry, kept int) entry {
	end := len(s.text)
	for end > kept && s.text[end-1] == ' ' {
		end--
	}
	e.text = string(s.text[:end])
	return e
}

// skip goes on to the next line.
func (s *splitter) skip() {
	if i := bytes.IndexByte(s.data[s.pos:], '\n'); i >= 0 {
		s.pos, s.line = s.pos+i+1, s.line+1
		return
	}
	s.pos = len(s.data)
}

// word cuts the first word off a text that an entry holds; an escaped blank does not end one.
func word(text string) (first, rest string) {
	begin := 0
	for begin < len(text) && text[begin] == ' ' {
		begin++
	}
	end := begin
	for end < len(text) && text[end] != ' ' {
		if text[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(text))
	return text[begin:end], text[end:]
}
