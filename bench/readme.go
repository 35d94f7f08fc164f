package main

import (
	"bytes"
	"fmt"
	"os"
)

// marks are the comments in a file between which a command writes what it measured.
func marks(name string) (begin, end []byte) {
	return fmt.Appendf(nil, "<!-- begin %s -->", name), fmt.Appendf(nil, "<!-- end %s -->", name)
}

// findMarks reads a file, and cuts it after the first mark and before the second.
func findMarks(file, name string) (before, after []byte, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	begin, end := marks(name)
	i, j := bytes.Index(text, begin), bytes.Index(text, end)
	if i < 0 || j < i || bytes.Count(text, begin) > 1 || bytes.Count(text, end) > 1 {
		return nil, nil, fmt.Errorf("%s: want a line %q and below it a line %q, once each, to write between", file, begin, end)
	}
	return text[:i+len(begin)], text[j:], nil
}

// writeBetween replaces what stands between the marks of a file.
func writeBetween(file, name, text string) error {
	before, after, err := findMarks(file, name)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	whole := fmt.Appendf(nil, "%s\n\n%s\n\n%s", before, bytes.TrimSpace([]byte(text)), after)
	// Beside the file and then in its place, so that nothing is lost when this ends half-way.
	next := file + ".new"
	if err := os.WriteFile(next, whole, info.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Rename(next, file); err != nil {
		os.Remove(next)
		return err
	}
	return nil
}
