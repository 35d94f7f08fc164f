package hub

import (
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"hither/deploy/fleet"
)

// Of one thing the log has one line a minute, and of one kind so many: a stranger who comes from many addresses, or by many names, leaves room
// for what is said of others.
const (
	sayEvery = time.Minute
	mostSaid = 20
)

// A logger takes what the NATS server says. Some of it is the one place where an event shows: it is counted from there.
type logger struct {
	log     *slog.Logger
	refused func(reason, who string, why ...any)
	fault   func(connection uint64, from, text string)
	broken  func()      // a stream cannot be written any more
	fatal   chan string // of size 1

	mu     sync.Mutex // guards what follows
	said   map[string]bool
	many   map[string]int // of said, by kind
	begun  time.Time      // of the minute in which they were said
	silent int            // lines left out in it
}

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log, fatal: make(chan string, 1), said: make(map[string]bool), many: make(map[string]int)}
}

// say logs a warning, unless it or too much else of its kind was said within the minute. What tells it from others of the kind is key.
func (l *logger) say(kind, key, text string, args ...any) {
	l.mu.Lock()
	now := time.Now()
	var silent int
	if now.Sub(l.begun) > sayEvery {
		silent, l.silent, l.begun = l.silent, 0, now
		clear(l.said)
		clear(l.many)
	}
	key = kind + " " + key
	if l.said[key] || l.many[kind] >= mostSaid {
		l.silent++
		l.mu.Unlock()
		return
	}
	l.said[key] = true
	l.many[kind]++
	l.mu.Unlock()
	if silent > 0 {
		l.log.Warn("the hub left lines out, for they were many", "lines", silent)
	}
	l.log.Warn(text, args...)
}

// client is how a line about a connection begins.
var client = regexp.MustCompile(`^\S+ - cid:(\d+)(?: - "[^"]*")? - `)

// Errorf is where refusals, violations and trouble with files come by.
func (l *logger) Errorf(format string, args ...any) { l.take(fmt.Sprintf(format, args...), l.fault) }

// take takes a line. One about a connection goes to fault.
func (l *logger) take(text string, fault func(connection uint64, from, text string)) {
	from, id := "", uint64(0)
	if m := client.FindStringSubmatch(text); m != nil {
		from = host(addr(strings.Fields(text)[0]))
		id, _ = strconv.ParseUint(m[1], 10, 64)
		text = text[len(m[0]):]
	}
	_, handshake, isHandshake := strings.Cut(text, "TLS handshake error: ")
	switch {
	case isHandshake && strings.Contains(handshake, fleet.ErrRevoked.Error()):
		l.refused(RejectedRevoked, from, "error", clip(handshake))
	case isHandshake && strings.Contains(handshake, "fleet: "):
		l.refused(RejectedCertificate, from, "error", clip(handshake))
	case isHandshake && strings.Contains(handshake, "didn't provide a certificate"):
		l.refused(RejectedNone, from)
	case isHandshake:
		l.refused(RejectedHandshake, from)
	case id != 0:
		fault(id, from, clip(text))
	default:
		l.trouble(text)
	}
}

// trouble takes what is said of streams and files.
func (l *logger) trouble(text string) {
	if strings.Contains(text, "Critical write error") {
		l.broken()
	}
	l.say("server", digits.ReplaceAllString(clip(text), "#"), "hub", "says", clip(text))
}

var digits = regexp.MustCompile(`[0-9]+`)

// Warnf is where the server says what is slow, which is nobody's fault.
func (l *logger) Warnf(format string, args ...any) {
	l.take(fmt.Sprintf(format, args...), func(_ uint64, from, text string) { l.say("slow", from, "hub", "from", from, "says", text) })
}

// Fatalf takes the reason for which a server does not start. It ends nothing.
func (l *logger) Fatalf(format string, args ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, args...):
	default:
	}
}

func (l *logger) Noticef(format string, args ...any) {
	l.log.Debug("hub", "says", clip(fmt.Sprintf(format, args...)))
}
func (l *logger) Tracef(string, ...any) {}

// Debugf is where the server says of some refusals, for probes of load balancers look the same.
func (l *logger) Debugf(format string, args ...any) {
	if strings.Contains(format, "TLS handshake error") {
		l.Errorf(format, args...)
	}
}

// clip bounds a text that others have a part in.
func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// addr is an address in text, as net.Addr.
type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// host returns an address without its port.
func host(a net.Addr) string {
	if a == nil {
		return ""
	}
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}
