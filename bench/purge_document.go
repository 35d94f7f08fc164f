package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"hither/bench/lab"
	"hither/bench/load"
	"hither/bench/purge"
)

// A purgeDocument is the result of `bench purge`. Times are in milliseconds.
type purgeDocument struct {
	Commit   string          `json:"commit"`
	Machine  string          `json:"machine"`
	Distance float64         `json:"distance_ms"`
	Purges   int             `json:"purges_total"`
	Rows     []purgeRow      `json:"rows"`
	Verdicts []purge.Verdict `json:"verdicts"`
	Records  []purgeRecord   `json:"records"`
}

// A purgeRow is one PoP, all of them together, or the receipt: when whoever ordered the purge was told that all PoPs have done it.
type purgeRow struct {
	Name string  `json:"name"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Most float64 `json:"most_ms"`
}

type purgeRecord struct {
	Gone    []float64          `json:"gone_ms"` // at each PoP, in the order of the rows
	Receipt float64            `json:"receipt_ms"`
	Told    map[string]float64 `json:"control_ms"` // by the control's own clock
	Found   int                `json:"found_total"`
}

func newPurgeDocument(r *purge.Result) *purgeDocument {
	ms := func(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / float64(time.Millisecond) }
	row := func(name string, all []time.Duration) purgeRow {
		return purgeRow{name, ms(purge.Percentile(all, 0.5)), ms(purge.Percentile(all, 0.99)), ms(purge.Percentile(all, 1))}
	}
	d := &purgeDocument{Commit: version(), Machine: load.Machine(), Distance: ms(r.Distance), Purges: len(r.Purges), Verdicts: r.Verdicts()}
	for i, p := range lab.Edges() {
		d.Rows = append(d.Rows, row(p.String(), r.Gone(i)))
	}
	d.Rows = append(d.Rows, row("all PoPs", r.Gone(-1)), row("receipt", r.Receipts()))
	for i := range d.Verdicts {
		d.Verdicts[i].Value = thousandth(d.Verdicts[i].Value)
	}
	for _, p := range r.Purges {
		x := purgeRecord{Receipt: ms(p.Receipt), Told: make(map[string]float64), Found: p.Found}
		for _, g := range p.Gone {
			x.Gone = append(x.Gone, ms(g))
		}
		for name, t := range p.Told {
			x.Told[name] = ms(t)
		}
		d.Records = append(d.Records, x)
	}
	return d
}

// print writes the result as it was asked for, and tells whether everything holds.
func (d *purgeDocument) print(output string, stdout io.Writer) (err error) {
	if output == "json" {
		err = printDocument(stdout, "bench-purge", d)
	} else {
		err = d.table(stdout)
	}
	if err == nil && slices.ContainsFunc(d.Verdicts, func(v purge.Verdict) bool { return !v.Holds }) {
		err = errDoesNotHold
	}
	return err
}

// table writes the document for people.
func (d *purgeDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	fmt.Fprintf(w, "%d purges of one object each at %d PoPs, %s ms there and back from the hub\n\n", d.Purges, len(lab.Edges()), plain(d.Distance))
	fmt.Fprintf(w, "%-9s  %8s  %8s  %8s\n", "gone, ms", "p50", "p99", "most")
	for _, r := range d.Rows {
		fmt.Fprintf(w, "%-9s  %8.1f  %8.1f  %8.1f\n", r.Name, r.P50, r.P99, r.Most)
	}
	fmt.Fprintln(w)
	for _, v := range d.Verdicts {
		word := "holds"
		if !v.Holds {
			word = "DOES NOT HOLD"
		}
		if _, err := fmt.Fprintf(w, "  %-13s  %s: %.4g (at most %.4g)\n", word, v.Claim, v.Value, v.Bound); err != nil {
			return err
		}
	}
	return nil
}
