package edge_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// writeRange answers as a server that has all of the body and knows ranges (RFC 9110 section 14.2), one at a time.
func (rp *reply) writeRange(w http.ResponseWriter, r *http.Request, now time.Time) {
	h := w.Header()
	h["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	for name, values := range rp.header {
		h[name] = values
	}
	tag := h.Get("ETag")
	if tag != "" && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	first, last, status := int64(0), rp.ranges-1, rp.status
	if from, to, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"); ok && (r.Header.Get("If-Range") == "" || r.Header.Get("If-Range") == tag) {
		status = http.StatusPartialContent
		n, err := strconv.ParseInt(to, 10, 64)
		if first, _ = strconv.ParseInt(from, 10, 64); from == "" {
			first = max(0, rp.ranges-n)
		} else if err == nil {
			last = min(last, n)
		}
		if first > last {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", rp.ranges))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, rp.ranges))
	}
	h.Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	rp.writeSpan(w, r, first, last+1)
}

// writeSpan sends the bytes from first to end, and on the way does what hold and reset say.
func (rp *reply) writeSpan(w http.ResponseWriter, r *http.Request, first, end int64) {
	rc := http.NewResponseController(w)
	send := func(to int64) bool {
		for to = min(to, end); first < to; {
			n, err := w.Write(patternPiece(first, to-first))
			if first += int64(n); err != nil {
				return false
			}
		}
		return true
	}
	if rp.gated && rp.sends >= 0 {
		if !send(first + int64(rp.sends)) {
			return
		}
		rc.Flush()
		if !rp.wait(r.Context()) {
			panic(http.ErrAbortHandler)
		}
	}
	if rp.resets >= 0 {
		send(first + int64(rp.resets))
		rc.Flush()
		panic(http.ErrAbortHandler)
	}
	send(end)
}
