// Package store is where cached objects lie: in memory, within a fixed number
// of bytes, and below that on a disk where there is one.
package store

// The shares of a Memory's bytes. They are shares of what is stored, not slices set
// apart: bytes that the front does not use are the queue's.
const (
	// frontShare is the largest part of the size, 1/frontShare, that objects may
	// hold in the front. The queue cannot take bytes back from there, so the front
	// must leave the queue enough to be worth its name; TestHitRatio shows what
	// other shares do to the hit ratio.
	frontShare = 4

	// smallShare is the part of the size, 1/smallShare, above which new objects are
	// evicted before proven ones. The S3-FIFO paper has 10 % (Yang et al., SOSP 2023, section
	// 4) and counts objects; of bytes, large objects fill that much before the second request for
	// a small one comes.
	smallShare = 5

	// objectShare: an object larger than 1/objectShare of the size is refused, so
	// that a single response empties at most an eighth of the cache, and so that
	// front and object together always fit (1/4 + 1/8 < 1).
	objectShare = 8
)

// frontObject is the largest Size that is offered to the front. Up to about two
// 16 KiB TLS records the look-up is a noticeable part of what a hit costs, above it
// writing the body is all of it. And the front evicts by sampling without regard to
// size: one large object would push out dozens of small ones.
const frontObject = 32 << 10

// minSize is the smallest size a Memory is made with: below it the largest object
// allowed would not hold an ordinary page.
const minSize = 128 << 10
