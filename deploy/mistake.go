package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mistake is one thing wrong in a network file, and where.
type Mistake struct {
	File string // as it was given to Load or Parse, or a file that it names
	Line int    // of the value that is wrong, from 1
	Col  int    // of its first character, from 1
	Msg  string // what is wrong and what to do; one line
}

// Error is `file:line:col: what is wrong`.
func (m Mistake) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Col, m.Msg)
}

// Mistakes is all that is wrong in a network file, in the order of the file. As an
// error it has one line for each.
type Mistakes []Mistake

// Error has one line for each mistake, without a line end after the last.
func (ms Mistakes) Error() string {
	var b strings.Builder
	for i, m := range ms {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(m.Error())
	}
	return b.String()
}

// sort orders by file and place, then by text, and drops repetitions.
func (ms Mistakes) sort() Mistakes {
	slices.SortFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Msg, b.Msg))
	})
	return slices.Compact(ms)
}

// maxQuoted is how much of a value a message repeats, in bytes: enough to find it,
// too little to fill a log.
const maxQuoted = 64

// quote repeats a value of the file inside a message: in backquotes when it is plain,
// escaped when it could confuse a terminal or a log.
func quote(s string) string {
	if len(s) > maxQuoted {
		cut := maxQuoted
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if s == "" {
		return `""`
	}
	for _, r := range s {
		if r == '`' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return "`" + s + "`"
}

// maxCandidates is how many words are compared to find the nearest.
const maxCandidates = 200

// nearest returns the candidate that s is most likely a slip of, or "".
func nearest(s string, candidates []string) string {
	if len(s) > maxQuoted || len(candidates) > maxCandidates {
		return ""
	}
	best, least := "", 0
	for _, c := range candidates {
		// More than a third of its letters wrong is another word, not a slip.
		d := distance(s, c)
		if d <= max(1, max(len(s), len(c))/3) && (best == "" || d < least) {
			best, least = c, d
		}
	}
	return best
}

// distance is how many bytes must be put in, left out, exchanged, or swapped with
// their neighbour (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// didYouMean is the end of a message about s, with the nearest candidate or, failing
// that, with all of them when they are few.
func didYouMean(s string, candidates []string) string {
	if n := nearest(s, candidates); n != "" {
		return "; did you mean " + quote(n) + "?"
	}
	switch {
	case len(candidates) == 0:
		return "; there is none at all"
	case len(candidates) == 1:
		return "; there is only " + quote(candidates[0])
	case len(candidates) <= 8:
		return "; there are " + strings.Join(candidates, ", ")
	}
	return ""
}
