package cache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// A Walk reads the body of a sliced response, for one request: what is stored from the store, and what is not from the fill of
// the slice, which is the origin's one answer for all who want it. It holds no more than the slice that it is at, and asks for
// the next one before it gets there. It belongs to the request's goroutine.
type Walk struct {
	// Asked tells that the request asked the origin for a slice, Joined that it waited for another's.
	Asked, Joined bool
	// Stored: the first slice asked for will be stored when it is whole.
	Stored   bool
	Upstream int           // the origin's status for the first slice asked for or waited for; 0 = none was
	Wait     time.Duration // what that took, from the request to the origin to its field section

	c      *Cache
	ctx    context.Context
	want   Want
	part   part    // the slice it is at
	stored *Object // where that is stored
	fill   *Reader // else
	taken  int64   // bytes of the slice up to where that was read
	given  int64   // bytes so far
	asked  int64   // the slice that was last asked for ahead
	depth  int64   // how many are asked for ahead
}

// aheadOf is the share of a slice, 1/aheadOf, that a client must have taken before the next one is asked for: one that looks
// at a place and goes on to another should not cost the origin two slices.
const aheadOf = 2

// mostAhead bounds how many slices are asked for ahead. A walk begins with one, and asks for one more each time that it comes to
// a slice which it had asked for and which has not come whole, of an origin that is far: its client is faster than the line. So clients that share
// a line to an origin come to ask for the same number, and get the same share. Three of 4 MiB are the product of 200 ms and 500 Mbit/s.
const mostAhead = 3

// far is how long it takes at least from a request until the field section is there, where the origin counts as far. What is nearer fills any line
// with one slice ahead, which is 670 Mbit/s for 4 MiB at 50 ms, and more would be memory alone.
const far = 50 * time.Millisecond

// Walk begins a walk through a manifest's slices. want says how the origin is asked; its Look does not count. r, where not
// nil, is a reader of a fill that was Sliced into this manifest; the walk closes it. Close ends the walk.
func (c *Cache) Walk(ctx context.Context, want Want, manifest *Object, r *Reader) *Walk {
	w := &Walk{c: c, ctx: ctx, want: want, fill: r, asked: -1, depth: 1, part: part{manifest: manifest, layout: manifest.Layout(), index: -1}}
	if r != nil {
		r.f.mu.Lock()
		w.part.layout, w.part.index = r.f.part.layout, r.f.part.index
		w.Asked, w.Joined, w.Upstream, w.Wait = r.leader, !r.leader, r.f.upstream, r.f.wait
		w.Stored = r.leader && r.f.keep
		r.f.mu.Unlock()
	}
	return w
}

// Close gives the walk up. What it asked for goes on as any fill does.
func (w *Walk) Close() {
	if w.fill != nil {
		w.fill.Close()
	}
	w.fill, w.stored, w.taken, w.part.index = nil, nil, 0, -1
}

// Live reports whether the walk is at a slice that is still arriving, so that its pieces should be passed on at once.
func (w *Walk) Live() bool { return w.fill != nil }

// Open goes to the slice with the byte at off, and waits until it is there or known to come. The error may be ErrVersion,
// ErrSlice or ErrRefused, and the origin's.
func (w *Walk) Open(off int64) error {
	index := off / w.part.layout.Slice
	if index == w.part.index {
		return nil
	}
	w.Close()
	w.part.index = index
	var err error
	for try := range walkTries {
		if w.stored = w.part.in(live{w.c}); w.stored != nil {
			return nil
		}
		if err = w.join(try == walkTries-1); err == nil && w.fill != nil {
			return nil
		}
		if err != nil && !errors.Is(err, errOthers) {
			break
		}
	}
	w.part.index = -1
	return err
}

// walkTries bounds how often a slice is looked for that came and went in between; the last time the walk asks for itself.
const walkTries = 4

// errOthers wraps what went wrong with another request's fill for a reason that is that request's own.
var errOthers = errors.New("cache: another request was refused")

// join joins or leads the fill of the slice. It leaves w.fill nil where the slice has come meanwhile.
func (w *Walk) join(solo bool) error {
	r := w.c.Join(w.ctx, w.slice(w.part.index, solo))
	if r == nil {
		return nil
	}
	late := w.asked >= w.part.index && !r.over()
	h, err := r.Head(w.ctx, nil)
	if late && err == nil && h.Wait >= far {
		w.depth = min(w.depth+1, mostAhead)
	}
	if err == nil && h.State == Erred {
		err = h.Err
		if !r.leader && (errors.Is(err, ErrRefused) || errors.Is(err, StatusError(http.StatusTooEarly))) { // RFC 8470: about its early data
			err = errOthers
		}
	}
	if err != nil {
		r.Close()
		return err
	}
	if w.Upstream == 0 {
		w.Upstream, w.Wait, w.Stored = h.Upstream, h.Wait, h.Stored
	}
	w.Asked, w.Joined = w.Asked || h.Leader, w.Joined || !h.Leader
	w.fill = r
	return nil
}

// slice is the Want of a slice.
func (w *Walk) slice(index int64, solo bool) Want {
	p := &part{w.part.manifest, w.part.layout, index}
	want := w.want
	want.part, want.Solo, want.Ranged = p, solo, false
	want.Look = Look{Key: p.key(), sequence: w.c.sequence.Load()}
	return want
}

// Range calls yield with the pieces of n bytes from offset off, as [Body.Range] does. The error is nil, the origin's, or one
// of ErrVersion, ErrSlice, ErrRefused and ErrBehind; or ctx's. Pieces may be read only.
func (w *Walk) Range(off, n int64, yield func([]byte) bool) error {
	anew := 0
	for end := off + n; off < end; {
		if w.fill != nil && off%w.part.layout.Slice < w.taken { // what was read of it may be gone
			w.Close()
		}
		if err := w.Open(off); err != nil {
			return err
		}
		s := w.part.layout.span(w.part.index)
		until := min(end, s.last+1)
		more := true
		give := func(piece []byte) bool {
			w.given += int64(len(piece))
			w.ahead((end - 1) / w.part.layout.Slice)
			more = yield(piece)
			return more
		}
		before, deep := w.given, w.stored != nil && w.stored.Body.Deep()
		err := w.read(off-s.first, until-s.first, give)
		if w.given > before {
			anew = 0 // the next one that cannot be read is another
		}
		off += w.given - before
		switch {
		case !more:
			return nil
		case err != nil && deep && anew < walkTries: // where it lay it cannot be read any more, and what comes anew is the same
			anew++
			w.Close()
		case err != nil:
			return err
		case off != until:
			return ErrLength
		}
	}
	return nil
}

// read gives bytes from to until of the slice.
func (w *Walk) read(from, until int64, give func([]byte) bool) error {
	if w.stored != nil {
		return w.stored.Body.Range(from, until-from, give)
	}
	w.fill.Skip(from)
	w.taken = until
	for {
		piece, err := w.fill.Next(w.ctx, until)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !give(piece):
			return nil
		}
	}
}

// ahead asks for the next slices, up to the last that is wanted, once the client has shown that it reads on, and leaves them to
// be stored: they are not held for this walk, which may be slow. What would not be stored is not asked for.
func (w *Walk) ahead(last int64) {
	if w.given < w.part.layout.Slice/aheadOf {
		return
	}
	if w.asked < w.part.index || w.asked > w.part.index+mostAhead { // it went elsewhere
		w.asked = w.part.index
	}
	for w.asked < min(w.part.index+w.depth, last) {
		w.asked++
		p := &part{w.part.manifest, w.part.layout, w.asked}
		if p.in(peeking{w.c}) != nil || !w.c.lives(p) {
			continue
		}
		if r := w.c.Join(w.ctx, w.slice(w.asked, false)); r != nil {
			r.Close()
		}
	}
}

// spans yields the parts of the body that the selection sends, in order, until yield returns false.
func (s Selection) spans(yield func(offset, length int64) bool) {
	if s.Multi == nil {
		yield(s.Offset, s.Length)
		return
	}
	for _, p := range s.Multi.Parts {
		if !yield(p.Offset, p.Length) {
			return
		}
	}
}

// Lacks reports whether a slice that the selection needs of a manifest's is not stored. It looks at no more than the first 64:
// a store may have to read something of each.
func (c *Cache) Lacks(manifest *Object, s Selection) (lacks bool) {
	looked := 0
	c.eachSlice(manifest, s, func(_ int64, stored bool) bool {
		looked++
		lacks = !stored
		return stored && looked < mostLooked
	})
	return lacks
}

// mostLooked: see Lacks.
const mostLooked = 64

// A Share is what of a sliced response is stored, of what a selection needs.
type Share struct {
	Layout
	First, Last int64   // the slices that it needs lie among those, from 0
	Needed      int64   // slices
	Stored      int64   // of those; of the first 4096
	Missing     []int64 // the first that are not, at most 16
}

// What an operator is told of a response's slices.
const (
	mostShared  = 1 << 12
	mostMissing = 16
)

// Share tells an operator which slices are there. It counts as no hit.
func (c *Cache) Share(manifest *Object, s Selection) Share {
	x := Share{Layout: manifest.Layout(), First: -1}
	if x.Layout == (Layout{}) || s.Length <= 0 {
		return x
	}
	looked := 0
	c.eachSlice(manifest, s, func(i int64, stored bool) bool {
		switch {
		case stored:
			x.Stored++
		case len(x.Missing) < mostMissing:
			x.Missing = append(x.Missing, i)
		}
		looked++
		return looked < mostShared
	})
	for offset, length := range s.spans {
		first, last := offset/x.Slice, (offset+length-1)/x.Slice
		if x.First < 0 || first < x.First {
			x.First = first
		}
		x.Last = max(x.Last, last)
		x.Needed += last - first + 1
	}
	return x
}

// eachSlice yields the slices that the selection needs, some perhaps twice, until yield returns false.
func (c *Cache) eachSlice(manifest *Object, s Selection, yield func(index int64, stored bool) bool) {
	p := part{manifest: manifest, layout: manifest.Layout()}
	if p.layout == (Layout{}) || s.Length <= 0 {
		return
	}
	for offset, length := range s.spans {
		for p.index = offset / p.layout.Slice; p.index <= (offset+length-1)/p.layout.Slice; p.index++ {
			if !yield(p.index, p.in(peeking{c}) != nil) {
				return
			}
		}
	}
}
