package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// An httpLoop is one run of a load. Times in it are since its start.
type httpLoop struct {
	*HTTPLoad
	d     *dialler
	names *popularity

	start    time.Time
	from, to time.Duration // what is measured
	next     atomic.Int64  // the request that is sent next, in a closed loop
	due      chan int64    // requests that are due, in an open loop
	over     chan struct{} // closed when no more is sent

	sheets [8]sheet
}

func newHTTPLoop(l *HTTPLoad, d *dialler) *httpLoop {
	loop := &httpLoop{
		HTTPLoad: l, d: d, names: newPopularity(len(l.URLs), l.Zipf, l.Seed),
		from: l.WarmUp, to: l.WarmUp + l.For, due: make(chan int64, 1<<14), over: make(chan struct{}),
	}
	for i := range loop.sheets {
		loop.sheets[i] = sheet{service: newHTTPHistogram(), response: newHTTPHistogram(), errors: make(map[ErrorKind]int64), status: make(map[int]int64)}
	}
	return loop
}

// newHTTPHistogram holds from a microsecond to ten minutes, to a thousandth.
func newHTTPHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(10*time.Minute), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration, times int64) {
	h.RecordValues(min(max(int64(d), h.LowestTrackableValue()), h.HighestTrackableValue()), times)
}

// A sheet is what some of the workers count on: one for each would take megabytes, one for all would have them wait.
type sheet struct {
	mu                sync.Mutex // guards all
	service, response *hdrhistogram.Histogram
	errors            map[ErrorKind]int64
	status            map[int]int64
	first, because    error
	firstAt, againAt  time.Duration

	requests, answered, inTime, bytes, opened, resumed, again int64
	ends                                                      int64 // answers, with those of the warm-up
}

// run loads and measures until the time is over.
func (l *httpLoop) run(ctx context.Context) (*HTTPRun, error) {
	loading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	alarm, err := newAlarm()
	if err != nil {
		return nil, err
	}
	defer alarm.close()
	l.start = time.Now()
	var workers sync.WaitGroup
	urls := newRequests(l.HTTPLoad)
	for i := range l.Connections {
		to := &line{d: l.d.own()}
		var streams sync.WaitGroup
		for s := range l.Streams {
			streams.Add(1)
			workers.Go(func() {
				defer streams.Done()
				l.work(loading, newWorker(to.d, to, urls), &l.sheets[(i*l.Streams+s)%len(l.sheets)])
			})
		}
		workers.Go(func() {
			streams.Wait()
			to.close()
		})
	}
	var handed int64
	paced := make(chan struct{})
	go func() {
		defer close(paced)
		if l.Rate > 0 {
			var err error
			if handed, err = l.pace(loading, alarm); err != nil {
				stop(err)
			}
		}
	}()
	m := &meter{loop: l}
	ended, err := m.watch(loading)
	if err != nil || ctx.Err() != nil {
		stop(err) // what is on its way is given up
	}
	<-paced
	close(l.over)
	workers.Wait()
	run := l.result(m, ended)
	if l.Rate > 0 {
		l.countUnsent(run, handed, ended)
	}
	if err == nil && loading.Err() != nil { // which ctx or the pace did
		err = context.Cause(loading)
	}
	return run, err
}

// takeTime is how long streams that are free have to take what became due last. What nobody took by then will not be sent.
const takeTime = 100 * time.Millisecond

// pace hands out requests as they become due, and returns how many it did.
func (l *httpLoop) pace(ctx context.Context, alarm *alarm) (n int64, err error) {
	const most, least = 5 * time.Millisecond, 50 * time.Microsecond
	for {
		now := time.Since(l.start)
		if now >= l.from {
			n = max(n, l.dueBy(l.from)) // what the warm-up has not sent is not sent
		}
		due := l.dueBy(min(now, l.to))
		n = l.hand(n, due)
		done := n == l.dueBy(l.to) && len(l.due) == 0
		if now >= l.to && (done || now > l.to+takeTime) || ctx.Err() != nil {
			return n, nil
		}
		pause := most // where there is no room for what is due, nobody is waiting for it
		if n == due {
			pause = min(max(l.dueAt(n)-now, least), most)
		}
		if err := alarm.sleep(pause); err != nil {
			return n, err
		}
	}
}

// hand hands out from the nth request to those that are due, as far as there is room, and returns how far that was.
func (l *httpLoop) hand(n, due int64) int64 {
	for ; n < due; n++ {
		select {
		case l.due <- n:
		default:
			return n
		}
	}
	return n
}

// dueAt is when request i is due.
func (l *httpLoop) dueAt(i int64) time.Duration {
	return time.Duration(float64(i) / l.Rate * float64(time.Second))
}

// dueBy is how many requests are due before an instant.
func (l *httpLoop) dueBy(d time.Duration) int64 {
	n := int64(d.Seconds() * l.Rate)
	for l.dueAt(n) < d {
		n++
	}
	for n > 0 && l.dueAt(n-1) >= d {
		n--
	}
	return n
}

// countUnsent counts what became due until the end and was never sent: handed out or not, nobody took it.
func (l *httpLoop) countUnsent(run *HTTPRun, handed int64, ended time.Duration) {
	first := handed // of those never sent: they are taken in order
	for len(l.due) > 0 {
		first = min(first, <-l.due)
	}
	first = max(first, l.dueBy(l.from))
	end := l.dueBy(l.to)
	if ended < l.to { // stopped: what was due last may have been taken yet
		end = l.dueBy(ended - takeTime)
	}
	if first >= end {
		return
	}
	run.Unsent = end - first
	run.Requests += run.Unsent
	for step, i := max(run.Unsent>>20, 1), first; i < end; i += step { // a million of them tell as much as more
		record(run.Response, ended-l.dueAt(i), min(step, end-i))
	}
}

// work makes requests until the load is over.
func (l *httpLoop) work(ctx context.Context, w *worker, s *sheet) {
	defer w.close()
	pause := time.Duration(0)
	for {
		i, due, sent, ok := l.take(ctx)
		if !ok {
			return
		}
		which := l.names.at(i)
		o := w.ask(ctx, which)
		ended := time.Since(l.start)
		if ctx.Err() != nil {
			return // given up with the load
		}
		if o.err != nil {
			o.err = fmt.Errorf("%s: %w", w.urls[which].URL, o.err)
		}
		s.count(l, o, due, sent, ended)
		if o.kind != ErrConnect && o.kind != ErrTLS {
			pause = 0
			continue
		}
		// A server that is down is asked again, but not as often as its refusals come.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-l.over:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// take is the next request, when it was due, and when that is.
func (l *httpLoop) take(ctx context.Context) (i int64, due, now time.Duration, ok bool) {
	select { // what is due when all is over is not sent, though it could be taken
	case <-l.over:
		return 0, 0, 0, false
	case <-ctx.Done():
		return 0, 0, 0, false
	default:
	}
	if l.Rate == 0 {
		now = time.Since(l.start)
		return l.next.Add(1) - 1, now, now, now < l.to
	}
	for {
		select {
		case i := <-l.due:
			due, now = l.dueAt(i), time.Since(l.start)
			if due >= l.from || now < l.from { // else the warm-up has not sent it, and the measurement begins without it
				return i, due, now, true
			}
		case <-l.over:
			return 0, 0, 0, false
		case <-ctx.Done():
			return 0, 0, 0, false
		}
	}
}

// count takes an outcome up. What belongs to the warm-up is not measured, but for answers that came when it was over: the server
// works for those as much as it will have to for the last ones sent.
func (s *sheet) count(l *httpLoop, o outcome, due, sent, ended time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.err == nil {
		s.ends++
	}
	if ended >= l.from && ended < l.to {
		s.bytes += o.bytes
		if o.err == nil {
			s.inTime++
		}
	}
	if due < l.from || due >= l.to {
		return
	}
	s.requests++
	if o.opened {
		s.opened++
	}
	if o.resumed {
		s.resumed++
	}
	if o.again != nil {
		if s.again++; s.because == nil {
			s.because, s.againAt = o.again, ended
		}
	}
	if o.status != 0 {
		s.status[o.status]++
	}
	if o.err != nil {
		s.errors[o.kind]++
		if s.first == nil {
			s.first, s.firstAt = o.err, ended
		}
		if o.kind != ErrTimeout {
			return
		}
	} else {
		s.answered++
	}
	record(s.service, ended-sent, 1)
	record(s.response, ended-due, 1)
}

// result adds the sheets up. Nobody writes on them any more.
func (l *httpLoop) result(m *meter, ended time.Duration) *HTTPRun {
	run := &HTTPRun{
		Protocol: l.Protocol, Asked: l.Rate, Elapsed: max(ended-l.from, 0), CPU: m.cpu, Server: m.server,
		Errors: make(map[ErrorKind]int64), Status: make(map[int]int64), Service: newHTTPHistogram(), Response: newHTTPHistogram(),
	}
	var firstAt, againAt time.Duration
	for i := range l.sheets {
		s := &l.sheets[i]
		run.Requests += s.requests
		run.Answered += s.answered
		run.InTime += s.inTime
		run.Bytes += s.bytes
		run.Opened += s.opened
		run.Resumed += s.resumed
		run.Again += s.again
		for k, n := range s.errors {
			run.Errors[k] += n
		}
		for k, n := range s.status {
			run.Status[k] += n
		}
		if s.first != nil && (run.First == nil || s.firstAt < firstAt) {
			run.First, firstAt = s.first, s.firstAt
		}
		if s.because != nil && (run.Because == nil || s.againAt < againAt) {
			run.Because, againAt = s.because, s.againAt
		}
		run.Service.Merge(s.service)
		run.Response.Merge(s.response)
	}
	return run
}
