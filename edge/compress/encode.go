package compress

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"runtime"
	"slices"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"hither/cache"
)

// ErrNoGain says that a coding makes content hardly smaller.
var ErrNoGain = errors.New("compress: the coded content is hardly smaller")

// gain is the part of the content, 1/gain, that a coding must save: below it the client's work of decoding is worth more.
const gain = 16

// chunk is the size of the pieces of coded content. The last is cut to what it holds.
const chunk = 64 << 10

// Encode returns content of size bytes in a coding, in pieces. read yields the content, as cache.Body.Range does it. The
// error is ErrNoGain, io.ErrUnexpectedEOF where read yields another size, or that of read or of the coding's library. It
// takes as much memory as it returns, and the library's tables. Others may run first between pieces.
func Encode(c cache.Coding, size int64, read func(yield func([]byte) bool) error) (pieces [][]byte, err error) {
	if size == 0 {
		return nil, ErrNoGain
	}
	out := sink{room: size - size/gain}
	w, err := newWriter(c, &out, size)
	if err != nil {
		return nil, err
	}
	var failed error
	got := int64(0)
	err = read(func(piece []byte) bool {
		got += int64(len(piece))
		for part := range slices.Chunk(piece, chunk) {
			if _, failed = w.Write(part); failed != nil {
				return false
			}
			runtime.Gosched()
		}
		return true
	})
	// Close also where it failed: it ends what the library may have begun.
	closed := w.Close()
	switch {
	case out.full:
		return nil, ErrNoGain
	case err != nil:
		return nil, err
	case failed != nil:
		return nil, failed
	case got != size:
		return nil, io.ErrUnexpectedEOF
	case closed != nil:
		return nil, closed
	}
	return out.cut(), nil
}

// Levels, by the table in the README. What is encoded is stored and sent often, so they are the last before one that takes
// about twice the time for less than two hundredths of the bytes.
const (
	brotliQuality = 5
	gzipLevel     = 7
	zstdLevel     = zstd.SpeedBetterCompression
)

// Windows, as powers of two. A decoder has to have the memory: RFC 9659 allows 8 MiB to zstd, RFC 7932 16 MiB to Brotli.
const (
	leastWindow = 16
	mostWindow  = 22
)

// newWriter makes a writer whose window is no larger than content of size bytes needs.
func newWriter(c cache.Coding, w io.Writer, size int64) (io.WriteCloser, error) {
	window := min(max(bits.Len64(uint64(size)), leastWindow), mostWindow)
	switch c {
	case cache.Brotli:
		return brotli.NewWriterOptions(w, brotli.WriterOptions{Quality: brotliQuality, LGWin: window}), nil
	case cache.Zstd:
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstdLevel), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<window))
		if err != nil {
			return nil, err
		}
		e.ResetContentSize(w, size)
		return e, nil
	case cache.Gzip:
		return gzip.NewWriterLevel(w, gzipLevel)
	}
	return nil, errors.New("compress: " + c.String() + " is no coding to encode in")
}

// A sink keeps what is written until that is too much.
type sink struct {
	room   int64 // bytes it may yet take
	full   bool
	pieces [][]byte // all but the last are full
}

func (s *sink) Write(p []byte) (int, error) {
	if s.room -= int64(len(p)); s.room < 0 {
		s.full, s.pieces = true, nil
		return 0, ErrNoGain
	}
	n := len(p)
	for len(p) > 0 {
		last := len(s.pieces) - 1
		if last < 0 || len(s.pieces[last]) == cap(s.pieces[last]) {
			s.pieces = append(s.pieces, make([]byte, 0, min(chunk, s.room+int64(len(p)))))
			last++
		}
		k := min(len(p), cap(s.pieces[last])-len(s.pieces[last]))
		s.pieces[last] = append(s.pieces[last], p[:k]...)
		p = p[k:]
	}
	return n, nil
}

// cut returns the pieces without what was left over of the last.
func (s *sink) cut() [][]byte {
	if last := len(s.pieces) - 1; last >= 0 {
		s.pieces[last] = slices.Clip(bytes.Clone(s.pieces[last]))
	}
	return s.pieces
}
