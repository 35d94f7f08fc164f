package listen

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestScanSplit cuts the same bytes at every place: what passes must not depend on it.
func TestScanSplit(t *testing.T) {
	for _, in := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n",
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\n\r\n\n",
	} {
		whole := new(scanner).scan([]byte(in))
		lineStart := strings.LastIndexByte(in[:whole], '\n') + 1
		for cut := range in {
			var s scanner
			n := s.scan([]byte(in[:cut]))
			if n == cut {
				n += s.scan([]byte(in[cut:]))
			}
			// A cut inside the refused line lets the line's beginning through, never its end.
			if n != whole && (cut <= lineStart || n != cut) {
				t.Errorf("%q cut at %d: %d bytes pass, uncut %d", in, cut, n, whole)
			}
		}
	}
}

// FuzzScan holds the scanner to net/http: where net/http has read a whole request, body and all, from bytes which the scanner
// let pass, the scanner must be at the beginning of a request, or have said that this one is the last.
func FuzzScan(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var b []byte
		for line := range strings.Lines(string(text)) {
			if quoted, ok := strings.CutPrefix(strings.TrimSpace(line), "> "); ok {
				if _, q, many := strings.Cut(quoted, "*"); many {
					quoted = q
				}
				if s, err := strconv.Unquote(quoted); err == nil {
					b = append(b, s...)
				}
			}
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		passed := in[:new(scanner).scan(in)]
		rest := bytes.NewReader(passed)
		r := bufio.NewReader(rest)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			end := len(passed) - rest.Len() - r.Buffered()
			var s scanner
			s.scan(passed[:end])
			if s.at == atRest {
				if len(req.TransferEncoding) == 0 {
					t.Fatalf("scanner stopped after a request without a coding: %q", passed[:end])
				}
				return
			}
			if s.at != atStart || len(s.line) > 0 {
				t.Fatalf("net/http ends a request at %d where the scanner is at %d: %q", end, s.at, passed)
			}
		}
	})
}
