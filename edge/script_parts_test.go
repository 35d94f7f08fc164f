package edge_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
)

// period is after how many bytes the pattern repeats itself.
const period = 36 * 36

// wheel is enough of the pattern for a piece of 32 KiB from anywhere.
var wheel = func() []byte {
	b := make([]byte, 32<<10+period)
	for i := range b {
		b[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[(i+i/36)%36]
	}
	return b
}()

// patternPiece is a piece of the pattern from off on, at most n bytes and 32 KiB. It may be read only.
func patternPiece(off, n int64) []byte {
	at := off % period
	return wheel[at : at+min(n, 32<<10)]
}

// patternAt is n bytes of the pattern from off on.
func patternAt(off int64, n int) []byte {
	b := make([]byte, 0, n)
	for len(b) < n {
		b = append(b, patternPiece(off+int64(len(b)), int64(n-len(b)))...)
	}
	return b
}

// checkParts compares the content with a multipart/byteranges whose parts are those of want, "0-1/9", in the pattern's bytes.
func (a *answer) checkParts(want []string) []error {
	kind, params, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if kind != "multipart/byteranges" {
		return []error{mismatch("content type", a.header.Get("Content-Type"), "multipart/byteranges")}
	}
	var errs []error
	list := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
	for i := 0; ; i++ {
		part, err := list.NextRawPart()
		if errors.Is(err, io.EOF) {
			if i != len(want) {
				errs = append(errs, mismatch("parts", strconv.Itoa(i), strconv.Itoa(len(want))))
			}
			return errs
		}
		if err != nil {
			return append(errs, fmt.Errorf("part %d: %w", i+1, err))
		}
		got := part.Header.Get("Content-Range")
		if i < len(want) && got != "bytes "+want[i] {
			errs = append(errs, mismatch(fmt.Sprintf("part %d", i+1), got, "bytes "+want[i]))
		}
		var first, last, length int64
		fmt.Sscanf(got, "bytes %d-%d/%d", &first, &last, &length)
		body, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(body, patternAt(first, int(last-first+1))) {
			errs = append(errs, fmt.Errorf("part %d: %d bytes that are not the pattern's (%v)", i+1, len(body), err))
		}
	}
}
