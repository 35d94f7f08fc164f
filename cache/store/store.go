// Package store is where cached objects lie: in memory, within a fixed number
// of bytes, and below that on a disk where there is one.
package store

// The shares of a Memory's bytes. They are shares of what is stored, not slices set
// apart: bytes that the front does not use are the queue's.
const (
	// frontShare is the largest part of the size, 1/frontShare, that objects may
	// hold in the front. The queue takes bytes back from there only for the largest objects, so the front
	// must leave the queue enough to be worth its name; TestHitRatio shows what other
	// shares do to the hit ratio.
	frontShare = 16

	// smallShare is the part of the size, 1/smallShare, above which new objects are
	// evicted before proven ones: the S3-FIFO paper's 10 % (Yang et al., SOSP 2023, section
	// 4), here of bytes.
	smallShare = 10

	// largeShare is the part of the size, 1/largeShare, that a single response leaves to others unless it
	// was asked for before. A larger part costs byte hits, as the second request for each object
	// above it is a miss too (`bench trace`).
	largeShare = 4
)

// frontObject is the largest Size that is offered to the front. Up to about two
// 16 KiB TLS records the look-up is a noticeable part of what a hit costs, above it
// writing the body is all of it. And the front evicts by sampling without regard to
// size: one large object would push out dozens of small ones.
const frontObject = 32 << 10

// minSize is the smallest size a Memory is made with: below it the front would not hold
// a single ordinary page.
const minSize = 128 << 10
