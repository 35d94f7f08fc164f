package trace

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// Bounds of a trace. Requests take 12 bytes of memory each, objects some 100.
const (
	MaxRequests  = 100_000_000
	maxKey       = 8 << 10
	maxLine      = 2*maxKey + 128 // a key in quotes may be twice as long, with all of it quotes
	maxEndless   = 64 << 20       // what has no end of line for so long is no trace
	maxObject    = 1 << 50
	maxRequested = 1 << 62
	maxSpan      = 1 << 31 // seconds, 68 years: a cache counts ages no further
)

// A LineError says which line of a trace is broken, and how.
type LineError struct {
	File string
	Line int
	Why  string
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Why) }

// Read reads the requests of a file: a line for each, `time,key,size`, plain or packed with gzip. Time is in seconds, and may have
// a fraction; the key is any text, in quotes where it has a comma or a quote; size is the bytes of the object. A first line of
// these three names is no request, nor is an empty one. The first line that is broken ends it with a [LineError], unless
// skip says that such lines are left out. It ends with ctx, whatever the file is.
func Read(ctx context.Context, name string, skip bool) (*Trace, error) {
	f, err := open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("trace: read %s: %w", name, bare(err))
	}
	defer f.Close()
	// What reads from a pipe ends when that is closed.
	defer context.AfterFunc(ctx, func() { f.Close() })()
	t, err := read(ctx, f, name, skip)
	switch line := (*LineError)(nil); {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &line):
		return nil, fmt.Errorf("trace: %w", err)
	case err != nil:
		return nil, fmt.Errorf("trace: read %s: %w", name, bare(err))
	case t.Requests() == 0 && t.First != nil:
		return nil, fmt.Errorf("trace: read %s: all %d lines are broken, the first: %w", name, t.Skipped, t.First)
	case t.Requests() == 0:
		return nil, fmt.Errorf("trace: read %s: no request in it; want lines of time,key,size", name)
	}
	return t, nil
}

// bare is what went wrong, without the name that is said already.
func bare(err error) error {
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// open waits for a pipe that nobody writes to yet no longer than ctx.
func open(ctx context.Context, name string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	c := make(chan opened, 1)
	go func() {
		f, err := os.Open(name)
		if ctx.Err() != nil {
			f.Close() // nobody takes it any more, or reads from it
		}
		c <- opened{f, err}
	}()
	select {
	case o := <-c:
		return o.f, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// The first bytes of what is read, and of what must be unpacked before.
var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

func read(ctx context.Context, from io.Reader, name string, skip bool) (*Trace, error) {
	in := bufio.NewReaderSize(from, 1<<16)
	start, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, magicGzip):
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("its beginning is that of gzip: %w", unpackError(err))
		}
		in = bufio.NewReaderSize(unpacked, 1<<16)
	case bytes.HasPrefix(start, magicZstd):
		return nil, fmt.Errorf("it is packed with zstd: unpack it first, or `zstd -dc %s | bin/bench trace /dev/stdin`", name)
	}
	r := reader{t: &Trace{File: name}, byName: map[string]uint32{}}
	for line := 1; ; line++ {
		if line%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		text, err := oneLine(in)
		if err == io.EOF {
			return r.t, nil
		}
		why := ""
		switch {
		case err == bufio.ErrBufferFull:
			why = fmt.Sprintf("longer than %d bytes; want time,key,size", maxLine)
		case err != nil:
			return nil, fmt.Errorf("after line %d: %w", line-1, unpackError(err))
		default:
			why = r.line(text, line == 1)
		}
		if r.t.Requests() > MaxRequests || r.t.requested > maxRequested {
			return nil, fmt.Errorf("after line %d: more than %d requests, or %d bytes: replay a part of it, with `head`", line, MaxRequests, int64(maxRequested))
		}
		if why == "" {
			continue
		}
		broken := &LineError{name, line, why}
		if !skip {
			return nil, broken
		}
		if r.t.Skipped++; r.t.First == nil {
			r.t.First = broken
		}
	}
}

// unpackError says of a file that cannot be unpacked what to do; of other errors nothing.
func unpackError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return fmt.Errorf("%w: the file was cut off; get it anew", err)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return fmt.Errorf("%w: the file is damaged; get it anew", err)
	}
	return err
}

// errEndless is of what cannot be left out, as nobody knows where it ends.
var errEndless = fmt.Errorf("a line of more than %d MiB: this is no trace; want lines of time,key,size", maxEndless>>20)

// oneLine reads to the end of a line, without it. What is longer than maxLine is read, not kept: bufio.ErrBufferFull.
func oneLine(in *bufio.Reader) ([]byte, error) {
	text, err := in.ReadSlice('\n')
	switch {
	case len(text) > 0 && (err == nil || err == io.EOF):
		if text = bytes.TrimRight(text, "\r\n"); len(text) > maxLine {
			return nil, bufio.ErrBufferFull
		}
		return text, nil
	}
	for n := len(text); err == bufio.ErrBufferFull; n += len(text) {
		if n > maxEndless {
			return nil, errEndless
		}
		if text, err = in.ReadSlice('\n'); err == nil || err == io.EOF {
			return nil, bufio.ErrBufferFull
		}
	}
	return nil, err
}

// A reader is a trace while it is read.
type reader struct {
	t      *Trace
	byName map[string]uint32 // by size and key
	first  float64           // time of the first request
	name   []byte
}

// line takes up a line. It says what is wrong with it, or nothing.
func (r *reader) line(text []byte, first bool) string {
	if first {
		text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		if strings.EqualFold(string(text), "time,key,size") {
			return ""
		}
	}
	if len(text) == 0 {
		return ""
	}
	at, key, size, why := split(text)
	if why != "" {
		return why
	}
	seconds, err := strconv.ParseFloat(string(at), 64)
	if err != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return fmt.Sprintf("time %.40q is no number of seconds", at)
	}
	bytes, err := strconv.ParseInt(string(size), 10, 64)
	if err != nil || bytes < 0 || bytes > maxObject {
		return fmt.Sprintf("size %.40q is no number of bytes from 0 to %d", size, int64(maxObject))
	}
	switch {
	case len(key) == 0:
		return "no key"
	case len(key) > maxKey:
		return fmt.Sprintf("the key is longer than %d bytes", maxKey)
	}
	if r.t.Requests() == 0 {
		r.first = seconds
	}
	if seconds-r.first > maxSpan {
		return fmt.Sprintf("time %.40s is more than %d seconds after the first, %v; want seconds, not parts of them", at, maxSpan, r.first)
	}
	r.t.add(r.object(key, bytes), time.Duration((seconds-r.first)*float64(time.Second)))
	return ""
}

// split cuts a line into its fields; the key's quotes are taken off (RFC 4180 section 2).
func split(text []byte) (at, key, size []byte, why string) {
	at, rest, ok := bytes.Cut(text, []byte{','})
	if !ok {
		return nil, nil, nil, "want time,key,size, has one field"
	}
	if len(rest) == 0 || rest[0] != '"' {
		key, size, ok = bytes.Cut(rest, []byte{','})
		switch {
		case !ok:
			return nil, nil, nil, "want time,key,size, has two fields"
		case bytes.IndexByte(size, ',') >= 0:
			return nil, nil, nil, "want time,key,size, has more fields; write a key with a comma in quotes"
		}
		return at, key, size, ""
	}
	for rest = rest[1:]; ; {
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return nil, nil, nil, "a quote before the key and none behind it"
		}
		key, rest = append(key, rest[:end]...), rest[end+1:]
		if len(rest) == 0 || rest[0] != '"' {
			break
		}
		key, rest = append(key, '"'), rest[1:]
	}
	if len(rest) == 0 || rest[0] != ',' || bytes.IndexByte(rest[1:], ',') >= 0 {
		return nil, nil, nil, "want time,key,size, and the size alone behind the key's quotes"
	}
	return at, key, rest[1:], ""
}

// object finds the object of a key and a size, or makes it.
func (r *reader) object(key []byte, size int64) uint32 {
	r.name = strconv.AppendInt(r.name[:0], size, 36)
	r.name = append(append(r.name, ' '), key...)
	if o, ok := r.byName[string(r.name)]; ok {
		return o
	}
	o := uint32(len(r.t.sizes))
	name := string(r.name)
	r.byName[name] = o
	r.t.keys = append(r.t.keys, name[len(name)-len(key):])
	r.t.sizes = append(r.t.sizes, size)
	r.t.unique += size
	return o
}
