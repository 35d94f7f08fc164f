package compress

import (
	"io"
	"time"

	"hither/cache"
)

// Chunk is the size of pieces.
const Chunk = chunk

// NewWriter is what Encode writes to.
func NewWriter(c cache.Coding, w io.Writer, size int64) (io.WriteCloser, error) {
	return newWriter(c, w, size)
}

// With lets f encode in the place of Encode.
func (e *Encoder) With(f func(cache.Coding, int64, func(func([]byte) bool) error) ([][]byte, error)) {
	e.with = f
}

// Wait waits for the jobs under way.
func (e *Encoder) Wait() { e.work.Wait() }

// Limits are the jobs that may begin, and how long a place stays empty for each second that its job took.
func (e *Encoder) Limits() (free int, rest float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.free, e.rest
}

// Rest ends a job that took a place, which then stays empty for so long.
func (e *Encoder) Rest(d time.Duration) {
	e.mu.Lock()
	e.free--
	e.mu.Unlock()
	e.leave(job{}, d)
}
