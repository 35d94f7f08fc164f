package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"hither/bench/load"
	"hither/bench/pairs"
	"hither/bench/reports"
)

// A reportsDocument is the result of `bench reports`.
type reportsDocument struct {
	Commit   string            `json:"commit"`
	Machine  string            `json:"machine"`
	Pairs    int               `json:"pairs"`
	Seconds  float64           `json:"seconds"`
	Idle     reportsIdle       `json:"idle"`
	Rows     []reportsRow      `json:"rows"`
	Verdicts []reports.Verdict `json:"verdicts"`
}

// reportsIdle is what each takes of a core with nothing to do, in per cent.
type reportsIdle struct {
	Reports float64 `json:"core_percent"`
	Alone   float64 `json:"core_alone_percent"`
}

type reportsRow struct {
	Case    string        `json:"case"`
	Reports pairs.Spread  `json:"cpu_us"`
	Alone   pairs.Spread  `json:"cpu_alone_us"`
	Cost    pairs.Spread  `json:"cost_percent"`
	Profile reportsShare  `json:"profile"`
	Records []reportsPair `json:"records"`
}

// reportsShare is what the edge's profile has.
type reportsShare struct {
	Samples   int64   `json:"samples_total"`
	Reports   int64   `json:"samples_reports"`
	Collector int64   `json:"samples_collector"`
	Allocated float64 `json:"allocated_reports_percent"`
	Percent   float64 `json:"percent"`
}

type reportsPair struct {
	Reports reportsSpent `json:"reports"`
	Alone   reportsSpent `json:"alone"`
}

type reportsSpent struct {
	CPU      float64 `json:"cpu_us"`
	Answered int64   `json:"answered_total"`
	Busy     float64 `json:"busy"` // share of the core
}

func newReportsDocument(r *reports.Result) *reportsDocument {
	d := &reportsDocument{Commit: version(), Machine: load.Machine(), Pairs: r.Options.Pairs, Seconds: r.For.Seconds(), Verdicts: r.Verdicts()}
	d.Idle = reportsIdle{thousandth(r.Idle.Reports * 100), thousandth(r.Idle.Alone * 100)}
	for i := range d.Verdicts {
		d.Verdicts[i].Value = thousandth(d.Verdicts[i].Value)
	}
	round := func(s pairs.Spread) pairs.Spread {
		return pairs.Spread{Median: thousandth(s.Median), Min: thousandth(s.Min), Max: thousandth(s.Max)}
	}
	spent := func(s reports.Spent) reportsSpent {
		return reportsSpent{thousandth(float64(s.CPU) / float64(time.Microsecond)), s.Answered, thousandth(s.Busy)}
	}
	for _, c := range reports.Cases() {
		share := r.Shares[c.Name]
		row := reportsRow{Case: c.Name, Cost: round(r.Cost(c.Name)), Profile: reportsShare{
			share.Samples, share.Reports, share.Collector, thousandth(share.Allocated * 100), thousandth(share.Percent()),
		}}
		var with, without []float64
		for _, p := range r.Pairs[c.Name] {
			x := reportsPair{spent(p.Reports), spent(p.Alone)}
			row.Records = append(row.Records, x)
			with, without = append(with, x.Reports.CPU), append(without, x.Alone.CPU)
		}
		row.Reports, row.Alone = round(pairs.NewSpread(with)), round(pairs.NewSpread(without))
		d.Rows = append(d.Rows, row)
	}
	return d
}

// print writes the result as it was asked for, and tells whether everything holds.
func (d *reportsDocument) print(output string, stdout io.Writer) (err error) {
	if output == "json" {
		err = printDocument(stdout, "bench-reports", d)
	} else {
		err = d.table(stdout)
	}
	if err == nil && slices.ContainsFunc(d.Verdicts, func(v reports.Verdict) bool { return !v.Holds }) {
		err = errDoesNotHold
	}
	return err
}

// table writes the document for people.
func (d *reportsDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	fmt.Fprintf(w, "an edge with a hub and one without, %d pairs of %s s on one core; median [least, most]\n\n", d.Pairs, plain(d.Seconds))
	fmt.Fprintf(w, "nothing to do: %.2f %% of a core with reports, %.2f %% alone\n\n", d.Idle.Reports, d.Idle.Alone)
	fmt.Fprintf(w, "%-10s  %-27s  %-27s  %s\n", "case", "CPU us, reports", "CPU us, alone", "cost, %")
	for _, r := range d.Rows {
		fmt.Fprintf(w, "%-10s  %-27s  %-27s  %s\n", r.Case, costs(r.Reports), costs(r.Alone), costs(r.Cost))
	}
	fmt.Fprintln(w)
	for _, r := range d.Rows {
		p := r.Profile
		fmt.Fprintf(w, "profile, %-10s  %d of %d samples in reports, %d in the collector; %.2f %% of the bytes: %.2f %%\n", r.Case, p.Reports, p.Samples, p.Collector, p.Allocated, p.Percent)
	}
	fmt.Fprintln(w)
	for _, v := range d.Verdicts {
		word := "holds"
		if !v.Holds {
			word = "DOES NOT HOLD"
		}
		if _, err := fmt.Fprintf(w, "  %-13s  %s: %.3g (at most %.3g)\n", word, v.Claim, v.Value, v.Bound); err != nil {
			return err
		}
	}
	return nil
}

func costs(s pairs.Spread) string { return fmt.Sprintf("%.2f [%.2f, %.2f]", s.Median, s.Min, s.Max) }
