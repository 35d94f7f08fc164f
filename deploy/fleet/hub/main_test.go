package hub_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain has the package's tests end without a goroutine left.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// until waits for something that comes by itself.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); !is(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// A record is a log that a test reads.
type record struct {
	began time.Time

	mu   sync.Mutex // guards what follows
	text bytes.Buffer
}

func newRecord() *record { return &record{began: time.Now()} }

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(r, nil)) }

// count is how often it has a text.
func (r *record) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Count(r.text.Bytes(), []byte(text))
}

// refusals returns how often it was logged that somebody was refused, by reason, and fails the test where it was more than once a minute for one
// reason and the same somebody.
func (r *record) refusals(t *testing.T) (by map[string]int) {
	t.Helper()
	most := 1 + int(time.Since(r.began)/time.Minute)
	r.mu.Lock()
	defer r.mu.Unlock()
	by = make(map[string]int)
	same := make(map[[2]string]int)
	for _, line := range bytes.Split(bytes.TrimSpace(r.text.Bytes()), []byte("\n")) {
		var x struct{ Msg, Reason, Who string }
		if json.Unmarshal(line, &x) != nil || x.Msg != "the hub refused somebody" {
			continue
		}
		by[x.Reason]++
		if same[[2]string{x.Reason, x.Who}]++; same[[2]string{x.Reason, x.Who}] > most {
			t.Errorf("logged once more: %s", line)
		}
	}
	return by
}
