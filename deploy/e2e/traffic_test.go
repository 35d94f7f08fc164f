//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Traffic is requests that begin at a steady rate, whatever becomes of those before (an
// open loop): slow answers make no fewer requests. Each is checked.
type traffic struct {
	rate int                                    // requests per second
	most int64                                  // under way at once; one more is not sent and counts as failed
	ask  func(ctx context.Context, k int) error // sends request k, and says what is wrong with its answer

	sent, done atomic.Int64
	stop       context.CancelFunc
	wg         sync.WaitGroup

	mu     sync.Mutex
	failed []failure
}

// A failure is a request without a good answer.
type failure struct {
	k   int
	err error
}

// begin sends until end.
func (l *traffic) begin(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	began := time.Now()
	l.wg.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			// A tick that came late sends what was due meanwhile too.
			due := int64(time.Since(began).Seconds() * float64(l.rate))
			for k := l.sent.Load(); k < due; k++ {
				l.send(int(k))
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(l.end)
}

// send begins request k. It does not end with the others: what has begun is to be answered.
func (l *traffic) send(k int) {
	if l.sent.Add(1)-l.done.Load() > l.most {
		l.fail(k, fmt.Errorf("not sent: %d others wait for their answers", l.most))
		l.done.Add(1)
		return
	}
	l.wg.Go(func() {
		if err := l.ask(context.Background(), k); err != nil {
			l.fail(k, err)
		}
		l.done.Add(1)
	})
}

func (l *traffic) fail(k int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, failure{k, err})
}

// end sends no more, and waits for the answers.
func (l *traffic) end() {
	l.stop()
	l.wg.Wait()
}

// loadTime bounds every wait for a number of requests.
const loadTime = 180 * time.Second

// reach waits until request k begins.
func (l *traffic) reach(t *testing.T, k int) {
	t.Helper()
	if !until(loadTime, func() bool { return l.sent.Load() >= int64(k) }) {
		t.Fatalf("%d requests were sent, not %d", l.sent.Load(), k)
	}
}

// further waits until so many requests that have not begun yet are over, and returns
// the number of the first of them.
func (l *traffic) further(t *testing.T, count int) (first int) {
	t.Helper()
	from := l.sent.Load()
	// At most those sent before may be over as well.
	if !until(loadTime, func() bool { return l.done.Load() >= from+int64(count) }) {
		t.Fatalf("%d requests are over, not %d", l.done.Load(), from+int64(count))
	}
	return int(from)
}

// failures are those of the requests from one to before another.
func (l *traffic) failures(from, to int) (some []failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.failed {
		if from <= f.k && f.k < to {
			some = append(some, f)
		}
	}
	return some
}

// tooMany says that more of the requests failed than may, with the first few.
func tooMany(failed []failure, of int, percent float64) (wrong []string) {
	if float64(len(failed)) <= float64(of)*percent/100 {
		return nil
	}
	wrong = append(wrong, fmt.Sprintf("%d of %d requests failed, more than %v %%", len(failed), of, percent))
	for _, f := range failed[:min(len(failed), 5)] {
		wrong = append(wrong, fmt.Sprintf("request %d: %v", f.k, f.err))
	}
	return wrong
}
