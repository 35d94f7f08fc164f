package load

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// TestOpenLoopOfHTTP has as many requests as are due, to the last one.
func TestOpenLoopOfHTTP(t *testing.T) {
	var c census
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c.count(r)
		page(w)
	})
	l.Rate, l.For = 1010, 100*time.Millisecond
	over(t, l, func(t *testing.T, l HTTPLoad) {
		c.reset()
		run, err := l.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		whole(t, run)
		if run.Requests != 101 || run.Answered+run.Unsent != 101 || run.Answered != c.taken().requests-1 || run.Asked != l.Rate {
			t.Errorf("%d came, of 101 and one of the probe: %+v", c.taken().requests, run)
		}
		if run.Unsent == 0 && run.Response.ValueAtQuantile(50) < run.Service.ValueAtQuantile(50) {
			t.Errorf("a response is as long as its service at least: %v, %v", run.Response.ValueAtQuantile(50), run.Service.ValueAtQuantile(50))
		}
	})
}

// TestCoordinatedOmission has a server stall once, until 50 more requests are due. One alone was on its way, and is slow as the
// server sees it; all those that were due meanwhile had to wait.
func TestCoordinatedOmission(t *testing.T) {
	var n atomic.Int64
	var loop *httpLoop
	var stall time.Duration
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 5 {
			since := time.Now()
			for len(loop.due) < 50 {
				runtime.Gosched()
			}
			stall = time.Since(since)
		}
		page(w)
	})
	l.Rate, l.For = 500, 400*time.Millisecond
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	loop = newHTTPLoop(&l, newDialler(&l))
	run, err := loop.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole(t, run)
	service, response := above(run.Service, stall/2), above(run.Response, stall/2)
	if run.Requests != 200 || service < 1 || response < 20 || response < service+10 {
		t.Errorf("a stall of %v: %d answers took half of it and more to serve, %d to wait for; want 1 and 25: %+v", stall, service, response, run)
	}
}

// above counts what took that long at least.
func above(h *hdrhistogram.Histogram, d time.Duration) (n int64) {
	for _, bar := range h.Distribution() {
		if bar.From >= int64(d) {
			n += bar.Count
		}
	}
	return n
}

// TestUnsent has a server hold the first request until all is over: what was due meanwhile is told.
func TestUnsent(t *testing.T) {
	var loop *httpLoop
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-loop.over
		page(w)
	})
	l.Rate, l.For = 100, time.Second // time enough to send the first
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	loop = newHTTPLoop(&l, newDialler(&l))
	run, err := loop.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole(t, run)
	if run.Requests != 100 || run.Answered != 1 || run.Unsent != 99 || run.InTime != 0 {
		t.Errorf("%+v", run)
	}
}
