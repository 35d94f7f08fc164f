package edge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// patience bounds every wait of a script for something that must happen. It is reached
// only by a script that fails, so it is generous: a machine may be busy.
const patience = 20 * time.Second

// A clock is moved by the script alone. It may be read concurrently.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// pause is how often what lies behind a socket is asked for again.
const pause = 5 * time.Millisecond

// A bell wakes those who wait for a condition over shared state, whatever changed in it.
type bell struct {
	patience time.Duration // of await
	mu       sync.Mutex
	next     chan struct{}
}

func newBell(patience time.Duration) *bell {
	return &bell{patience: patience, next: make(chan struct{})}
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.next)
	b.next = make(chan struct{})
}

func (b *bell) heard() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// await waits until ok. What is the thing waited for, for the error.
func (b *bell) await(what string, ok func() bool) error {
	late := time.NewTimer(b.patience)
	defer late.Stop()
	for {
		heard := b.heard()
		if ok() {
			return nil
		}
		select {
		case <-heard:
		case <-time.After(pause): // a counter rings no bell
		case <-late.C:
			return fmt.Errorf("waited %s in vain for %s", b.patience, what)
		}
	}
}

// A record is one line of the access log: its JSON members as text. A member that the line
// leaves out is "".
type record map[string]string

// A journal takes the access log of an edge, line by line.
type journal struct {
	bell *bell
	rest []byte // of a line that has not ended; used by Write alone

	mu      sync.Mutex
	records []record
	err     error // of a line that is no JSON
}

// Write takes whole and broken lines; the log calls it from one goroutine.
func (j *journal) Write(p []byte) (int, error) {
	j.rest = append(j.rest, p...)
	for {
		line, rest, ok := bytes.Cut(j.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		j.rest = rest
		j.take(line)
	}
}

func (j *journal) take(line []byte) {
	defer j.bell.ring()
	j.mu.Lock()
	defer j.mu.Unlock()
	var members map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&members); err != nil {
		j.err = fmt.Errorf("access log: %q: %w", line, err)
		return
	}
	r := make(record)
	for name, value := range members {
		r[name] = fmt.Sprint(value)
	}
	j.records = append(j.records, r)
}

// fault is what was wrong with the log.
func (j *journal) fault() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// of is the record of the request with this id, nil where there is none yet.
func (j *journal) of(id string) record {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.records {
		if r["referer"] == id {
			return r
		}
	}
	return nil
}

// since are the records from the n-th on.
func (j *journal) since(n int) []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.records[n:len(j.records):len(j.records)]
}
