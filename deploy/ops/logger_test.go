package ops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestLoggerWritesJSON(t *testing.T) {
	var out bytes.Buffer
	var level Level
	log := NewLogger(&out, &level, "edge-fra")
	log.Debug("not this")
	log.Info("pool: connected", "origin", "us")
	var line struct {
		Time                     time.Time
		Level, Msg, Node, Origin string
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%s: %v", out.Bytes(), err)
	}
	if line.Level != "INFO" || line.Msg != "pool: connected" || line.Node != "edge-fra" || line.Origin != "us" ||
		line.Time.IsZero() || line.Time.Location() != time.UTC {
		t.Errorf("%s", out.Bytes())
	}
}

func TestLevelFlag(t *testing.T) {
	for word, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		var l Level
		if err := l.Set(word); err != nil || l.Level() != want || l.String() != word {
			t.Errorf("%s: %v, %v", word, l, err)
		}
	}
	var l Level
	if err := l.Set("loud"); err == nil || l.Level() != slog.LevelInfo {
		t.Errorf("level loud: %v, %v", l, err)
	}
}

func TestLimiter(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := &Limiter{Log: slog.New(slog.NewTextHandler(&out, nil)), Every: time.Minute, Now: func() time.Time { return now }}
	for range 10 {
		l.Warn("disk is full", "path", "/a")
	}
	l.Warn("no route", "to", "us")
	now = now.Add(59 * time.Second)
	l.Warn("disk is full")
	now = now.Add(time.Second)
	l.Warn("disk is full", "path", "/b")
	now = now.Add(time.Minute)
	l.Warn("disk is full", "path", "/c")
	var got []string
	for line := range strings.Lines(out.String()) {
		_, rest, _ := strings.Cut(line, "level=")
		got = append(got, strings.TrimSpace(rest))
	}
	want := []string{
		`WARN msg="disk is full" path=/a`,
		`WARN msg="no route" to=us`,
		`WARN msg="disk is full" path=/b repeated=10`,
		`WARN msg="disk is full" path=/c`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("logged\n%s", strings.Join(got, "\n"))
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l := &Limiter{Log: slog.New(slog.DiscardHandler)}
	logged := 0
	for i := range 10 * maxSeen {
		if l.Warn(fmt.Sprint("message ", i)) {
			logged++
		}
	}
	if len(l.seen) > maxSeen+1 || logged != maxSeen+1 {
		t.Errorf("%d messages kept, %d logged; want %d", len(l.seen), logged, maxSeen+1)
	}
}

func TestLimitMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	debug.SetMemoryLimit(math.MaxInt64)
	if got := LimitMemory(0); got != math.MaxInt64 {
		t.Errorf("0 sets %d", got)
	}
	if got := LimitMemory(1 << 40); got != 1<<40 || debug.SetMemoryLimit(-1) != 1<<40 {
		t.Errorf("limit %d", got)
	}
	t.Setenv("GOMEMLIMIT", "2TiB")
	if got := LimitMemory(1 << 39); got != 1<<40 {
		t.Errorf("the environment does not win: %d", got)
	}
}

func TestLibraries(t *testing.T) {
	var out bytes.Buffer
	restore := Libraries(&Limiter{Log: slog.New(slog.NewTextHandler(&out, nil))})
	for i := range 1000 {
		log.Printf("protocol error: received frame %d", i)
	}
	restore()
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), `text="protocol error: received frame 0"`) {
		t.Errorf("1000 lines of a library became %d:\n%s", n, out.String())
	}
	if w, ok := log.Writer().(library); ok {
		t.Errorf("the standard logger still writes to %v", w)
	}
}
