package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An Expected is what a cache must reach: the least numbers, and every case that it does not pass, with the reason.
//
// It is read from text. A line with `#` first is a comment. `least KIND N of TOTAL` tells how many cases of a kind the suite has,
// and how many must pass. `KIND ID` names a case, and the indented lines below are its reason.
type Expected struct {
	Least      map[Kind]Count // Pass is the least number
	Exceptions []Exception
}

// An Exception is a case that does not pass.
type Exception struct {
	Kind   Kind
	ID     string
	Reason string // on one line
	Line   int    // of the text
}

// ReadExpected reads the text, and tells all mistakes in it at once, each with its line. file is what they name it.
func ReadExpected(file string, text []byte) (*Expected, error) {
	e := &Expected{Least: map[Kind]Count{}}
	var wrong []error
	mistake := func(line int, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s:%d: %s", file, line, fmt.Sprintf(format, args...)))
	}
	lines, number := bufio.NewScanner(bytes.NewReader(text)), 0
	named := map[string]int{}
	open := false // an exception takes indented lines
	for lines.Scan() {
		number++
		line := lines.Text()
		words := strings.Fields(line)
		switch {
		case len(words) == 0, line[0] == '#':
			open = false
		case line[0] == ' ' || line[0] == '\t':
			if !open {
				mistake(number, "a reason stands right below the case that it is for")
				continue
			}
			last := &e.Exceptions[len(e.Exceptions)-1]
			last.Reason = strings.TrimSpace(last.Reason + " " + strings.Join(words, " "))
		case words[0] == "least":
			open = false
			if err := e.least(words[1:]); err != nil {
				mistake(number, "%v", err)
			}
		case len(words) != 2 || Kind(words[0]) != Required && Kind(words[0]) != Optimal:
			open = false
			mistake(number, "want `required ID`, `optimal ID` or `least KIND N of TOTAL`")
		case named[words[1]] > 0:
			open = false
			mistake(number, "%s stands on line %d already", words[1], named[words[1]])
		default:
			open = true
			named[words[1]] = number
			e.Exceptions = append(e.Exceptions, Exception{Kind: Kind(words[0]), ID: words[1], Line: number})
		}
	}
	if err := lines.Err(); err != nil {
		mistake(number+1, "%v", err)
	}
	for _, x := range e.Exceptions {
		if x.Reason == "" {
			mistake(x.Line, "%s has no reason: write it below, indented", x.ID)
		}
	}
	legible := len(wrong) == 0
	for _, k := range []Kind{Required, Optimal} {
		if _, ok := e.Least[k]; !ok && legible {
			wrong = append(wrong, fmt.Errorf("%s: it does not say how many must pass: write `least %s N of TOTAL`", file, k))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	return e, nil
}

// least takes up `KIND N of TOTAL`.
func (e *Expected) least(words []string) error {
	want := errors.New("want `least required N of TOTAL` or `least optimal N of TOTAL`")
	if len(words) != 4 || words[2] != "of" || Kind(words[0]) != Required && Kind(words[0]) != Optimal {
		return want
	}
	n, err1 := strconv.ParseUint(words[1], 10, 16)
	of, err2 := strconv.ParseUint(words[3], 10, 16)
	if err1 != nil || err2 != nil || n > of {
		return want
	}
	if _, twice := e.Least[Kind(words[0])]; twice {
		return fmt.Errorf("least %s stands here a second time", words[0])
	}
	e.Least[Kind(words[0])] = Count{Pass: int(n), Total: int(of)}
	return nil
}

// Find returns the exception for a case, or nil.
func (e *Expected) Find(id string) *Exception {
	if i := slices.IndexFunc(e.Exceptions, func(x Exception) bool { return x.ID == id }); i >= 0 {
		return &e.Exceptions[i]
	}
	return nil
}

// Faults tells how a result differs from what is expected, a line each. There are none if it is as expected to the case: one that passes
// against expectation is a fault as well, for its reason is no longer true.
func (e *Expected) Faults(cases []Scored) []string {
	var faults []string
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, k := range []Kind{Required, Optimal} {
		got, want := Tally(cases, k, ""), e.Least[k]
		if got.Total != want.Total {
			add("the suite has %d %s cases, and %d are expected: is it another version of it?", got.Total, k, want.Total)
		}
		if got.Pass < want.Pass {
			add("%d %s cases pass, and at least %d must", got.Pass, k, want.Pass)
		}
	}
	has := map[string]bool{}
	for _, c := range cases {
		has[c.ID] = true
		x := e.Find(c.ID)
		switch {
		case x != nil && x.Kind != c.Kind:
			add("%s is %s to the suite, and line %d has it as %s", c.ID, c.Kind, x.Line, x.Kind)
		case x != nil && c.Outcome == Pass:
			add("%s passes: take it off the exceptions (line %d)", c.ID, x.Line)
		case x == nil && c.Outcome != Pass && c.Kind != Check:
			add("%s %s does not pass, and is no exception with a reason (%s)", c.Kind, c.ID, c.why())
		}
	}
	for _, x := range e.Exceptions {
		if !has[x.ID] {
			add("the suite has no case %s (line %d)", x.ID, x.Line)
		}
	}
	return faults
}

// why is the outcome with the client's words.
func (s Scored) why() string {
	if s.Said == "" {
		return string(s.Outcome)
	}
	return fmt.Sprintf("%s: %s", s.Outcome, s.Said)
}
