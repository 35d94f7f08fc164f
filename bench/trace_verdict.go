package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"

	"hither/bench/trace"
)

// What must hold of the store beside the policies, at each size from leastShare of a trace's unique bytes: they bound what
// either ratio may be behind by, that of requests the best policy's, that of bytes LRU's.
const (
	leastShare  = 0.01
	hitsBehind  = 0.02
	bytesBehind = 0.01
)

// A traceVerdict is where the store is beside the policies at one size, each with the limit of objects that is best for it.
type traceVerdict struct {
	Size  string  `json:"size"`
	Best  string  `json:"best_policy"`
	Hits  float64 `json:"hits_beside_best"`
	Bytes float64 `json:"bytes_beside_lru"`
	Holds bool    `json:"holds"`
}

// judge is the verdicts on a trace. There is none where a policy was not replayed, as nobody knows which is the best.
func (t *traceTrace) judge() (out []traceVerdict) {
	rivals := slices.DeleteFunc(slices.Clone(trace.Names), func(name string) bool { return name == trace.Store || name == trace.Infinite })
	for _, at := range t.at() {
		real := t.row(trace.Store, at.sized(), trace.StoreLimit)
		if real == nil || real.Absent != "" || float64(*real.Size) < leastShare*float64(t.Unique)-1 {
			continue
		}
		v := traceVerdict{Size: at.sized()}
		most, lru, seen := 0.0, 0.0, 0
		for _, name := range rivals {
			found := false
			for _, limit := range t.limits() {
				r := t.row(name, at.sized(), limit)
				if r == nil || r.HitRatio == nil {
					continue
				}
				found = true
				if *r.HitRatio > most || v.Best == "" {
					most, v.Best = *r.HitRatio, name
				}
				if name == "lru" {
					lru = max(lru, *r.ByteHitRatio)
				}
			}
			if found {
				seen++
			}
		}
		if seen < len(rivals) {
			continue
		}
		v.Hits, v.Bytes = math.Round((*real.HitRatio-most)*1e6)/1e6, math.Round((*real.ByteHitRatio-lru)*1e6)/1e6
		v.Holds = v.Hits >= -hitsBehind && v.Bytes >= -bytesBehind
		out = append(out, v)
	}
	return out
}

// holds reports whether all verdicts do.
func (d *traceDocument) holds() bool {
	return !slices.ContainsFunc(d.Traces, func(t traceTrace) bool {
		return slices.ContainsFunc(t.Verdicts, func(v traceVerdict) bool { return !v.Holds })
	})
}

// verdicts writes a line for each.
func (t *traceTrace) verdicts(w io.Writer) {
	for _, v := range t.Verdicts {
		word := "holds"
		if !v.Holds {
			word = "DOES NOT HOLD"
		}
		fmt.Fprintf(w, "%-13s  %s: hits %s beside %s (bound %s), bytes %s beside LRU (bound %s)\n",
			word, v.Size, signed(v.Hits), policyWords[v.Best], signed(-hitsBehind), signed(v.Bytes), signed(-bytesBehind))
	}
}

// beside is the table of all verdicts for a README: a line for each trace, hits and bytes in one cell.
func (d *traceDocument) beside(b *strings.Builder) {
	var sizes []string
	for _, t := range d.Traces {
		for _, v := range t.Verdicts {
			if !slices.Contains(sizes, v.Size) {
				sizes = append(sizes, v.Size)
			}
		}
	}
	if len(sizes) == 0 {
		return
	}
	fmt.Fprintf(b, "\nBeside the most hits of a policy (bound %s) and LRU's bytes (bound %s), with whatever limit suits them best:\n\n", signed(-hitsBehind), signed(-bytesBehind))
	fmt.Fprintf(b, "| trace | %s |\n%s\n", strings.Join(sizes, " | "), "|"+strings.Repeat("---|", 1+len(sizes)))
	for i := range d.Traces {
		t := &d.Traces[i]
		fmt.Fprintf(b, "| %s |", strings.ReplaceAll(html.EscapeString(t.name()), "|", "\\|"))
		for _, size := range sizes {
			cell := ""
			if i := slices.IndexFunc(t.Verdicts, func(v traceVerdict) bool { return v.Size == size }); i >= 0 {
				v := t.Verdicts[i]
				if cell = signed(v.Hits) + "/" + signed(v.Bytes); !v.Holds {
					cell += " (does not hold)"
				}
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteString("\n")
	}
}

// signed writes a difference of ratios: -.012.
func signed(v float64) string { return strings.Replace(fmt.Sprintf("%+.3f", v), "0.", ".", 1) }
