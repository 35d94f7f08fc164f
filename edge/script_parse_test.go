package edge_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A script is a parsed text file.
type script struct {
	name  string // as errors show it
	steps []*step
}

// A step is one line of a script, with the lines that belong to it.
type step struct {
	at    string // file:line
	text  string // the line without its comment
	words []token
	want  []token  // what follows "->"; nil where there is no arrow
	block [][]byte // the bytes of "|" and "~" lines
}

// A token is a word of a line, or a field.
type token struct {
	text  string // the word; "" for a field
	name  string // field name as written
	value string
}

func (t token) isField() bool { return t.name != "" }

// verb is the first word.
func (s *step) verb() string {
	if len(s.words) == 0 {
		return ""
	}
	return s.words[0].text
}

// arg is the n-th word that is neither a field nor a key=value option; "" where there are fewer.
func (s *step) arg(n int) string {
	for _, w := range s.words {
		if w.isField() || optionName.MatchString(w.text) {
			continue
		}
		if n == 0 {
			return w.text
		}
		n--
	}
	return ""
}

// option is the value of key=value among ts.
func option(ts []token, key string) (string, bool) {
	for _, t := range ts {
		if v, ok := strings.CutPrefix(t.text, key+"="); ok && !t.isField() {
			return v, true
		}
	}
	return "", false
}

// has reports whether the word stands among ts.
func has(ts []token, word string) bool {
	return slices.ContainsFunc(ts, func(t token) bool { return !t.isField() && t.text == word })
}

// fields are the tokens of ts that are fields.
func fields(ts []token) []token {
	var out []token
	for _, t := range ts {
		if t.isField() {
			out = append(out, t)
		}
	}
	return out
}

// headerOf makes a header of the fields among ts. "-" as value suppresses what a library
// would add by itself.
func headerOf(ts []token) http.Header {
	h := make(http.Header)
	for _, f := range fields(ts) {
		if f.value == "-" {
			h[http.CanonicalHeaderKey(f.name)] = nil
			continue
		}
		h.Add(f.name, f.value)
	}
	return h
}

var (
	optionName = regexp.MustCompile(`^[a-z_]+=`)
	bareField  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*:(\s|$)`)
	textField  = regexp.MustCompile(`^(:?[^:\s]+)\s*:( |$)`)
	repeated   = regexp.MustCompile(`\{([^{}*]+)\*([0-9]+)\}`)
	comment    = regexp.MustCompile(`(^|\s)#(\s|$)`)
)

// parse reads a script. All mistakes are in the error.
func parse(name, text string) (*script, error) {
	sc := &script{name: name}
	var errs []error
	var last *step
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		at := fmt.Sprintf("%s:%d", name, i+1)
		line := lines[i]
		if rest, ok := strings.CutPrefix(line, "|"); ok && last != nil {
			last.block = append(last.block, rawBytes(strings.TrimPrefix(rest, " "), "\r\n"))
			continue
		}
		if rest, ok := strings.CutPrefix(line, "~"); ok && last != nil {
			last.block = append(last.block, rawBytes(strings.TrimPrefix(rest, " "), ""))
			continue
		}
		line = strings.TrimSpace(cutComment(line))
		for strings.HasSuffix(line, " \\") && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, "\\") + " " + strings.TrimSpace(cutComment(lines[i]))
		}
		if line == "" {
			continue
		}
		if want, ok := strings.CutPrefix(line, "-> "); ok { // the answer to a block
			if last == nil || last.want != nil {
				errs = append(errs, fmt.Errorf("%s: an arrow that belongs to no step", at))
				continue
			}
			last.want, last.text = tokens(want), last.text+" "+line
			continue
		}
		command, want, arrow := strings.Cut(line, " -> ")
		last = &step{at: at, text: line, words: tokens(command)}
		if arrow {
			last.want = tokens(want)
		}
		if _, known := verbs[last.verb()]; !known {
			errs = append(errs, fmt.Errorf("%s: no such step: %s", at, last.verb()))
		}
		sc.steps = append(sc.steps, last)
	}
	return sc, errors.Join(errs...)
}

// cutComment removes "# ..." where it stands outside quotes.
func cutComment(line string) string {
	for _, m := range comment.FindAllStringIndex(line, -1) {
		if strings.Count(line[:m[0]], "'")%2 == 0 {
			return line[:m[0]]
		}
	}
	return line
}

// tokens splits a line at blanks. 'a b' is one word, also as key='a b'; a quoted word that
// reads "name: value" is a field. A bare "Name:" begins a field that ends with the line,
// at two blanks or at a tab.
func tokens(s string) []token {
	var out []token
	for s = strings.TrimLeft(s, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		if bareField.MatchString(s) {
			name, rest, _ := strings.Cut(s, ":")
			rest = strings.TrimLeft(rest, " ")
			end := len(rest)
			for _, stop := range []string{"  ", "\t"} {
				if i := strings.Index(rest, stop); i >= 0 {
					end = min(end, i)
				}
			}
			out = append(out, token{name: name, value: expand(strings.TrimSpace(rest[:end]))})
			s = rest[end:]
			continue
		}
		var word strings.Builder
		quoted, i := false, 0
		for ; i < len(s); i++ {
			if s[i] == '\'' {
				quoted = !quoted
			} else if (s[i] == ' ' || s[i] == '\t') && !quoted {
				break
			} else {
				word.WriteByte(s[i])
			}
		}
		text := word.String()
		if m := textField.FindStringSubmatchIndex(text); m != nil && s[0] == '\'' {
			name, value := text[m[2]:m[3]], text[m[4]:]
			out = append(out, token{name: name, value: expand(strings.TrimPrefix(value, " "))})
		} else {
			out = append(out, token{text: expand(text)})
		}
		s = s[i:]
	}
	return out
}

// expand writes {text*n} as text n times.
func expand(s string) string {
	return repeated.ReplaceAllStringFunc(s, func(m string) string {
		parts := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
}

// rawBytes are the bytes of a block's line: as written, with \r \n \t \\ and \xNN.
func rawBytes(line, end string) []byte {
	line = expand(line)
	b := make([]byte, 0, len(line)+2)
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' || i+1 == len(line) {
			b = append(b, line[i])
			continue
		}
		i++
		switch line[i] {
		case 'r':
			b = append(b, '\r')
		case 'n':
			b = append(b, '\n')
		case 't':
			b = append(b, '\t')
		case 'x':
			if n, err := strconv.ParseUint(line[i+1:min(i+3, len(line))], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
			}
		default:
			b = append(b, line[i])
		}
	}
	return append(b, end...)
}
