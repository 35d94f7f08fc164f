// Package accesslog writes each exchange as one log line, in JSON or in the combined
// format, without ever making a request wait for a disk.
package accesslog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"hither/edge/proxy"
)

// The formats.
const (
	JSON     = "json"     // one Line per line
	Combined = "combined" // that of Apache httpd and nginx
)

// backlog is how many lines may wait for the writer: at 50,000 requests a second it
// spans a stall of the disk of a sixth of a second, in a few MiB.
const backlog = 8192

// flushEvery is how long a line may stay in the buffer.
const flushEvery = time.Second

// A Log is an access log. Exchanged and Reopen may be called concurrently; nothing may
// be called after Close.
type Log struct {
	path   string // "-" is standard output
	format func([]byte, *proxy.Exchange) []byte
	lines  chan *[]byte
	free   sync.Pool // of *[]byte
	reopen chan chan error
	done   chan struct{}

	dropped atomic.Uint64
	failed  atomic.Uint64
}

// Open begins a log in the file at path, which is appended to and created with mode
// 0600; "-" is standard output. An unknown format is an error.
func Open(path, format string) (*Log, error) {
	l := &Log{path: path, lines: make(chan *[]byte, backlog), reopen: make(chan chan error), done: make(chan struct{})}
	l.free.New = func() any { b := make([]byte, 0, 512); return &b }
	switch format {
	case JSON:
		l.format = appendJSON
	case Combined:
		l.format = appendCombined
	default:
		return nil, fmt.Errorf("accesslog: unknown format %q, not json or combined", format)
	}
	out, err := l.open()
	if err != nil {
		return nil, err
	}
	go l.write(out)
	return l, nil
}

func (l *Log) open() (io.WriteCloser, error) {
	if l.path == "-" {
		return keepOpen{os.Stdout}, nil
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("accesslog: %w", err)
	}
	return f, nil
}

// keepOpen is a writer that is not ours to close.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// Exchanged writes a line for x, or drops and counts it when the writer is behind.
func (l *Log) Exchanged(x *proxy.Exchange) {
	line := l.free.Get().(*[]byte)
	*line = l.format((*line)[:0], x)
	select {
	case l.lines <- line:
	default:
		l.dropped.Add(1)
		l.free.Put(line)
	}
}

// Dropped is the number of lines lost because the writer was behind, Failed the number
// of writes that the disk refused.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Failed: see Dropped.
func (l *Log) Failed() uint64 { return l.failed.Load() }

// Reopen opens the path anew, for logs that were moved aside. Where that fails the old
// file stays in use.
func (l *Log) Reopen() error {
	answer := make(chan error)
	l.reopen <- answer
	return <-answer
}

// Close writes what is waiting and ends the log.
func (l *Log) Close() error {
	close(l.lines)
	<-l.done
	return nil
}

// write is the log's own goroutine.
func (l *Log) write(out io.WriteCloser) {
	defer close(l.done)
	buf := bufio.NewWriterSize(out, 64<<10)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	flush := func() {
		if err := buf.Flush(); err != nil {
			l.failed.Add(1)
			buf.Reset(out) // a full disk may have room later; the error would stick
		}
	}
	for {
		select {
		case line, ok := <-l.lines:
			if !ok {
				flush()
				out.Close()
				return
			}
			if _, err := buf.Write(*line); err != nil {
				l.failed.Add(1)
				buf.Reset(out)
			}
			l.free.Put(line)
		case <-tick.C:
			flush()
		case answer := <-l.reopen:
			flush()
			next, err := l.open()
			if err == nil {
				err = errors.Join(out.Close())
				out = next
				buf.Reset(out)
			}
			answer <- err
		}
	}
}
