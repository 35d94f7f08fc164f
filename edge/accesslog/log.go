package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"hither/edge/proxy"
)

// A Log writes lines in the background. Write never waits for the disk: it appends to a
// buffer which the log's goroutine exchanges for an empty one, and drops the line if the
// buffer is full. All methods may be called concurrently.
type Log struct {
	cfg     Config
	scratch sync.Pool // *[]byte

	full  chan struct{} // wakes the goroutine before the interval is over
	tasks chan func()   // run by the goroutine, between two writes
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the goroutine has ended
	once  sync.Once
	end   error // of closing; set before done is closed

	// The goroutine's own.
	out   io.Writer
	file  *os.File // nil if out is not ours
	spare []byte
	torn  bool // the last write ended within a line

	mu      sync.Mutex
	pending []byte
	lines   uint64 // in pending
	stats   Stats
	closed  bool
}

// Open opens the log and starts its goroutine, which Close ends.
func Open(cfg Config) (*Log, error) {
	if cfg.Flush == 0 {
		cfg.Flush = time.Second
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = 4 << 20
	}
	l := &Log{
		cfg:   cfg,
		full:  make(chan struct{}, 1),
		tasks: make(chan func()),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
		out:   cfg.Out,
	}
	l.scratch.New = func() any { return new([]byte) }
	if cfg.Path != "" {
		if err := l.openFile(); err != nil {
			return nil, err
		}
	}
	go l.run()
	return l, nil
}

// Write logs x, or drops it. It keeps nothing of x.
func (l *Log) Write(x *proxy.Exchange) {
	buf := l.scratch.Get().(*[]byte)
	line := appendLine((*buf)[:0], l.cfg.Format, x)
	l.mu.Lock()
	room := !l.closed && len(l.pending)+len(line) <= l.cfg.Buffer
	if room {
		l.pending = append(l.pending, line...)
		l.lines++
	} else {
		l.stats.Dropped++
	}
	half := len(l.pending) > l.cfg.Buffer/2
	l.mu.Unlock()
	*buf = line
	l.scratch.Put(buf)
	if half {
		select {
		case l.full <- struct{}{}:
		default: // it is awake already
		}
	}
}

// Flush returns when every line written before is in the file.
func (l *Log) Flush() { l.do(l.flush) }

// Reopen opens the file at Path anew, so that one which was renamed is let go of: lines
// written before are in the old one. If that fails, the old one stays in use. Without
// Path it only flushes.
func (l *Log) Reopen() error {
	var err error
	l.do(func() {
		l.flush()
		if l.file == nil {
			return
		}
		old := l.file
		if err = l.openFile(); err != nil {
			return
		}
		l.torn = false
		if err = old.Close(); err != nil {
			err = fmt.Errorf("accesslog: close the old %s: %w", l.cfg.Path, err)
		}
	})
	return err
}

// Close writes what waits and ends the log. What is written afterwards is dropped.
func (l *Log) Close() error {
	l.once.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.stop)
	})
	<-l.done
	return l.end
}

// Stats returns the counts so far.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// do has the goroutine run f, unless the log is closed.
func (l *Log) do(f func()) {
	finished := make(chan struct{})
	select {
	case l.tasks <- func() { f(); close(finished) }:
		<-finished
	case <-l.done:
	}
}

func (l *Log) run() {
	defer close(l.done)
	ticker := time.NewTicker(l.cfg.Flush)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.flush()
		case <-l.full:
			l.flush()
		case f := <-l.tasks:
			f()
		case <-l.stop:
			l.flush()
			if l.file != nil {
				l.end = l.file.Close()
			}
			return
		}
	}
}

// flush writes what waits. Goroutine only.
func (l *Log) flush() {
	l.mu.Lock()
	chunk, lines := l.pending, l.lines
	l.pending, l.lines = l.spare[:0], 0
	l.mu.Unlock()
	l.spare = chunk
	if len(chunk) == 0 {
		return
	}
	var err error
	if l.torn {
		// Ends the torn line, so that the next one can be read.
		_, err = l.out.Write([]byte{'\n'})
	}
	n := 0
	if err == nil {
		n, err = l.out.Write(chunk)
		l.torn = n < len(chunk) && (n > 0 && chunk[n-1] != '\n')
	}
	written := uint64(bytes.Count(chunk[:n], []byte{'\n'}))
	l.mu.Lock()
	l.stats.Written += written
	l.stats.Dropped += lines - written
	l.mu.Unlock()
	if err != nil && l.cfg.Fault != nil {
		l.cfg.Fault(fmt.Errorf("accesslog: write %d bytes: %w", len(chunk), err))
	}
}

// openFile opens Path. Goroutine only, but in Open.
func (l *Log) openFile() error {
	f, err := os.OpenFile(l.cfg.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("accesslog: open %s: %w", l.cfg.Path, errors.Unwrap(err))
	}
	l.file, l.out = f, f
	return nil
}
