package cache

import (
	"net/http"
	"strings"
	"testing"
)

func TestSpanOf(t *testing.T) {
	for line, want := range map[string]span{
		"bytes 0-0/1": {0, 0, 1}, "bytes 5-9/10": {5, 9, 10}, "Bytes 0-9/10": {0, 9, 10},
		"bytes 0-9/*": {}, "bytes */10": {}, "bytes 5-4/10": {}, "bytes 0-10/10": {}, "bytes=0-9/10": {}, "lines 0-9/10": {}, "bytes 0-9": {}, "bytes -1-9/10": {},
		"bytes +0-9/10": {}, "": {}, "bytes 0 - 9/10": {}, "bytes 0-9/10, 10-19/20": {},
	} {
		if got, ok := spanOf([]string{line}); got != want || ok != (want != span{}) {
			t.Errorf("%q: %+v, %v, want %+v", line, got, ok, want)
		}
	}
	if _, ok := spanOf([]string{"bytes 0-0/1", "bytes 0-0/1"}); ok {
		t.Error("two lines are one")
	}
}

// A multipart response is what it says it is, byte for byte.
func TestSelectSeveral(t *testing.T) {
	o := &Object{Status: 200, Fields: NewFields(http.Header{"Content-Type": {"text/plain"}})}
	s := o.Select("GET", http.Header{"Range": {"bytes=900-909, 0-0,-2,5000-"}}, 1000)
	if s.Status != 206 || s.Multi == nil || s.First() != 900 || s.Range != "" {
		t.Fatalf("%+v", s)
	}
	b := s.Multi.Boundary
	want := "--" + b + "\r\nContent-Type: text/plain\r\nContent-Range: bytes 900-909/1000\r\n\r\n" + "0123456789" +
		"\r\n--" + b + "\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/1000\r\n\r\n" + "0" +
		"\r\n--" + b + "\r\nContent-Type: text/plain\r\nContent-Range: bytes 998-999/1000\r\n\r\n" + "89" +
		"\r\n--" + b + "--\r\n"
	var got strings.Builder
	content := strings.Repeat("0123456789", 100)
	for _, p := range s.Multi.Parts {
		got.WriteString(p.Head + content[p.Offset:p.Offset+p.Length])
	}
	got.WriteString(s.Multi.End)
	if got.String() != want || s.Length != int64(len(want)) {
		t.Errorf("%d bytes, said %d:\n%s\nwant\n%s", got.Len(), s.Length, got.String(), want)
	}
	if again := o.Select("GET", http.Header{"Range": {"bytes=0-0,2-2"}}, 1000); again.Multi.Boundary == b || len(again.Multi.Boundary) != len(b) {
		t.Errorf("boundaries %q, %q", b, again.Multi.Boundary)
	}
}

func FuzzSpanOf(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/10", "bytes */9", "bytes 0-99999999999999999999/99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, ok := spanOf([]string{line})
		if ok && (s.first < 0 || s.last < s.first || s.length <= s.last || s.size() <= 0) || !ok && s != (span{}) {
			t.Errorf("%q: %+v, %v", line, s, ok)
		}
		if again, fine := spanOf([]string{s.String()}); ok && (!fine || again != s) {
			t.Errorf("%q: %+v, and again %+v", line, s, again)
		}
	})
}
