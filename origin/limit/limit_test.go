package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Many at once, on the machine's own clock and threads: never more in than the limit, and all are answered.
func TestConcurrentUse(t *testing.T) {
	l := New(Config{Concurrent: 4, Waiting: 1000, Wait: time.Minute})
	var in, most, served atomic.Int32
	var work sync.WaitGroup
	for i := range 64 {
		work.Go(func() {
			for range 200 {
				p, err := l.Enter(t.Context(), Class(i%8/7)) // one of eight in the background
				if err != nil {
					continue
				}
				for n := in.Add(1); ; {
					if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
						break
					}
				}
				served.Add(1)
				_ = l.Status()
				in.Add(-1)
				p.Leave(Sample{FirstByte: time.Microsecond, Good: true})
			}
		})
	}
	work.Wait()
	if n := most.Load(); n > 4 {
		t.Errorf("%d in at once, the limit is 4", n)
	}
	s := l.Status()
	if n := served.Load(); n < 56*200-int32(s.RefusedTotal["late"]) || s.In != 0 || s.Waiting != 0 {
		t.Errorf("%d of %d served, %+v", n, 64*200, s)
	}
}

func BenchmarkEnter(b *testing.B) {
	l := New(Config{})
	b.ReportAllocs()
	for b.Loop() {
		p, err := l.Enter(b.Context(), Foreground)
		if err != nil {
			b.Fatal(err)
		}
		p.Leave(Sample{FirstByte: time.Millisecond, Good: true})
	}
}
