package disk

import (
	"bytes"
	"errors"
	"testing"
)

// A log of any bytes is read to its first fault, and no further; what is good of it is the log of the same entries.
func FuzzLog(f *testing.F) {
	var b []byte
	b = append(b, header(logMagic, 1)...)
	b = appendPut(b, 7, entry{off: 16, size: 100, target: 3}, []uint32{1, 2}, key("/a"))
	b = appendSoft(b, 7, 5)
	b = appendVoid(b, 7)
	b = appendDoubt(b, 9)
	f.Add(b)
	f.Add(appendSeal(bytes.Clone(b)))
	f.Add(b[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		good, err := scan(bytes.NewReader(b), 1, func(e *logEntry) bool { n++; return true })
		if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, errLog) {
			t.Fatal(err)
		}
		if good > int64(len(b)) || good > 0 && good < headerSize {
			t.Fatalf("%d bytes of %d are good", good, len(b))
		}
		if err == nil || good == 0 {
			return
		}
		again := 0
		cut := appendSeal(bytes.Clone(b[:good]))
		if _, err := scan(bytes.NewReader(cut), 1, func(e *logEntry) bool { again++; return true }); err != nil || again != n {
			t.Errorf("%d entries, and %d once it was cut, %v", n, again, err)
		}
	})
}

// A record of any bytes is no object, or one that is as long as it says.
func FuzzRecord(f *testing.F) {
	for _, size := range []int{0, 10, pieceSize + 1} {
		o := object(key("/a"), 1, size, "red")
		b, h := appendHead(nil, o, 1)
		sums := summer{head: h}
		o.Body.Range(0, h.body, func(p []byte) bool { sums.write(p); b = append(b, p...); return true })
		sums.end()
		f.Add(append(b, sums.sums...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHead(b, int64(len(b)))
		if err != nil {
			return
		}
		if h.size() != int64(len(b)) || h.bodyAt() > h.sumsAt() || h.sumsAt() > h.size() {
			t.Fatalf("%+v of %d bytes", h, len(b))
		}
		if h.verify(b) == nil {
			h.verifyBody(b[h.bodyAt():h.sumsAt()], b[h.sumsAt():])
		}
	})
}
