package cache

import (
	"sync/atomic"
	"time"
)

// Kind says what a stored Object is.
type Kind uint8

const (
	// Response is a whole response: field section and body.
	Response Kind = iota
	// Signpost stands at a primary key whose responses vary: it names the request
	// fields that choose among them (RFC 9111 section 4.1) and has no body.
	Signpost
	// Pass marks a key whose last response could not be reused, so that requests
	// for it do not queue behind one another (hit-for-miss).
	Pass
	// Language leads from the language that requests want most to the variant that is in it.
	Language
	// Manifest is a response whose body lies in slices: its fields, and as Body its [Layout].
	Manifest
	// Slice is a piece of a Manifest's body. It has no lifetime of its own.
	Slice
	// Encoded is the content of a Response in a content coding that was made of it here: see
	// [Cache.Encoded].
	Encoded
)

// An Object is what a [Store] keeps under one key. It is shared by all its readers
// and never changes once it was put; what may change later is behind atomics.
type Object struct {
	Key Key

	// These three are one word: a larger Object is 32 bytes larger.
	Kind    Kind
	NoCache bool        // must be validated before each reuse, RFC 9111 section 5.2.2.4
	dead    atomic.Bool // set by Kill: no look-up may return the object any more

	Status int
	Fields Fields // end-to-end fields only, ready to be written by a hit
	Body   Body

	Request  time.Time // when the request that fetched or last validated it was sent
	Received time.Time // when its response's field section had arrived

	Age      time.Duration // corrected_initial_age, RFC 9111 section 4.2.3
	Lifetime time.Duration // freshness_lifetime, RFC 9111 section 4.2.1

	// How long past its lifetime the object may be used while it is revalidated
	// (RFC 5861 section 3) and while the origin fails (section 4); 0 = not at all.
	WhileRevalidate, IfError time.Duration

	// Vary are the request field names, canonical and sorted, that choose the
	// variant: set on a Signpost. On a Language it is the variant. Epoch makes the variants' keys of one Signpost
	// unlike those of an earlier one, so that removing the Signpost removes them all. On a Response it tells its content
	// from any other's, and keys of Encoded ones are made with it; 0 = it has none.
	Vary  []string
	Epoch uint64

	tags     string       // the hashes of its tags: see tagsOf
	sequence uint64       // of the newest purge when its fill began
	stale    atomic.Int64 // when a soft purge made it stale, in nanoseconds from 1970; 0 = never
}

// Kill marks the object as removed or replaced. A store calls it before it drops
// its references, so that a tier which applies changes late cannot bring it back.
func (o *Object) Kill() { o.dead.Store(true) }

// Keep tells the object that a store has it from now on; false where its body was given
// up meanwhile, and there is nothing to keep. A store calls Drop once for each Keep, when
// it gives up its reference: what is still being read then is accounted elsewhere.
func (o *Object) Keep() bool {
	large := o.Body.large()
	return large == nil || large.keep()
}

// Drop: see Keep.
func (o *Object) Drop() {
	if large := o.Body.large(); large != nil {
		large.drop()
	}
}

// Dead reports whether Kill was called, or the object's body can no longer be read where it lies. A store's Get treats a
// dead object as absent.
func (o *Object) Dead() bool {
	return o.dead.Load() || o.Body.Deep() && o.Body.large().source.Gone()
}

// overhead is what an object costs beyond key, fields and body: the structs, map
// slots and list links around it, as measured in cache/store (see its README).
const overhead = 512

// Size is the number of bytes the object is accounted with: key, fields, tags, body and
// a fixed overhead; not a body that lies deep. It does not change.
func (o *Object) Size() int64 {
	size := int64(overhead + o.Key.Len() + o.Fields.Len() + len(o.tags))
	if !o.Body.Deep() {
		size += o.Body.Len()
	}
	return size
}

// A Body is a response's content in chunks, shared by all readers and never copied
// for one. The zero Body is empty.
type Body struct {
	only []byte // the one chunk that most bodies are: a slice of slices would cost each of them 24 bytes more
	more *parts // in the place of only, where there are several
}

// parts are a body of several chunks.
type parts struct {
	chunks [][]byte // where large is nil
	size   int64
	large  *content // a fill's, of more than mostChunk, or what lies deep
}

// NewBody makes a Body of chunks, which it keeps: the caller must not write to them
// afterwards.
func NewBody(chunks ...[]byte) Body {
	switch len(chunks) {
	case 0:
		return Body{}
	case 1:
		return Body{only: chunks[0]}
	}
	p := &parts{chunks: chunks}
	for _, c := range chunks {
		p.size += int64(len(c))
	}
	return Body{more: p}
}

// Len is the number of bytes.
func (b Body) Len() int64 {
	if b.more != nil {
		return b.more.size
	}
	return int64(len(b.only))
}

// large is the account's record of the body, or nil where it is too small to have one.
func (b Body) large() *content {
	if b.more == nil {
		return nil
	}
	return b.more.large
}

// Range calls yield with the pieces of n bytes from offset off, in order, until
// yield returns false. Pieces are views into the body: they may be read only, and of a body
// that lies deep until yield returns. The error
// is nil or ErrBehind: nobody stores the body any more, too much was held by those who
// still read such ones, and from this one nothing had been taken for longest. Of a body
// that lies deep it may also be that of its medium.
func (b Body) Range(off, n int64, yield func([]byte) bool) error {
	if large := b.large(); large != nil {
		if end := min(off+n, b.Len()); !b.Deep() {
			return b.rangeLarge(off, end, yield)
		} else if off < end {
			return large.source.Range(off, end-off, yield)
		}
		return nil
	}
	chunks := [][]byte{b.only}
	if b.more != nil {
		chunks = b.more.chunks
	}
	for _, c := range chunks {
		if n <= 0 {
			return nil
		}
		if off >= int64(len(c)) {
			off -= int64(len(c))
			continue
		}
		piece := c[off:]
		off = 0
		if int64(len(piece)) > n {
			piece = piece[:n]
		}
		n -= int64(len(piece))
		if !yield(piece) {
			return nil
		}
	}
	return nil
}

func (b Body) rangeLarge(off, end int64, yield func([]byte) bool) error {
	large := b.large()
	large.open(1)
	defer large.close()
	for off < end {
		piece, ok := large.piece(off)
		if !ok {
			return ErrBehind
		}
		piece = piece[:min(int64(len(piece)), end-off)]
		off += int64(len(piece))
		if !yield(piece) {
			return nil
		}
	}
	return nil
}

// An Admitter is a [Store] that takes a large object in only where it is worth those that would have to go for it.
type Admitter interface {
	// Admits reports whether a response of this size, under a key that nothing is stored under, should be stored now. It is
	// asked once for each fill, before the body comes, or, where its length is not known, time and again as it grows, until
	// the answer is no; that is remembered, so that the next fill for the key gets a yes.
	Admits(k Key, size int64) bool
}

// A Keeper is a [Store] whose objects outlive the process, but those that are too large.
type Keeper interface {
	// MaxKept is how many bytes such an object may have with all that belongs to it; always the same.
	MaxKept() int64
}

// A Store keeps objects in some medium and some number of bytes. All methods may be
// called concurrently. A store may forget any object at any time; it must never
// return one for a key other than its own, nor one that was deleted or replaced
// before the call began.
type Store interface {
	// Get returns the object under exactly k, or nil.
	Get(k Key) *Object
	// Put keeps o in place of what was under its key, unless o.Keep says no; the old
	// object is killed, and dropped like any that the store gives up. A
	// following Get finds o, unless its Size is above MaxObject or the store was
	// under such pressure that o was evicted meanwhile.
	Put(o *Object)
	// Delete removes and kills what is under k; ok tells whether something was.
	Delete(k Key) (ok bool)
	// Each yields the live objects, in no order, until yield returns false: all that are
	// stored from the beginning of the call to its end, and of others some. Yield may call
	// the store.
	Each(yield func(*Object) bool)
	// MaxObject is the largest Size that Put will keep.
	MaxObject() int64
}
