package edge_test

import (
	"fmt"
	"maps"
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
		case <-late.C:
			return fmt.Errorf("waited %s in vain for %s", b.patience, what)
		}
	}
}

// A record is one line of the access log, by the names of its columns.
type record map[string]string

// A journal collects what the edge tells its operator.
type journal struct {
	bell *bell

	mu      sync.Mutex
	records []record
	counts  map[string]int // by metric name with its labels
}

func newJournal(b *bell) *journal { return &journal{bell: b, counts: make(map[string]int)} }

func (j *journal) log(r record) {
	j.mu.Lock()
	j.records = append(j.records, r)
	j.mu.Unlock()
	j.bell.ring()
}

func (j *journal) count(name string, delta int) {
	j.mu.Lock()
	j.counts[name] += delta
	j.mu.Unlock()
	j.bell.ring()
}

func (j *journal) counter(name string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts[name]
}

// rejected is the number of refusals below the proxy, of any reason.
func (j *journal) rejected() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts["edge_rejected_total"]
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

// all is a copy of every counter, for an error.
func (j *journal) all() map[string]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.counts)
}
