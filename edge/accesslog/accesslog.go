// Package accesslog writes an Exchange as one log line: JSON, or the combined format
// that tools for Apache and nginx read. Whatever a client sends, a line stays one line
// of printable characters.
package accesslog

import (
	"fmt"
	"io"
	"time"

	"hither/edge/proxy"
)

// A Format is how a line looks. It is a flag's value as well.
type Format uint8

const (
	// JSON is one object a line, as [Line] tells.
	JSON Format = iota
	// Combined is Apache's and nginx's "combined":
	// client - - [time] "method target protocol" status bytes "referer" "user agent".
	Combined
)

var formatWords = [...]string{JSON: "json", Combined: "combined"}

// String returns the format's word.
func (f Format) String() string { return formatWords[f] }

// Set reads the format's word.
func (f *Format) Set(s string) error {
	for i, w := range formatWords {
		if w == s {
			*f = Format(i)
			return nil
		}
	}
	return fmt.Errorf("%q is neither json nor combined", s)
}

// Type is what a flag's help calls its value.
func (f Format) Type() string { return "format" }

// Config says where lines go. It needs Path or Out.
type Config struct {
	Format Format
	// Path is a file that is appended to, and made with mode 0600 if it is not there.
	Path string
	// Out is where lines go if Path is "". It is not closed, and not reopened.
	Out io.Writer
	// Flush is the longest time a line waits to be written. Default 1 s.
	Flush time.Duration
	// Buffer is the number of bytes of lines that may wait for a slow disk or reader;
	// what comes on top is dropped and counted. Default 4 MiB: some 10,000 lines. As
	// much again is being written meanwhile.
	Buffer int
	// Fault is told of errors of writing, from the log's goroutine, however many there
	// are. The lines concerned are counted as dropped. Optional.
	Fault func(error)
}

// Stats counts lines since the log was opened.
type Stats struct {
	Written uint64
	Dropped uint64 // there was no room in the buffer, or writing failed
}

// appendLine appends x in the format, with its end of line.
func appendLine(dst []byte, f Format, x *proxy.Exchange) []byte {
	if f == Combined {
		return appendCombined(dst, x)
	}
	return appendJSON(dst, x)
}
