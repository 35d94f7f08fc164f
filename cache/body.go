package cache

import (
	"bytes"
	"context"
	"io"
	"slices"
	"time"
)

// window is how far the origin may be ahead of the slowest reader of a body that is
// not being kept: enough for a reader on a far network to stay busy.
const window = 1 << 20

// A chunk is a piece of the body. Bytes below len(data) never change.
type chunk struct {
	start    int64
	data     []byte
	reserved bool // cap(data) is part of what its fill holds
}

// Chunks start small where the length is unknown and double; most means that a large
// body wastes at most its last chunk.
const (
	firstChunk = 4 << 10
	mostChunk  = 64 << 10
)

// page is what Go's allocator rounds up to above 32 KiB; its multiples up to there are sizes that it has.
const page = 8 << 10

// fitting is how many of the next n bytes of a body of whole bytes go into one chunk, so that what the allocator adds to its
// chunks is below a twentieth of a body above 32 KiB: a chunk of 33 KiB would take 40. The rest is below a page, for which it has
// finer sizes.
func fitting(n, whole int64) int64 {
	if whole > 4*page && n > page && -n&(page-1) > whole/32 {
		return n &^ (page - 1)
	}
	return n
}

// copyBody takes the body as it comes. It returns nil when all of it came.
func (f *Fill) copyBody(ctx context.Context, body io.Reader) error {
	for {
		if f.length >= 0 && f.size == f.length {
			return atEnd(body)
		}
		f.judge(false)
		room, err := f.room(ctx)
		if err != nil {
			return err
		}
		n, err := body.Read(room)
		f.grow(n)
		switch {
		case err == io.EOF && f.length >= 0 && f.size != f.length:
			return ErrLength
		case err == io.EOF:
			f.judge(true)
			return nil
		case err != nil:
			return err
		}
	}
}

// atEnd expects nothing more of a body.
func atEnd(body io.Reader) error {
	var more [1]byte
	switch n, err := io.ReadFull(body, more[:]); {
	case n > 0:
		return ErrLength
	case err == io.EOF:
		return nil
	default:
		return err
	}
}

// room returns where the next bytes go. Only the fill's goroutine calls it. While the
// body is not being kept it waits for the slowest reader, but not longer than the others
// can be asked to, and ends when none is left.
func (f *Fill) room(ctx context.Context) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		ahead := int64(0)
		if !f.keep {
			ahead = f.size - f.trim()
			if len(f.readers) == 0 {
				return nil, context.Canceled
			}
		}
		if ahead < window {
			if tail := f.tail(); len(tail) < cap(tail) {
				return tail[len(tail):cap(tail)], nil
			}
			// Where everybody has read everything it goes on without room: nobody else
			// could make some for it.
			n := f.nextChunk()
			reserved := f.reserve(n)
			if reserved || !f.keep && ahead == 0 {
				f.chunks = append(f.chunks, chunk{f.size, make([]byte, 0, n), reserved})
				return f.tail()[:n], nil
			}
			if f.keep {
				f.unkeep(ReasonMemory, nil)
				continue
			}
		}
		if err := f.waitForSlowest(ctx); err != nil {
			return nil, err
		}
	}
}

// tail returns the last chunk's bytes.
func (f *Fill) tail() []byte {
	if len(f.chunks) == 0 {
		return nil
	}
	return f.chunks[len(f.chunks)-1].data
}

// nextChunk is the size of the next chunk.
func (f *Fill) nextChunk() int64 {
	n := int64(firstChunk)
	if tail := f.tail(); tail != nil {
		n = int64(cap(tail)) * 2
	}
	if f.length >= 0 {
		n = f.length - f.size
	}
	return fitting(min(n, mostChunk), f.length)
}

// largeShare is the part of the budget, 1/largeShare, above which a fill is a large one, and
// which large ones leave to others: else one download from a slow origin would keep
// everything that comes meanwhile from being stored.
const largeShare = 8

// mostFilled is the largest body that finds room in the budget.
func (c *Cache) mostFilled() int64 { return c.filling - c.filling/largeShare }

// reserve takes n bytes of the budget that all fills share.
func (f *Fill) reserve(n int64) bool {
	c, most := f.c, f.c.filling
	if f.held+n > most/largeShare {
		most = c.mostFilled()
	}
	if c.held.Add(n) > most {
		c.held.Add(-n)
		c.short.Store(int64(time.Since(c.began)) | 1) // not 0
		return false
	}
	f.held += n
	return true
}

// waitForSlowest waits until a reader has moved. The time for which somebody who has read
// everything waits for somebody who has not is counted; when it passes the limit, those
// who are a whole window behind are cut off. So are those who take nothing at all while
// another fill finds no room: else two clients that stall could keep everybody else's
// bodies from being stored. f.mu is held before and after.
func (f *Fill) waitForSlowest(ctx context.Context) error {
	held := false // a reader waits for another
	for r := range f.readers {
		held = held || r.pos == f.size
	}
	wake, began, patience := f.wake, time.Now(), f.c.patience
	limit := patience
	if held {
		limit = max(0, patience-f.waited)
	}
	timer := time.NewTimer(limit)
	f.mu.Unlock()
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	f.mu.Lock()
	if held {
		f.waited += time.Since(began)
	}
	if f.waited >= patience {
		f.waited = 0
		f.cut(func(r *Reader) bool { return f.size-r.pos >= window })
	}
	if f.c.wasShort(patience) {
		f.cut(func(r *Reader) bool { return f.size-r.pos > mostChunk && time.Since(r.moved) >= patience })
	}
	return ctx.Err()
}

// cut ends the readers that are too slow. f.mu is held.
func (f *Fill) cut(slow func(*Reader) bool) {
	before := len(f.readers)
	for r := range f.readers {
		if slow(r) {
			r.cut = true
			delete(f.readers, r)
		}
	}
	if len(f.readers) < before {
		f.broadcast()
	}
}

// wasShort reports whether a fill found no room within the last d.
func (c *Cache) wasShort(d time.Duration) bool {
	at := c.short.Load()
	return at != 0 && time.Since(c.began)-time.Duration(at) <= d
}

// judge stops keeping what turns out to be larger than may be stored. Of a body whose length nobody knew the store is asked by
// what has come, chunk by chunk and at its end: else it would be stored at the price of whatever is in its way. Only the
// fill's goroutine calls it.
func (f *Fill) judge(ended bool) {
	if !f.keep {
		return
	}
	var marker *Object
	tail := f.tail()
	due := ended || tail != nil && len(tail) == cap(tail)
	switch {
	case f.outgrown(): // the next response will be as well
		marker = f.pass(f.object.Key, f.c.now())
	case f.length >= 0, f.reason != "", !due, f.admitted(f.object, f.size):
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unkeep(ReasonTooLarge, marker)
}

// outgrown reports whether what has come is more than may be kept.
func (f *Fill) outgrown() bool {
	if f.part != nil { // whose length is known and was judged before
		return false
	}
	return f.object.Size()+f.size > f.c.store.MaxObject() || f.want.Policy.MaxObject > 0 && f.size > f.want.Policy.MaxObject
}

// unkeep turns to passing the body through: nobody joins any more. marker, where not nil, is stored. f.mu is held before
// and after, but not while the flight is removed, for Cache.mu comes first.
func (f *Fill) unkeep(why Reason, marker *Object) {
	if f.reason == "" {
		f.reason = why
	}
	func() {
		f.mu.Unlock()
		defer f.mu.Lock()
		f.land(marker)
	}()
	f.keep = false
}

// trim drops chunks that every reader has passed and returns the slowest position. A
// reader that stops holds up the others, until its client's write deadline ends it: the
// only other choice would be to cut it off.
func (f *Fill) trim() int64 {
	slowest := f.size
	for r := range f.readers {
		slowest = min(slowest, r.pos)
	}
	n := 0
	for n < len(f.chunks)-1 && f.chunks[n+1].start <= slowest {
		n++
	}
	for _, c := range f.chunks[:n] {
		if c.reserved {
			f.held -= int64(cap(c.data))
			f.c.held.Add(-int64(cap(c.data)))
		}
	}
	f.chunks = slices.Delete(f.chunks, 0, n)
	return slowest
}

// grow publishes n bytes that were read into the last chunk.
func (f *Fill) grow(n int) {
	if n == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	last := &f.chunks[len(f.chunks)-1]
	last.data = last.data[:len(last.data)+n]
	f.size += int64(n)
	f.broadcast()
}

// repack copies the last chunk of a body of whole bytes into memory that is no larger than need be.
func repack(last chunk, whole int64) []chunk {
	n := fitting(int64(len(last.data)), whole)
	chunks := []chunk{{last.start, slices.Clip(bytes.Clone(last.data[:n])), last.reserved}}
	if rest := last.data[n:]; len(rest) > 0 {
		chunks = append(chunks, chunk{last.start + n, slices.Clip(bytes.Clone(rest)), last.reserved})
	}
	return chunks
}

// whole returns the object with its body, in chunks that waste little. f.mu is held.
func (f *Fill) whole() *Object {
	o := f.object
	if n := len(f.chunks); n > 0 {
		if last := f.chunks[n-1]; cap(last.data)-len(last.data) > int(f.size/32) {
			f.chunks = append(f.chunks[:n-1], repack(last, f.size)...)
		}
	}
	var body Body
	if large := f.c.loose.content(f.chunks); large != nil {
		body.more = &parts{size: f.size, large: large}
	} else {
		chunks := make([][]byte, len(f.chunks))
		for i, c := range f.chunks {
			chunks[i] = c.data
		}
		body = NewBody(chunks...)
	}
	return &Object{
		Key: o.Key, Kind: o.Kind, Status: o.Status, Fields: o.Fields, Body: body, Request: o.Request, Received: o.Received,
		Age: o.Age, Lifetime: o.Lifetime, NoCache: o.NoCache, WhileRevalidate: o.WhileRevalidate, IfError: o.IfError,
		tags: o.tags,
	}
}
