package bus

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// What a connection says of the same thing within a minute is said once, and of how many things it remembers that.
const (
	sayEvery = time.Minute
	mostSaid = 256
)

// A limiter keeps a log from being filled by what others send.
type limiter struct {
	log *slog.Logger

	mu   sync.Mutex // guards what follows
	said map[string]time.Time
}

func newLimiter(log *slog.Logger) *limiter {
	return &limiter{log: log, said: make(map[string]time.Time)}
}

// say logs a message, unless the same key was said within the last minute.
func (l *limiter) say(key string, level slog.Level, text string, args ...any) {
	now := time.Now()
	l.mu.Lock()
	last, known := l.said[key]
	if known && now.Sub(last) < sayEvery {
		l.mu.Unlock()
		return
	}
	if !known && len(l.said) >= mostSaid {
		clear(l.said)
	}
	l.said[key] = now
	l.mu.Unlock()
	l.log.Log(context.Background(), level, text, args...)
}
