package zone

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A Mistake is one thing wrong in what a zone was to be made of.
type Mistake struct {
	Where string // records[2], name_servers[0], FILE:LINE, or where a dynamic name says it is
	What  string // is wrong, and after a semicolon what to do about it; one line
}

// Error is `where: what; what to do`.
func (m Mistake) Error() string { return m.Where + ": " + m.What }

// Mistakes is all that is wrong: first what is configured, then the records, then the file by line. After a hundred, the
// last one says how many more there were. As an error it has one line for each.
type Mistakes []Mistake

// Error has one line for each mistake, without a line end after the last.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

// maxMistakes are told.
const maxMistakes = 100

// A source is where a record comes from.
type source uint8

const (
	fromConfig source = iota
	fromServers
	fromRecords
	fromDynamic
	fromFile
)

// A place is where in a source.
type place struct {
	source source
	n      int32 // the index, or the line
}

type mistake struct {
	at   place
	what string
}

// list collects mistakes.
type list struct {
	file    string
	dynamic []DynamicName
	found   []mistake
	more    int // that were not kept
}

func (l *list) wrong(at place, format string, args ...any) {
	if len(l.found) == 10*maxMistakes {
		l.more++
		return
	}
	l.found = append(l.found, mistake{at, fmt.Sprintf(format, args...)})
}

// mistakes is how many were found.
func (l *list) mistakes() int { return len(l.found) + l.more }

// where is how a place is told.
func (l *list) where(at place) string {
	switch at.source {
	case fromServers:
		return fmt.Sprintf("name_servers[%d]", at.n)
	case fromRecords:
		return fmt.Sprintf("records[%d]", at.n)
	case fromDynamic:
		if w := l.dynamic[at.n].Where; w != "" {
			return w
		}
		return fmt.Sprintf("dynamic[%d]", at.n)
	case fromFile:
		return fmt.Sprintf("%s:%d", l.file, at.n)
	}
	return "zone"
}

// err is all that was found, nil where that is nothing.
func (l *list) err() error {
	if len(l.found) == 0 {
		return nil
	}
	slices.SortStableFunc(l.found, func(a, b mistake) int {
		if a.at.source != b.at.source {
			return int(a.at.source) - int(b.at.source)
		}
		return int(a.at.n) - int(b.at.n)
	})
	l.found = slices.Compact(l.found)
	told := l.found[:min(len(l.found), maxMistakes)]
	var ms Mistakes
	for _, m := range told {
		ms = append(ms, Mistake{Where: l.where(m.at), What: m.what})
	}
	if more := l.more + len(l.found) - len(told); more > 0 {
		ms = append(ms, Mistake{Where: l.where(told[len(told)-1].at), What: fmt.Sprintf("and %d more mistakes after this", more)})
	}
	return ms
}

// maxQuoted is how much of a text a message repeats, in bytes: enough to find it.
const maxQuoted = 64

// quote repeats a text inside a message, escaped where it could confuse a terminal or a log.
func quote(s string) string {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	for _, r := range s {
		if r == '`' || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return strconv.QuoteToASCII(s)
		}
	}
	if s == "" {
		return `""`
	}
	return "`" + s + "`"
}
