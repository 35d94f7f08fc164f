package cache

import (
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
	start int64
	data  []byte
}

// Chunks start small where the length is unknown and double; most means that a large
// body wastes at most its last chunk.
const (
	firstChunk = 4 << 10
	mostChunk  = 64 << 10
)

// copyBody takes the body as it comes. It returns nil when all of it came.
func (f *Fill) copyBody(ctx context.Context, body io.Reader) error {
	for {
		if f.length >= 0 && f.size == f.length {
			return atEnd(body)
		}
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
	if f.keep {
		if why := f.over(); why != "" {
			f.unkeep(why)
		}
	}
	for !f.keep {
		slowest := f.trim()
		if len(f.readers) == 0 {
			return nil, context.Canceled
		}
		if f.size-slowest < window {
			break
		}
		if err := f.waitForSlowest(ctx); err != nil {
			return nil, err
		}
	}
	if n := len(f.chunks); n > 0 {
		if tail := f.chunks[n-1].data; len(tail) < cap(tail) {
			return tail[len(tail):cap(tail)], nil
		}
	}
	next := int64(firstChunk)
	if n := len(f.chunks); n > 0 {
		next = int64(cap(f.chunks[n-1].data)) * 2
	}
	if f.length >= 0 {
		next = f.length - f.size
	}
	f.chunks = append(f.chunks, chunk{f.size, make([]byte, 0, min(next, mostChunk))})
	tail := f.chunks[len(f.chunks)-1].data
	return tail[:cap(tail)], nil
}

// waitForSlowest waits until a reader has moved. The time for which somebody who has read
// everything waits for somebody who has not is counted; when it passes the limit, those
// who are a whole window behind are cut off. f.mu is held before and after.
func (f *Fill) waitForSlowest(ctx context.Context) error {
	held := false // a reader waits for another
	for r := range f.readers {
		held = held || r.pos == f.size
	}
	wake, began := f.wake, time.Now()
	var limit <-chan time.Time
	if held {
		limit = time.After(max(0, f.c.patience-f.waited))
	}
	f.mu.Unlock()
	select {
	case <-wake:
	case <-limit:
	case <-ctx.Done():
	}
	f.mu.Lock()
	if held {
		f.waited += time.Since(began)
	}
	if f.waited >= f.c.patience {
		f.waited = 0
		for r := range f.readers {
			if f.size-r.pos >= window {
				r.cut = true
				delete(f.readers, r)
			}
		}
		f.broadcast()
	}
	return ctx.Err()
}

// over tells why what has come must not be kept any longer, or reserves the budget for
// what is kept and returns "".
func (f *Fill) over() Reason {
	if f.object.Size()+f.size > f.c.store.MaxObject() || f.want.Policy.MaxObject > 0 && f.size > f.want.Policy.MaxObject {
		return ReasonTooLarge
	}
	// One chunk ahead, so that the budget is never passed by what is being read.
	need := f.size + mostChunk
	if f.length >= 0 {
		need = min(need, f.length)
	}
	more := max(0, need-f.held)
	if f.c.held.Add(more) > f.c.filling && more > 0 {
		f.c.held.Add(-more)
		return ReasonMemory
	}
	f.held += more
	return ""
}

// unkeep turns to passing the body through: nobody joins any more. f.mu is held before
// and after, but not while the flight is removed, for Cache.mu comes first.
func (f *Fill) unkeep(why Reason) {
	if f.reason == "" {
		f.reason = why
	}
	var marker *Object
	if why == ReasonTooLarge { // the next response will be as well
		marker = f.pass(f.object.Key, f.c.now())
	}
	func() {
		f.mu.Unlock()
		defer f.mu.Lock()
		f.land(marker)
	}()
	f.keep = false
	f.release()
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

// whole returns the object with its body, in chunks that waste little.
func (o *Object) whole(chunks []chunk, size int64) *Object {
	body := Body{chunks: make([][]byte, len(chunks)), size: size}
	for i, c := range chunks {
		body.chunks[i] = c.data
	}
	if n := len(chunks); n > 0 {
		if last := chunks[n-1].data; cap(last)-len(last) > int(size/32) {
			body.chunks[n-1] = append(make([]byte, 0, len(last)), last...)
		}
	}
	return &Object{
		Key: o.Key, Status: o.Status, Fields: o.Fields, Body: body, Request: o.Request, Received: o.Received,
		Age: o.Age, Lifetime: o.Lifetime, NoCache: o.NoCache, WhileRevalidate: o.WhileRevalidate, IfError: o.IfError,
	}
}
