package ops

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A Level is a command-line flag for what is logged: debug, info, warn or error. The
// zero Level is info. It is a slog.Leveler and a pflag.Value.
type Level slog.Level

// Level returns the level as slog has it.
func (l Level) Level() slog.Level { return slog.Level(l) }

// String returns the level's word.
func (l Level) String() string { return strings.ToLower(slog.Level(l).String()) }

// Set reads a level's word.
func (l *Level) Set(s string) error {
	switch s {
	case "debug", "info", "warn", "error":
		return (*slog.Level)(l).UnmarshalText([]byte(s))
	}
	return fmt.Errorf("%q is none of debug, info, warn, error", s)
}

// Type is what the flag's help calls its value.
func (l Level) Type() string { return "level" }

// NewLogger makes a node's logger: JSON, one object a line, with the member node in each.
// Instants are RFC 3339 in UTC, as in all documents.
func NewLogger(w io.Writer, level slog.Leveler, node string) *slog.Logger {
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				a.Value = slog.TimeValue(a.Value.Time().UTC())
			}
			return a
		},
	})
	return slog.New(h).With("node", node)
}

// A Limiter logs what happens again and again once per interval, so that a peer or a
// full disk cannot fill the log. It may be used concurrently.
type Limiter struct {
	Log   *slog.Logger
	Every time.Duration    // 0 = a minute
	Now   func() time.Time // nil = time.Now

	mu   sync.Mutex
	seen map[string]*seen // by message
}

type seen struct {
	last time.Time
	held int // since last
}

// maxSeen is how many messages a Limiter tells apart: they are constants of the program.
// Were one made of a peer's words, all above this number would count as one.
const maxSeen = 256

// Warn logs msg as a warning, unless it did so within the interval; then it counts. The
// next one logged says as "repeated" how many were held back. It reports whether it
// logged.
func (l *Limiter) Warn(msg string, args ...any) bool {
	held, ok := l.allow(msg)
	if !ok {
		return false
	}
	if held > 0 {
		args = append(args[:len(args):len(args)], "repeated", held)
	}
	l.Log.Log(context.Background(), slog.LevelWarn, msg, args...)
	return true
}

func (l *Limiter) allow(msg string) (held int, ok bool) {
	now, every := time.Now, l.Every
	if l.Now != nil {
		now = l.Now
	}
	if every == 0 {
		every = time.Minute
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[string]*seen)
	}
	s := l.seen[msg]
	if s == nil && len(l.seen) >= maxSeen {
		msg = ""
		s = l.seen[msg]
	}
	if s == nil {
		s = &seen{}
		l.seen[msg] = s
	}
	t := now()
	if !s.last.IsZero() && t.Sub(s.last) < every {
		s.held++
		return 0, false
	}
	held = s.held
	s.last, s.held = t, 0
	return held, true
}

// Libraries makes what libraries print to the standard logger, net/http on a peer's account, warnings of l, so
// that no peer can fill a disk with lines. It returns how to give the standard logger back.
func Libraries(l *Limiter) (restore func()) {
	out, flags, prefix := log.Writer(), log.Flags(), log.Prefix()
	log.SetOutput(library{l})
	log.SetFlags(0)
	log.SetPrefix("")
	return func() {
		log.SetOutput(out)
		log.SetFlags(flags)
		log.SetPrefix(prefix)
	}
}

type library struct{ l *Limiter }

func (w library) Write(line []byte) (int, error) {
	w.l.Warn("a library says", "text", strings.TrimSpace(string(line)))
	return len(line), nil
}
