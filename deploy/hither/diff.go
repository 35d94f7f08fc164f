package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of a difference: lines around each change, and how many lines are compared to find the shortest. Files that differ in
// more are shown as one that goes and one that comes.
const (
	diffContext = 3
	mostEdits   = 2000
)

// An edit is a run of lines that stay (' '), go ('-') or come ('+').
type edit struct {
	kind  byte
	lines []string
}

// unified is the difference between two files as patch(1) takes it; "" = none.
func unified(oldName, newName string, old, now []byte) string {
	if bytes.Equal(old, now) {
		return ""
	}
	lines := flat(edits(splitLines(old), splitLines(now)))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", oldName, newName)
	for at := 0; at < len(lines); {
		first := at
		for first < len(lines) && lines[first][0] == ' ' {
			first++
		}
		if first == len(lines) {
			break
		}
		last := first // of the hunk: changes with no more than twice the context between them are in one
		for i := first; i < len(lines) && i-last <= 2*diffContext; i++ {
			if lines[i][0] != ' ' {
				last = i
			}
		}
		from, to := max(first-diffContext, at), min(last+1+diffContext, len(lines))
		writeHunk(&b, lines, from, to)
		at = to
	}
	return b.String()
}

// writeHunk writes the lines of one hunk below its head.
func writeHunk(b *strings.Builder, lines []string, from, to int) {
	count := func(lines []string, without byte) (n int) {
		for _, l := range lines {
			if l[0] != without {
				n++
			}
		}
		return n
	}
	side := func(without byte) string {
		before, n := count(lines[:from], without), count(lines[from:to], without)
		if n > 0 {
			before++ // the number of the first line, or of the one before where there is none
		}
		return fmt.Sprintf("%d,%d", before, n)
	}
	fmt.Fprintf(b, "@@ -%s +%s @@\n", side('+'), side('-'))
	for _, l := range lines[from:to] {
		b.WriteString(l)
		if !strings.HasSuffix(l, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// flat gives each line its sign.
func flat(all []edit) (lines []string) {
	for _, e := range all {
		for _, l := range e.lines {
			lines = append(lines, string(e.kind)+l)
		}
	}
	return lines
}

// splitLines splits after each line's end.
func splitLines(file []byte) []string {
	lines := strings.SplitAfter(string(file), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// edits makes b of a.
func edits(a, b []string) (all []edit) {
	add := func(kind byte, lines []string) {
		if len(lines) > 0 {
			all = append(all, edit{kind, lines})
		}
	}
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	add(' ', a[:head])
	middle, ok := shortest(a[head:len(a)-tail], b[head:len(b)-tail])
	if ok {
		all = append(all, middle...)
	} else {
		add('-', a[head:len(a)-tail])
		add('+', b[head:len(b)-tail])
	}
	add(' ', a[len(a)-tail:])
	return all
}

// shortest finds the fewest lines that go and come, unless they are more than mostEdits: E. Myers, An O(ND) Difference Algorithm
// and Its Variations, 1986. v[k] is how far down a the paths with k more lines of a than of b have come.
func shortest(a, b []string) (all []edit, ok bool) {
	most := min(len(a)+len(b), mostEdits)
	v := make([]int32, 2*most+3)
	var trace [][]int32
	for d := range most + 1 {
		trace = append(trace, append([]int32(nil), v[most-d:most+d+3]...))
		for k := -d; k <= d; k += 2 {
			x := v[most+1+k-1] + 1
			if k == -d || k != d && v[most+1+k-1] < v[most+1+k+1] {
				x = v[most+1+k+1]
			}
			for y := x - int32(k); int(x) < len(a) && int(y) < len(b) && a[x] == b[y]; y++ {
				x++
			}
			if v[most+1+k] = x; int(x) >= len(a) && int(x)-k >= len(b) {
				return walk(a, b, trace), true
			}
		}
	}
	return nil, false
}

// walk goes back over what shortest has found. trace[d] is v before the d-th step, from k = -d-1 to d+1.
func walk(a, b []string, trace [][]int32) (all []edit) {
	x, y := len(a), len(b)
	add := func(kind byte, line string) {
		all = append(all, edit{kind, []string{line}})
	}
	for d := len(trace) - 1; d >= 0; d-- {
		v, k := trace[d], x-y
		at := func(k int) int { return int(v[k+d+1]) }
		before := k - 1
		if k == -d || k != d && at(k-1) < at(k+1) {
			before = k + 1
		}
		fromX := at(before)
		fromY := fromX - before
		if d == 0 {
			fromX, fromY = 0, 0
		}
		for x > fromX && y > fromY {
			x, y = x-1, y-1
			add(' ', a[x])
		}
		switch {
		case d == 0:
		case before == k+1:
			y--
			add('+', b[y])
		default:
			x--
			add('-', a[x])
		}
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// terminal reports whether somebody looks at it who sees colours.
func terminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS) // /dev/null, which is a character device too, has none
	return err == nil
}

// columns is how many characters go into a line of a terminal; 0 = it is not known.
func columns(f any) int {
	file, ok := f.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// printDiff writes a difference, coloured on a terminal unless NO_COLOR is set.
func printDiff(w io.Writer, diff string) {
	if !terminal(w) || os.Getenv("NO_COLOR") != "" {
		io.WriteString(w, diff)
		return
	}
	for line := range strings.Lines(diff) {
		colour := map[byte]string{'-': "\x1b[31m", '+': "\x1b[32m", '@': "\x1b[36m"}[line[0]]
		if colour == "" {
			io.WriteString(w, line)
			continue
		}
		fmt.Fprintf(w, "%s%s\x1b[0m\n", colour, strings.TrimSuffix(line, "\n"))
	}
}
