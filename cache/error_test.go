package cache_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"hither/cache"
)

func TestErrorIsSharedAndNotStored(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	leader, other := b.join("/"), b.join("/")
	c := b.origin.next()
	go func() { c.head(503, 4); c.write([]byte("down")); c.end() }()
	if h := state(t, leader, cache.Streaming); h.Stored || h.Reason != cache.ReasonOriginError || h.Object.Status != 503 {
		t.Errorf("leader's head %+v", h)
	}
	for _, r := range []*cache.Reader{leader, other} {
		if got, err := read(t, r); got != "down" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		r.Close()
	}
	if l := b.look("/"); l.Object != nil || l.Pass {
		t.Errorf("an error left %+v", l)
	}
	b.origin.count(1)
	b.idle()
}

// An error that varies says something else to each: nobody else may have it.
func TestErrorThatVariesIsTheLeadersAlone(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	leader, other := b.join("/", "Accept", "x"), b.join("/", "Accept", "y")
	defer leader.Close()
	defer other.Close()
	c := b.origin.next()
	go c.head(503, 4, "Vary", "Accept")
	state(t, leader, cache.Alone)
	if h := state(t, other, cache.Alone); h.Response != nil {
		t.Error("the other has the leader's response")
	}
}

func TestStaleStandsInForErrors(t *testing.T) {
	for _, test := range []struct {
		status int
		erred  bool
	}{{500, true}, {501, false}, {502, true}, {503, true}, {504, true}, {505, false}, {404, false}} {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			b := newBed(t, newTable(1<<20))
			b.fill("/", "old", "Cache-Control", "stale-if-error=60")
			b.clock.advance(90 * time.Second)
			leader, other := b.join("/"), b.join("/")
			c := b.origin.next()
			go c.head(test.status, 0)
			for _, r := range []*cache.Reader{leader, other} {
				h := head(t, r)
				if erred := h.State == cache.Erred; erred != test.erred {
					t.Fatalf("state %d", h.State)
				}
				var status cache.StatusError
				if test.erred && (!errors.As(h.Err, &status) || int(status) != test.status || !b.look("/").IfError()) {
					t.Errorf("error %v", h.Err)
				}
				r.Close()
			}
			if test.erred {
				if b.stored("/") != "old" {
					t.Error("the stored response is gone")
				}
				<-c.body.gone
			}
			c.end()
		})
	}
}

func TestPastTheWindowAnErrorIsAnAnswer(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.fill("/", "old", "Cache-Control", "stale-if-error=60")
	b.clock.advance(60*time.Second + 59*time.Second)
	r := b.join("/")
	c := b.origin.next()
	b.clock.advance(time.Second) // the answer takes until the window has closed
	go func() { c.head(503, 0); c.end() }()
	state(t, r, cache.Streaming)
	r.Close()
}
