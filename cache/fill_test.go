package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"hither/cache"
)

func TestTenThousandJoinsAskOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		const n = 10000
		b := newBed(t, s)
		var joined, read1 sync.WaitGroup
		joined.Add(n)
		wrong := make(chan string, n)
		for range n {
			read1.Go(func() {
				r := b.Join(t.Context(), b.want("/"))
				joined.Done()
				if r == nil {
					wrong <- "look again"
					return
				}
				defer r.Close()
				if got, err := read(t, r); got != "hello" || err != nil {
					wrong <- fmt.Sprintf("%q, %v", got, err)
				}
			})
		}
		c := b.origin.next()
		joined.Wait()
		c.fresh("hello")
		read1.Wait()
		close(wrong)
		for w := range wrong {
			t.Fatalf("a reader got %s", w)
		}
		b.origin.count(1)
		if got := b.Collapsed(); got != n-1 {
			t.Errorf("collapsed %d, want %d", got, n-1)
		}
		if b.stored("/") != "hello" {
			t.Error("not stored")
		}
		b.idle()
	})
}

func TestSecondReaderStreamsWhileTheFillGoesOn(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		b := newBed(t, s)
		first := b.join("/")
		defer first.Close()
		c := b.origin.next()
		go c.head(200, 2048, "Cache-Control", "max-age=60")
		if h := state(t, first, cache.Streaming); !h.Leader || !h.Stored || h.Length != 2048 {
			t.Errorf("leader's head %+v", h)
		}
		c.write(make([]byte, 1024))
		// The second comes late and has the first KiB before the origin sends more.
		second := b.join("/")
		defer second.Close()
		if h := state(t, second, cache.Streaming); h.Leader || h.Stored {
			t.Errorf("second's head %+v", h)
		}
		for got := 0; got < 1024; {
			p, err := second.Next(t.Context(), -1)
			if err != nil {
				t.Fatal(err)
			}
			got += len(p)
		}
		c.write([]byte(strings.Repeat("x", 1024)))
		c.end()
		if got, err := read(t, second); err != nil || got != strings.Repeat("x", 1024) {
			t.Errorf("the rest: %d bytes, %v", len(got), err)
		}
		if got, err := read(t, first); err != nil || len(got) != 2048 {
			t.Errorf("the leader: %d bytes, %v", len(got), err)
		}
		b.origin.count(1)
		b.idle()
	})
}

func TestLeaderLeaves(t *testing.T) {
	for _, when := range []string{"waiting", "streaming"} {
		t.Run(when, func(t *testing.T) {
			b := newBed(t, newTable(1<<20))
			ctx, leave := context.WithCancel(t.Context())
			leader := b.Join(ctx, b.want("/"))
			other := b.join("/")
			defer other.Close()
			c := b.origin.next()
			if when == "streaming" {
				c.head(200, 5, "Cache-Control", "max-age=60")
				state(t, leader, cache.Streaming)
				c.write([]byte("he"))
			}
			leave()
			if when == "waiting" {
				if _, err := leader.Head(ctx, nil); !errors.Is(err, context.Canceled) {
					t.Errorf("the leader's wait ends with %v", err)
				}
			}
			leader.Close()
			if err := c.ctx.Err(); err != nil {
				t.Fatalf("the fill ended with its leader: %v", err)
			}
			if when == "waiting" {
				go c.fresh("hello")
			} else {
				go func() { c.write([]byte("llo")); c.end() }()
			}
			if got, err := read(t, other); got != "hello" || err != nil {
				t.Errorf("the other reads %q, %v", got, err)
			}
			if b.stored("/") != "hello" {
				t.Error("not stored")
			}
			b.idle()
		})
	}
}

func TestAllLeaveAndItIsStored(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	r := b.join("/")
	r.Close()
	c := b.origin.next()
	c.fresh("hello")
	<-c.body.gone
	if got := b.stored("/"); got != "hello" {
		t.Errorf("stored %q", got)
	}
	if n := c.body.closed.Load(); n != 1 {
		t.Errorf("body closed %d times", n)
	}
}

func TestWaiterGivesUp(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	leader := b.join("/")
	defer leader.Close()
	c := b.origin.next()
	why := errors.New("client gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	waiter := b.Join(ctx, b.want("/"))
	done := make(chan error)
	go func() {
		_, err := waiter.Head(ctx, nil)
		done <- err
	}()
	cancel(why)
	if err := <-done; err != why {
		t.Errorf("Head: %v", err)
	}
	waiter.Close()

	c.head(200, 5, "Cache-Control", "max-age=60")
	state(t, leader, cache.Streaming)
	ctx, cancel = context.WithCancelCause(t.Context())
	reader := b.Join(ctx, b.want("/"))
	state(t, reader, cache.Streaming)
	go func() {
		_, err := reader.Next(ctx, -1)
		done <- err
	}()
	cancel(why)
	if err := <-done; err != why {
		t.Errorf("Next: %v", err)
	}
	reader.Close()

	go func() { c.write([]byte("hello")); c.end() }()
	if got, err := read(t, leader); got != "hello" || err != nil {
		t.Errorf("the leader reads %q, %v", got, err)
	}
	b.idle()
}

func TestFailureFreesAll(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(c *call)
		is     func(error) bool
	}{
		"error": {func(c *call) { c.fail(errReset) }, func(err error) bool { return err == errReset }},
		"panic": {func(c *call) {
			c.answer <- func() (*http.Response, error) { panic("boom") }
		}, func(err error) bool {
			var p *cache.PanicError
			return errors.As(err, &p) && p.Value == "boom" && strings.Contains(string(p.Stack), "fetch") && strings.Contains(p.Error(), "boom")
		}},
		"goexit": {func(c *call) {
			c.answer <- func() (*http.Response, error) { runtime.Goexit(); return nil, nil }
		}, func(err error) bool { return err != nil }},
		"304 to no condition": {func(c *call) { c.head(304, 0) }, func(err error) bool { return err == cache.ErrNotModified }},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s cache.Store) {
				b := newBed(t, s)
				var wg sync.WaitGroup
				for range 10 {
					r := b.join("/")
					wg.Go(func() {
						defer r.Close()
						if h, err := r.Head(t.Context(), nil); err != nil || h.State != cache.Erred || !test.is(h.Err) {
							t.Errorf("head %+v, %v", h, err)
						}
					})
				}
				test.answer(b.origin.next())
				wg.Wait()
				b.origin.count(1)
				b.idle()
				b.fill("/", "hello") // the next request begins anew
				b.origin.count(2)
			})
		})
	}
}

func TestPanicInBody(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	w := b.want("/")
	w.Fetch = func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Cache-Control": {"max-age=60"}}, ContentLength: 9, Body: bomb{}}, nil
	}
	r := b.Join(t.Context(), w)
	defer r.Close()
	var p *cache.PanicError
	if got, err := read(t, r); !errors.As(err, &p) || got != "" {
		t.Errorf("read %q, %v", got, err)
	}
	if b.stored("/") != "" {
		t.Error("stored")
	}
	b.idle()
}

type bomb struct{}

func (bomb) Read([]byte) (int, error) { panic("boom") }
func (bomb) Close() error             { return nil }

func TestOnlyWholeBodiesAreStored(t *testing.T) {
	for name, test := range map[string]struct {
		length int64
		body   string
		cut    bool
		got    string
		err    error
	}{
		"whole":              {5, "hello", false, "hello", nil},
		"unknown length":     {-1, "hello", false, "hello", nil},
		"empty":              {0, "", false, "", nil},
		"short":              {6, "hello", false, "hello", cache.ErrLength},
		"long":               {4, "hello", false, "hell", cache.ErrLength},
		"more than nothing":  {0, "hello", false, "", cache.ErrLength},
		"reset":              {6, "hello", true, "hello", errReset},
		"reset at the end":   {5, "hello", true, "hello", errReset},
		"reset, no length":   {-1, "hello", true, "hello", errReset},
		"reset at the start": {5, "", true, "", errReset},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s cache.Store) {
				b := newBed(t, s)
				leader, other := b.join("/"), b.join("/")
				defer leader.Close()
				defer other.Close()
				c := b.origin.next()
				go func() {
					c.head(200, test.length, "Cache-Control", "max-age=60")
					c.body.w.Write([]byte(test.body))
					if test.cut {
						c.cut()
					} else {
						c.end()
					}
				}()
				for _, r := range []*cache.Reader{leader, other} {
					if got, err := read(t, r); got != test.got || err != test.err {
						t.Errorf("read %q, %v, want %q, %v", got, err, test.got, test.err)
					}
				}
				if stored := b.look("/").Object != nil; stored != (test.err == nil) {
					t.Errorf("stored: %v", stored)
				}
				b.idle()
				<-c.body.gone
				if n := c.body.closed.Load(); n != 1 {
					t.Errorf("body closed %d times", n)
				}
			})
		})
	}
}

func TestRangeReaders(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	leader, part := b.join("/"), b.join("/")
	defer leader.Close()
	defer part.Close()
	c := b.origin.next()
	go c.head(200, 10, "Cache-Control", "max-age=60")
	state(t, part, cache.Streaming)
	part.Skip(4)
	// It is answered as soon as its bytes are there.
	c.write([]byte("0123456"))
	var got []byte
	for {
		p, err := part.Next(t.Context(), 6)
		got = append(got, p...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "45" {
		t.Errorf("part %q", got)
	}
	c.write([]byte("789"))
	c.end()
	if got, err := read(t, leader); got != "0123456789" || err != nil {
		t.Errorf("whole %q, %v", got, err)
	}
}

func TestInterimResponses(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	leader, other := b.join("/"), b.join("/")
	defer leader.Close()
	defer other.Close()
	c := b.origin.next()
	for i := range 2 * cache.MostInterim {
		c.early(103, http.Header{"Link": {fmt.Sprint(i)}})
	}
	go c.fresh("hello")
	for _, r := range []*cache.Reader{leader, other} {
		var links []string
		if _, err := r.Head(t.Context(), func(status int, h http.Header) {
			if status != 103 {
				t.Errorf("status %d", status)
			}
			links = append(links, h.Get("Link"))
		}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(links, " "); got != "0 1 2 3 4 5 6 7" {
			t.Errorf("interim responses %s", got)
		}
		if got, err := read(t, r); got != "hello" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	}
}
