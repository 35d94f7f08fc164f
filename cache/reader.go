package cache

import (
	"context"
	"io"
	"net/http"
	"time"
)

// A Reader is one request's view of a fill. It belongs to that request's goroutine.
type Reader struct {
	f       *Fill
	leader  bool
	part    bool        // a Walk's, which wants the slice and knows the whole
	request FieldReader // for Vary
	seen    int         // interim responses handed over
	stop    func() bool // frees the context of Head; nil where it holds nothing
	pos     int64       // guarded by f.mu: next byte to give
	moved   time.Time   // guarded by f.mu: when it last took something
	cut     bool        // guarded by f.mu: it held up others for too long
}

// reader registers a reader at the beginning. A fill that drops what was read is in no
// table of flights any more, so nobody can come too late.
func (f *Fill) reader(want Want, leader bool) *Reader {
	r := &Reader{f: f, leader: leader, part: want.part != nil, request: want.Request, moved: time.Now()}
	f.mu.Lock()
	f.readers[r] = struct{}{}
	f.mu.Unlock()
	return r
}

// over reports whether nothing more of the body comes.
func (r *Reader) over() bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.f.done
}

// A Head is what a fill has come to.
type Head struct {
	State    State
	Object   *Object        // Streaming (its Body empty, see Length), Refreshed and Sliced (a Manifest)
	Length   int64          // of the body; -1 while unknown
	Upstream int            // Sliced: the origin's status
	Response *http.Response // Alone and, where it is the slice asked for, Unsliced, for the leader only: valid until Close or the end of Head's context
	Reason   Reason
	Err      error         // Erred
	Age      time.Duration // of Object now (RFC 9111 section 4.2.3)
	Wait     time.Duration // from the request to the origin to its field section
	Leader   bool          // this request asked the origin
	Stored   bool          // the response will be stored when it is whole
}

// Head waits for the field section. early, if not nil, is called for each interim
// response that comes before it.
func (r *Reader) Head(ctx context.Context, early func(status int, h http.Header)) (Head, error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for ; r.seen < len(f.interim); r.seen++ {
			if in := f.interim[r.seen]; early != nil {
				f.mu.Unlock()
				early(in.status, in.fields)
				f.mu.Lock()
			}
		}
		if f.state != waiting {
			h := r.head()
			if h.Response != nil && r.stop == nil {
				// It is the leader's alone, so it ends with the leader, who may be waiting for
				// an origin that has nothing to say.
				r.stop = context.AfterFunc(ctx, f.cancel)
			}
			return h, nil
		}
		if err := f.sleep(ctx); err != nil {
			return Head{}, err
		}
	}
}

// head tells this reader what the fill means for it.
func (r *Reader) head() Head {
	f := r.f
	h := Head{State: f.state, Object: f.answer(), Length: f.length, Upstream: f.upstream, Reason: f.reason, Err: f.err, Wait: f.wait, Leader: r.leader}
	comes := f.state == Streaming || f.state == Sliced
	if f.state == Sliced {
		h.Length = f.part.layout.Length
	}
	if h.Object != nil {
		h.Age = h.Object.currentAge(f.c.now())
	}
	switch {
	case r.leader:
		h.Response = f.response
		h.Object = f.mine
		h.Stored = f.reason == "" && (f.state == Refreshed || comes && f.keep)
	case r.part: // it found the manifest, so nothing about that is to be judged
		if comes {
			h.State = Streaming
			f.c.collapsed.Add(1)
		}
	case comes && f.signpost != nil && variant(f.signpost, r.request) != h.Object.Key.Vary:
		h.State = Elsewhere
	case f.state == Alone, (comes || f.state == Refreshed) && !f.shareable():
		h.State, h.Reason, h.Object = Alone, ReasonHitForMiss, nil
	case comes || f.state == Refreshed:
		f.c.collapsed.Add(1)
	}
	return h
}

// answer is the response that the fill has come to: of one in slices the manifest.
func (f *Fill) answer() *Object {
	if f.state == Sliced {
		return f.part.manifest
	}
	return f.object
}

// shareable reports whether the response may answer a request other than the one that
// fetched it: only while it is fresh (RFC 9111 section 4). An error of the origin is
// everybody's who waits for the same answer.
func (f *Fill) shareable() bool {
	if f.reason == ReasonOriginError {
		return true
	}
	o := f.answer()
	return !(f.state == Refreshed && f.reason != "") && !o.NoCache && o.currentAge(f.c.now()) < o.Lifetime
}

// Next returns the next piece of a Streaming fill's body, at most until the given
// position (-1 = the end), waiting for it where need be; io.EOF after the last. The piece
// may be read only.
func (r *Reader) Next(ctx context.Context, until int64) ([]byte, error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if until >= 0 && r.pos >= until {
			return nil, io.EOF
		}
		if r.cut {
			return nil, ErrBehind
		}
		if r.pos < f.size {
			piece, ok := f.piece(r.pos)
			if !ok {
				return nil, ErrBehind
			}
			if until >= 0 {
				piece = piece[:min(int64(len(piece)), until-r.pos)]
			}
			if f.lands(r.pos + int64(len(piece))) {
				if err := f.sleep(ctx); err != nil {
					return nil, err
				}
				continue
			}
			r.pos += int64(len(piece))
			r.moved = time.Now()
			if !f.keep {
				f.broadcast()
			}
			return piece, nil
		}
		switch {
		case f.err != nil:
			return nil, f.err
		case f.done:
			return nil, io.EOF
		}
		if err := f.sleep(ctx); err != nil {
			return nil, err
		}
	}
}

// lands reports whether a piece that ends at off must wait until the fill has ended. Who has the last byte of a response whose
// length it knows has all of it, and may ask the next thing before the store has it: a variant in the same language, or
// a validation, would then go to the origin for what is there. f.mu is held.
func (f *Fill) lands(off int64) bool { return off == f.length && f.keep && f.reason == "" && !f.done }

// piece returns what there is from off to the end of its chunk, or false where that was
// cut off. f.mu is held.
func (f *Fill) piece(off int64) ([]byte, bool) {
	if f.rest != nil {
		return f.rest.piece(off)
	}
	return pieceAt(f.chunks, off), true
}

// Skip moves to a later position without reading. It is called before the first Next.
func (r *Reader) Skip(to int64) {
	r.f.mu.Lock()
	r.pos = to
	r.f.mu.Unlock()
}

// Close gives the reader up. A fill that is being kept goes on without readers, one
// that is not ends with its last; the leader's own response ends with the leader.
func (r *Reader) Close() error {
	if r.stop != nil {
		r.stop()
	}
	f := r.f
	var mine *http.Response
	f.mu.Lock()
	if _, ok := f.readers[r]; ok && f.rest != nil {
		f.rest.close()
	}
	delete(f.readers, r)
	if r.leader {
		mine, f.response = f.response, nil
	}
	// What is not kept is in no table of flights: nobody comes any more to read it.
	last := !f.keep && len(f.readers) == 0
	if !f.keep {
		f.broadcast()
	}
	f.mu.Unlock()
	if mine != nil {
		mine.Body.Close()
	}
	if mine != nil || last {
		f.cancel()
	}
	return nil
}

// sleep waits for a broadcast. f.mu is held before and after.
func (f *Fill) sleep(ctx context.Context) error {
	wake := f.wake
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
