package compress_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"hither/cache"
	"hither/edge/compress"
)

// yields is content in pieces of at most n bytes, as a Body gives it.
func yields(content []byte, n int) func(yield func([]byte) bool) error {
	return func(yield func([]byte) bool) error {
		for piece := range slices.Chunk(content, n) {
			if !yield(piece) {
				return nil
			}
		}
		return nil
	}
}

// decoded is what a client makes of coded content.
func decoded(c cache.Coding, coded io.Reader) ([]byte, error) {
	switch c {
	case cache.Brotli:
		coded = brotli.NewReader(coded)
	case cache.Gzip:
		r, err := gzip.NewReader(coded)
		if err != nil {
			return nil, err
		}
		coded = r
	case cache.Zstd:
		// RFC 9659: a client need not have more than 8 MiB for the window.
		r, err := zstd.NewReader(coded, zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		coded = r
	}
	return io.ReadAll(coded)
}

// content draws bytes that shrink well, badly or not at all.
func content(t *rapid.T) []byte {
	size := rapid.OneOf(rapid.IntRange(0, 3000), rapid.SampledFrom([]int{64 << 10, 64<<10 + 1, 128 << 10, 300_000})).Draw(t, "size")
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	letters := rapid.SampledFrom([]int{1, 2, 16, 250, 256}).Draw(t, "letters")
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rnd.IntN(letters))
	}
	return b
}

// Whatever the content, its pieces and the coding: what is decoded is what was encoded, and where the coding is said to gain
// nothing it does not.
func TestEncodeProperty(t *testing.T) {
	seen := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(cache.Codings()).Draw(t, "coding")
		want := content(t)
		size := int64(len(want))
		pieces, err := compress.Encode(c, size, yields(want, rapid.SampledFrom([]int{1 << 20, 64 << 10, 1000, 4096}).Draw(t, "pieces")))
		seen[err == nil]++
		if errors.Is(err, compress.ErrNoGain) {
			var b bytes.Buffer
			w, err := compress.NewWriter(c, &b, size)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(want)
			if w.Close(); int64(b.Len()) <= size-size/16 {
				t.Fatalf("%d bytes in %v are %d: that is a gain", size, c, b.Len())
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var coded bytes.Buffer
		for i, p := range pieces {
			if len(p) == 0 || i < len(pieces)-1 && len(p) != compress.Chunk || cap(p)-len(p) > len(p)/20+64 {
				t.Errorf("piece %d of %d has %d bytes of %d", i, len(pieces), len(p), cap(p))
			}
			coded.Write(p)
		}
		if int64(coded.Len()) > size-size/16 {
			t.Errorf("%d bytes in %v are %d", size, c, coded.Len())
		}
		if got, err := decoded(c, &coded); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes in %v are decoded to %d, %v", size, c, len(got), err)
		}
	})
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("%d gained, %d did not: the test does not see both", seen[true], seen[false])
	}
}

func TestEncodeFaults(t *testing.T) {
	text := []byte(strings.Repeat("hello ", 1000))
	broken := errors.New("broken")
	for _, c := range cache.Codings() {
		for name, test := range map[string]struct {
			size int64
			read func(func([]byte) bool) error
			want error
		}{
			"cut off":    {int64(len(text)), func(yield func([]byte) bool) error { yield(text[:3000]); return broken }, broken},
			"too short":  {int64(len(text)), yields(text[:3000], 100), io.ErrUnexpectedEOF},
			"nothing":    {int64(len(text)), yields(nil, 1), io.ErrUnexpectedEOF},
			"too long":   {100, yields(text, 50), nil}, // ErrNoGain, or that it is too long
			"empty":      {0, yields(nil, 1), compress.ErrNoGain},
			"one letter": {1, yields([]byte("a"), 1), compress.ErrNoGain},
		} {
			pieces, err := compress.Encode(c, test.size, test.read)
			if err == nil || pieces != nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%v, %s: %d pieces, %v", c, name, len(pieces), err)
			}
		}
	}
	if _, err := compress.Encode(cache.Identity, 1, yields(nil, 1)); err == nil {
		t.Error("identity is encoded")
	}
}

func BenchmarkEncode(b *testing.B) {
	// Text with the statistics of markup: words of a small vocabulary.
	rnd := rand.New(rand.NewPCG(1, 1))
	var text bytes.Buffer
	for text.Len() < 256<<10 {
		n := int(float64(rnd.ExpFloat64() * 300))
		text.WriteString("<li class=\"w")
		text.WriteString(strings.Repeat(string(rune('a'+n%26)), 1+n%7))
		text.WriteString("\">")
		text.WriteString(string(rune('a' + n/7%26)))
		text.WriteByte(byte('0' + rnd.IntN(10)))
		text.WriteString("</li>\n")
	}
	content := text.Bytes()
	for _, c := range cache.Codings() {
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			size := 0
			for b.Loop() {
				pieces, err := compress.Encode(c, int64(len(content)), yields(content, 64<<10))
				if err != nil {
					b.Fatal(err)
				}
				size = 0
				for _, p := range pieces {
					size += len(p)
				}
			}
			b.ReportMetric(float64(len(content))/float64(size), "x")
		})
	}
}
