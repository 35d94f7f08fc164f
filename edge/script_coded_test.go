package edge_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decode is what a client makes of content that came with a Content-Encoding, which must be coding ("identity": there is
// none) and of fewer bytes than the content itself: "coded=br".
func (a *answer) decode(coding string) ([]byte, error) {
	got := a.header.Get("Content-Encoding")
	if got == "" {
		got = "identity"
	}
	if got != coding {
		return a.body, mismatch("Content-Encoding", got, coding)
	}
	var r io.Reader = bytes.NewReader(a.body)
	var err error
	switch coding {
	case "identity":
		return a.body, nil
	case "br":
		r = brotli.NewReader(r)
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
			defer z.Close()
		}
		r = z
	default:
		return nil, fmt.Errorf("coded: no such coding: %s", coding)
	}
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	if err == nil && len(content) <= len(a.body) {
		err = fmt.Errorf("coded: %d bytes in %s are %d", len(content), coding, len(a.body))
	}
	return content, err
}
