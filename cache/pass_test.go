package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"hither/cache"
)

// pattern is a body in which every byte can be told to be in its place.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return p
}

// A body of unknown length that grows past the limit is passed through: never further
// ahead of its slowest reader than the window, every byte to every reader, not stored.
func TestGrowingPastMaxObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		b := newBed(t, newTable(most))
		body := pattern(8 << 20)
		readers := []*cache.Reader{b.join("/"), b.join("/"), b.join("/")}
		c := b.origin.next()
		go func() {
			c.head(200, -1, "Cache-Control", "max-age=60")
			c.write(body)
			c.end()
		}()
		state(t, readers[0], cache.Streaming)
		synctest.Wait() // nobody reads: the fill has stopped where it must
		ahead := c.body.read.Load()
		if bound := int64(cache.Window + cache.MostChunk); ahead > bound || ahead < cache.Window/2 {
			t.Errorf("the origin is %d bytes ahead of readers that have none, bound %d", ahead, bound)
		}
		// What waits for its readers takes memory whether or not it will be stored.
		if held := b.Held(); held < ahead || held > ahead+cache.MostChunk {
			t.Errorf("%d bytes accounted, %d wait for readers", held, ahead)
		}
		if l := b.look("/"); !l.Pass {
			t.Error("the next request would try to keep it again")
		}

		// The slowest decides, wherever the others are.
		var got [3][]byte
		pull := func(i, n int) {
			for n > 0 {
				p, err := readers[i].Next(t.Context(), -1)
				if err != nil {
					t.Fatalf("reader %d after %d bytes: %v", i, len(got[i]), err)
				}
				got[i] = append(got[i], p...)
				n -= len(p)
			}
		}
		pull(1, int(ahead))
		pull(2, int(ahead)/2)
		synctest.Wait()
		if now := c.body.read.Load(); now != ahead {
			t.Errorf("one reader has nothing yet, and the origin went on by %d", now-ahead)
		}
		pull(0, 2<<16)
		synctest.Wait()
		if now := c.body.read.Load(); now <= ahead || now > ahead+3<<16 {
			t.Errorf("the slowest took %d, and the origin went on by %d", len(got[0]), now-ahead)
		}
		// One that leaves holds nobody up.
		readers[0].Close()
		var wg sync.WaitGroup
		for i := 1; i < 3; i++ {
			wg.Go(func() {
				for {
					p, err := readers[i].Next(t.Context(), -1)
					got[i] = append(got[i], p...)
					if err == io.EOF {
						return
					}
					if err != nil {
						t.Errorf("reader %d: %v", i, err)
						return
					}
				}
			})
		}
		wg.Wait()
		for i := 1; i < 3; i++ {
			if !bytes.Equal(got[i], body) {
				t.Errorf("reader %d has %d bytes, wrong ones or too few", i, len(got[i]))
			}
			readers[i].Close()
		}
		if b.look("/").Object != nil {
			t.Error("stored")
		}
		b.idle()
	})
}

// When the last reader of what is not kept leaves, the origin is told.
func TestPassThroughEndsWithItsLastReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(64<<10))
		one, two := b.join("/"), b.join("/")
		c := b.origin.next()
		go func() {
			c.head(200, -1, "Cache-Control", "max-age=60")
			c.body.w.Write(make([]byte, 100<<10)) // and then nothing: the fill waits for more
		}()
		state(t, one, cache.Streaming)
		synctest.Wait()
		one.Close()
		synctest.Wait()
		if c.ctx.Err() != nil {
			t.Fatal("ended while one was reading")
		}
		two.Close()
		<-c.ctx.Done()
		<-c.body.gone
		synctest.Wait()
		b.idle()
	})
}

func TestKnownTooLarge(t *testing.T) {
	for name, change := range map[string]func(*bed){
		"store":  func(*bed) {},
		"policy": func(b *bed) { b.policy.MaxObject = 100 },
		"budget": func(b *bed) {
			b.Cache = cache.New(cache.Config{Store: newTable(64 << 20), Now: b.clock.now, Filling: 1 << 20})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, newTable(1<<20))
			change(b)
			length := int64(2 << 20)
			if b.policy.MaxObject > 0 {
				length = 101
			}
			leader, other := b.join("/"), b.join("/")
			defer leader.Close()
			defer other.Close()
			c := b.origin.next()
			go c.head(200, length, "Cache-Control", "max-age=60")
			if h := state(t, leader, cache.Alone); h.Reason != cache.ReasonTooLarge || h.Response == nil {
				t.Errorf("head %+v", h)
			}
			state(t, other, cache.Alone)
			b.idle()
		})
	}
}

func TestExactlyTheLargest(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.policy.MaxObject = 5
	b.fill("/", "hello")
	if b.stored("/") != "hello" {
		t.Error("not stored")
	}
}

// Bodies whose end only the connection's end marks may be whole or not: they are passed on.
func TestUnframedIsNotStored(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	w := b.want("/")
	fetch := w.Fetch
	w.Fetch = func(ctx context.Context, v http.Header, early func(int, http.Header)) (*http.Response, error) {
		resp, err := fetch(ctx, v, early)
		resp.ProtoMajor, resp.ProtoMinor = 1, 1
		return resp, err
	}
	r := b.Join(t.Context(), w)
	defer r.Close()
	go b.origin.next().head(200, -1, "Cache-Control", "max-age=60")
	if h := state(t, r, cache.Alone); h.Reason != cache.ReasonUnframed {
		t.Errorf("reason %q", h.Reason)
	}
}

// Fills that find the budget used up are passed through, and give back what they had.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(64<<20))
		const n, size = 4, 6 << 20 // the budget has room for two whole and a part
		readers := make([]*cache.Reader, n)
		calls := make([]*call, n)
		for i := range n {
			readers[i] = b.join(fmt.Sprintf("/%d", i))
			calls[i] = b.origin.next()
			go func() {
				calls[i].head(200, size, "Cache-Control", "max-age=60")
				calls[i].body.w.Write(make([]byte, size-1))
			}()
			state(t, readers[i], cache.Streaming)
			synctest.Wait()
			if b.Held() > 16<<20 {
				t.Errorf("%d bytes held", b.Held())
			}
		}
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				got := 0
				for got < size {
					p, err := readers[i].Next(t.Context(), -1)
					if err != nil {
						t.Errorf("reader %d after %d: %v", i, got, err)
						return
					}
					if got += len(p); got == size-1 {
						calls[i].write([]byte("x"))
						calls[i].end()
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		stored := 0
		for i := range n {
			readers[i].Close()
			if b.look(fmt.Sprintf("/%d", i)).Object != nil {
				stored++
			}
			if b.look(fmt.Sprintf("/%d", i)).Pass {
				t.Error("a lack of memory is no word about the response")
			}
		}
		if stored != 2 {
			t.Errorf("%d stored, want 2", stored)
		}
		b.idle()
	})
}
