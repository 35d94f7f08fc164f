package proxy

import (
	"fmt"
	"net/http"

	"hither/cache"
)

// ExplainedSlices are the slices of a response that lies in slices, and which of them are there for this request. They are
// numbered from 0.
type ExplainedSlices struct {
	Bytes   int64   `json:"slice_bytes"` // of each but the last
	Total   int64   `json:"total"`
	First   int64   `json:"first"`  // those that the request needs lie between these two
	Last    int64   `json:"last"`   // both are -1 where it needs none
	Needed  int64   `json:"needed"` // with several ranges, one may count twice
	Stored  int64   `json:"stored"` // of those needed; of the first 4096
	Missing []int64 `json:"missing"`
}

// slices tells which slices of o the part needs, and which are stored.
func (e *explaining) slices(o *cache.Object, part cache.Selection) {
	if o.Kind != cache.Manifest {
		return
	}
	if e.r.Method == http.MethodHead {
		part = cache.Selection{Status: part.Status}
	}
	s := e.p.cache.Share(o, part)
	e.lacks = e.p.cache.Lacks(o, part)
	x := &ExplainedSlices{Bytes: s.Slice, Total: s.Count(), First: s.First, Last: s.Last, Needed: s.Needed, Stored: s.Stored, Missing: s.Missing}
	if s.Needed == 0 {
		x.First, x.Last = -1, -1
	}
	if x.Missing == nil {
		x.Missing = []int64{}
	}
	e.Stored.Slices = x
}

// perhaps tells of an answer for which slices must be asked for first, which may not be there any more.
func (e *explaining) perhaps() Explanation {
	if e.lacks {
		e.Status, e.CacheStatus, e.CacheStatusOpen = 0, e.p.cfg.Node, true
		e.outcome(cache.Miss, nil, "slices of one version cannot be had, and it is fetched anew")
		e.outcome(cache.Failed, nil, "the origin gives no answer")
		if _, ok := cache.RangeFrom(e.r.Header["Range"]); ok {
			e.unsliced()
		}
		e.withheld()
	}
	return e.Explanation
}

// partly tells of an answer of which the manifest is there, and not all slices.
func (e *explaining) partly(why string) Explanation {
	s := e.Stored.Slices
	e.Origin, e.CacheStatusOpen = e.pl.site.Origin, true
	x := Exchange{Verdict: cache.Miss, partial: true}
	e.CacheStatus = e.p.cfg.Node + "; fwd=" + x.forwardWord()
	e.Verdict, e.Why = cache.Miss.String(), fmt.Sprintf("%s; it lies in slices, and %d of the %d needed are stored: the origin is asked for the others, one by one", why, s.Stored, s.Needed)
	e.outcome(cache.Miss, nil, "the origin answers")
	e.outcome(cache.Failed, nil, "the origin gives no answer")
	if _, ok := cache.RangeFrom(e.r.Header["Range"]); ok {
		e.unsliced()
	}
	e.withheld()
	return e.Explanation
}

// ranged tells of a fill that asks for the slice with the byte at from.
func (e *explaining) ranged(from int64) {
	size := e.p.cache.SliceSize(e.pl.policy)
	e.Why += fmt.Sprintf("; of what may lie in slices of %d bytes for the one with byte %d", size, from)
	if e.found.Object == nil {
		e.CacheStatus = e.p.cfg.Node // which the origin's answer decides
	}
	e.unsliced()
}

func (e *explaining) unsliced() {
	why := cache.ReasonRange
	e.outcome(cache.Bypass, &why, "the origin gives no slice: it is asked for the part alone, which is not stored")
}

func (e *explaining) withheld() {
	why := cache.ReasonStatus
	e.outcome(cache.Bypass, &why, "the origin refuses this request a slice: it is asked for what the client wants, and that is passed on")
}
