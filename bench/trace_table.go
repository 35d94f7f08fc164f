package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"hither/bench/trace"
)

// policyWords are what people read for the names of policies.
var policyWords = map[string]string{
	trace.Store: "hither", "fifo": "FIFO", "lru": "LRU", "s3fifo": "S3-FIFO", "wtinylfu": "W-TinyLFU", trace.Infinite: "infinite",
}

// name is the trace's, as short as people say it.
func (t *traceTrace) name() string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(t.File), ".gz"), ".csv")
}

// limits are those of the rows, the least first.
func (t *traceTrace) limits() []float64 {
	var out []float64
	for _, r := range t.Rows {
		if r.Limit != nil && !slices.Contains(out, *r.Limit) {
			out = append(out, *r.Limit)
		}
	}
	slices.Sort(out)
	return out
}

// at lists the sizes as the first rows of each.
func (t *traceTrace) at() []traceRow {
	var out []traceRow
	for _, r := range t.Rows {
		if r.Size != nil && !slices.ContainsFunc(out, func(o traceRow) bool { return o.sized() == r.sized() }) {
			out = append(out, r)
		}
	}
	return out
}

// sized names a row's size.
func (r traceRow) sized() string {
	if r.Size == nil {
		return "any"
	}
	if r.Share != nil {
		return percent(*r.Share)
	}
	return decimal(*r.Size)
}

// row finds a replay; nil where there was none.
func (t *traceTrace) row(policy, sized string, limit float64) *traceRow {
	for i, r := range t.Rows {
		if r.Policy == policy && (r.Size == nil || r.sized() == sized && *r.Limit == limit) {
			return &t.Rows[i]
		}
	}
	return nil
}

// policies are those of the rows, in the order of tables.
func (t *traceTrace) policies() []string {
	return slices.DeleteFunc(slices.Clone(trace.Names), func(name string) bool {
		return !slices.ContainsFunc(t.Rows, func(r traceRow) bool { return r.Policy == name })
	})
}

// table writes the document for people.
func (d *traceDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	for i := range d.Traces {
		d.Traces[i].table(w)
	}
	return nil
}

func (t *traceTrace) table(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %d requests for %d objects of %s; %s asked for\n", t.File, t.Requests, t.Objects, decimal(t.Unique), decimal(t.Requested))
	if t.Skipped > 0 {
		fmt.Fprintf(w, "broken lines left out: %d, the first: %s\n", t.Skipped, t.First)
	}
	limits := t.limits()
	if len(limits) == 0 {
		limits = []float64{1}
	}
	line := func(size, name, sized string) {
		text := fmt.Sprintf("%-18s  %-9s", size, policyWords[name])
		for _, limit := range limits {
			hit, bytes := "", ""
			if r := t.row(name, sized, limit); r != nil {
				hit, bytes = ratio(r.HitRatio), ratio(r.ByteHitRatio)
			}
			text += fmt.Sprintf("  %12s  %8s", hit, bytes)
			if name == trace.Infinite {
				break
			}
		}
		fmt.Fprintln(w, strings.TrimRight(text, " "))
	}
	fmt.Fprintf(w, "\n%-29s", "")
	for _, limit := range limits {
		fmt.Fprintf(w, "  %22s", "objects to "+percent(limit))
	}
	fmt.Fprintf(w, "\n%-18s  %-9s", "size", "cache")
	for range limits {
		fmt.Fprintf(w, "  %12s  %8s", "hit", "byte hit")
	}
	fmt.Fprintln(w)
	for _, at := range t.at() {
		size := at.sized()
		if at.Share != nil {
			size += " = " + decimal(*at.Size)
		}
		for _, name := range t.policies() {
			if name != trace.Infinite {
				line(size, name, at.sized())
				size = ""
			}
		}
	}
	if slices.Contains(t.policies(), trace.Infinite) {
		line("any", trace.Infinite, "any")
	}
	for _, r := range t.Rows {
		if r.Absent != "" {
			fmt.Fprintf(w, "%s of %s was not replayed: %s\n", policyWords[r.Policy], decimal(*r.Size), r.Absent)
		}
	}
	t.verdicts(w)
}

// markdown is the tables of all traces for a README: hits and byte hits in one cell, and what must hold of them.
func (d *traceDocument) markdown() string {
	var b strings.Builder
	names := slices.DeleteFunc(slices.Clone(trace.Names), func(name string) bool {
		return !slices.ContainsFunc(d.Traces, func(t traceTrace) bool { return slices.Contains(t.policies(), name) })
	})
	b.WriteString("| trace | size | objects to |")
	for _, name := range names {
		fmt.Fprintf(&b, " %s |", policyWords[name])
	}
	b.WriteString("\n|" + strings.Repeat("---|", 3+len(names)) + "\n")
	var files []string
	for i := range d.Traces {
		t := &d.Traces[i]
		files = append(files, filepath.Base(t.File))
		name := strings.ReplaceAll(html.EscapeString(t.name()), "|", "\\|")
		for _, at := range t.at() {
			size := at.sized()
			for _, limit := range t.limits() {
				fmt.Fprintf(&b, "| %s | %s | %s |", name, size, percent(limit))
				for _, policy := range names {
					cell := ""
					if r := t.row(policy, at.sized(), limit); r != nil && r.HitRatio != nil && (size != "" || policy != trace.Infinite) {
						cell = ratio(r.HitRatio) + "/" + ratio(r.ByteHitRatio)
					}
					fmt.Fprintf(&b, " %s |", cell)
				}
				b.WriteString("\n")
				name, size = "", ""
			}
		}
	}
	d.beside(&b)
	fmt.Fprintf(&b, "\n(`bin/bench trace %s`; hither of commit %s.)\n", strings.Join(files, " "), d.Commit)
	return b.String()
}

// ratio writes a ratio as anchors are written: .825.
func ratio(v *float64) string {
	if v == nil {
		return "-"
	}
	return strings.TrimPrefix(fmt.Sprintf("%.3f", *v), "0")
}

// percent writes a share: 12.5 %.
func percent(share float64) string {
	return fmt.Sprintf("%g %%", math.Round(share*1e8)/1e6)
}

// decimal writes bytes with three digits: 23.3 GB.
func decimal(n int64) string {
	v, unit := float64(n), 0
	for v >= 999.5 && unit < 6 {
		v, unit = v/1000, unit+1
	}
	word := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}[unit]
	if v >= 99.95 || unit == 0 {
		return fmt.Sprintf("%.0f %s", v, word)
	}
	return fmt.Sprintf("%.3g %s", v, word)
}
