package main

import (
	"math"

	"hither/bench/load"
	"hither/bench/trace"
	"hither/cache/store"
)

// A traceDocument is the result of `bench trace`. Of what was not replayed there are no figures.
type traceDocument struct {
	Commit  string       `json:"commit"`
	Machine string       `json:"machine"`
	Traces  []traceTrace `json:"traces"`
}

// A traceTrace is one file.
type traceTrace struct {
	File      string     `json:"file"`
	Requests  int        `json:"requests_total"`
	Objects   int        `json:"objects_total"`
	Unique    int64      `json:"unique_bytes"`    // of all objects, each once
	Requested int64      `json:"requested_bytes"` // of all requests
	Seconds   float64    `json:"seconds"`         // from the first request to the last
	Skipped   int        `json:"broken_total"`    // lines left out
	First     string     `json:"broken_first,omitempty"`
	Rows      []traceRow `json:"rows"`

	Verdicts []traceVerdict `json:"verdicts,omitempty"`
}

// A traceRow is one replay.
type traceRow struct {
	Policy       string      `json:"policy"`
	Size         *int64      `json:"size_bytes,omitempty"` // absent: infinite
	Share        *float64    `json:"size_share,omitempty"` // of the unique bytes, where that was asked for
	Limit        *float64    `json:"object_limit_share,omitempty"`
	Hits         *int64      `json:"hits_total,omitempty"`
	HitBytes     *int64      `json:"hit_bytes,omitempty"`
	HitRatio     *float64    `json:"hit_ratio,omitempty"`
	ByteHitRatio *float64    `json:"byte_hit_ratio,omitempty"`
	TooLarge     *int64      `json:"too_large_total,omitempty"` // requests for objects above the limit
	Absent       string      `json:"absent,omitempty"`
	Store        *traceStore `json:"store,omitempty"`
}

// A traceStore is what the real store said of itself at the end.
type traceStore struct {
	MostBytes    int64  `json:"most_bytes"` // accounted at a time
	FrontObjects int    `json:"front_objects"`
	FrontBytes   int64  `json:"front_bytes"`
	QueueObjects int    `json:"queue_objects"`
	QueueBytes   int64  `json:"queue_bytes"`
	Evicted      uint64 `json:"evicted_total"`
	Offered      uint64 `json:"offered_total"`
	Dropped      uint64 `json:"dropped_total"`
	Rejected     uint64 `json:"rejected_total"`
	Promoted     uint64 `json:"promoted_total"`
	Demoted      uint64 `json:"demoted_total"`
	Unproven     uint64 `json:"unproven_total"` // large objects that were not stored when they were first asked for
	Marked       int    `json:"marked_total"`   // requests that went past it, as the object was too large a moment before
}

func newTraceDocument() *traceDocument {
	return &traceDocument{Commit: version(), Machine: load.Machine()}
}

// add takes up what came of a trace.
func (d *traceDocument) add(t *trace.Trace, results []trace.Result) {
	x := traceTrace{
		File: t.File, Requests: t.Requests(), Objects: t.Objects(), Unique: t.Unique(), Requested: t.Requested(),
		Seconds: t.Span().Seconds(), Skipped: t.Skipped,
	}
	if t.First != nil {
		x.First = t.First.Error()
	}
	for _, r := range results {
		row := traceRow{Policy: r.Policy, Absent: r.Absent}
		if r.Policy != trace.Infinite {
			row.Size, row.Limit = &r.Size, &r.Limit
		}
		if r.Share > 0 {
			row.Share = &r.Share
		}
		if r.Absent == "" {
			row.Hits, row.HitBytes, row.TooLarge = &r.Hits, &r.HitBytes, &r.TooLarge
			row.HitRatio, row.ByteHitRatio = share(r.Hits, int64(x.Requests)), share(r.HitBytes, x.Requested)
		}
		if s := r.Store; s != nil {
			row.Store = &traceStore{
				MostBytes:    s.Most,
				FrontObjects: s.Objects[store.Front], FrontBytes: s.Bytes[store.Front],
				QueueObjects: s.Objects[store.Queue], QueueBytes: s.Bytes[store.Queue],
				Evicted: s.Evicted[store.Front][store.Size] + s.Evicted[store.Queue][store.Size],
				Offered: s.Offered, Dropped: s.Dropped, Rejected: s.Rejected, Promoted: s.Promoted, Demoted: s.Demoted, Unproven: s.Unproven, Marked: s.Marked,
			}
		}
		x.Rows = append(x.Rows, row)
	}
	x.Verdicts = x.judge()
	d.Traces = append(d.Traces, x)
}

// share is a ratio to six digits; of nothing it is 0.
func share(part, whole int64) *float64 {
	ratio := math.Round(float64(part)/float64(max(whole, 1))*1e6) / 1e6
	return &ratio
}
