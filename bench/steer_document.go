package main

import (
	"fmt"
	"io"
	"slices"

	"hither/bench/load"
	"hither/bench/steer"
)

// A steerDocument is the result of `bench steer`.
type steerDocument struct {
	Commit   string          `json:"commit"`
	Machine  string          `json:"machine"`
	Clients  int             `json:"clients_total"`
	Every    float64         `json:"every_s"` // each makes a connection
	Far      *steerFar       `json:"far,omitempty"`
	Load     *steerLoad      `json:"load,omitempty"`
	Verdicts []steer.Verdict `json:"verdicts"`
}

// steerCounts are what became of clients. Those of first and stayed are of the PoP that is nearest on the map.
type steerCounts struct {
	First     int    `json:"first_total"`
	Stayed    int    `json:"stayed_total"`
	Elsewhere int    `json:"elsewhere_total"` // than they were at first
	Moves     int    `json:"moves_total"`
	Backs     int    `json:"moves_back_total"`
	Explored  int    `json:"explored_total"`
	Visits    int    `json:"visits_total"`
	Failed    int    `json:"failed_total"`
	Error     string `json:"error,omitempty"` // of the first that failed
}

type steerFar struct {
	steerCounts
	Lost float64 `json:"lost_s"`
}

type steerLoad struct {
	steerCounts
	Capacity int     `json:"capacity_requests"`
	Most     float64 `json:"load_most"`
	Settled  float64 `json:"settled_s"`
	Kept     float64 `json:"load_kept"`
	Late     int     `json:"moves_after_total"`
}

func newSteerDocument(r *steer.Result) *steerDocument {
	counts := func(c steer.Counts) steerCounts {
		n := steerCounts{c.First, c.Stayed, c.Elsewhere, c.Moves, c.Backs, c.Explored, c.Visits, c.Failed, ""}
		if c.Because != nil {
			n.Error = c.Because.Error()
		}
		return n
	}
	d := &steerDocument{Commit: version(), Machine: load.Machine(), Clients: r.Clients, Every: thousandth(r.Every.Seconds()), Verdicts: r.Verdicts()}
	for i := range d.Verdicts {
		d.Verdicts[i].Value = thousandth(d.Verdicts[i].Value)
	}
	if f := r.Far; f != nil {
		d.Far = &steerFar{counts(f.Counts), thousandth(f.Lost.Seconds())}
	}
	if l := r.Load; l != nil {
		d.Load = &steerLoad{counts(l.Counts), l.Capacity, thousandth(l.Most), thousandth(l.Settled.Seconds()), thousandth(l.Kept), l.Late}
	}
	return d
}

// print writes the result as it was asked for, and tells whether everything holds.
func (d *steerDocument) print(output string, stdout io.Writer) (err error) {
	if output == "json" {
		err = printDocument(stdout, "bench-steer", d)
	} else {
		err = d.table(stdout)
	}
	if err == nil && slices.ContainsFunc(d.Verdicts, func(v steer.Verdict) bool { return !v.Holds }) {
		err = errDoesNotHold
	}
	return err
}

// table writes the document for people.
func (d *steerDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	fmt.Fprintf(w, "%d clients, each in a network of its own, with a connection every %s s; answers of DNS last 5 s\n\n", d.Clients, plain(d.Every))
	if f := d.Far; f != nil {
		fmt.Fprintf(w, "near on the map, far in time: %d clients came to it, the last left after %.1f s, %d are there in the end\n", f.First, f.Lost, f.Stayed)
		f.table(w)
	}
	if l := d.Load; l != nil {
		fmt.Fprintf(w, "overload: made for %d requests a second; load %.2f at most, below the bound after %.0f s, %.2f on average then\n", l.Capacity, l.Most, l.Settled, l.Kept)
		l.table(w)
	}
	fmt.Fprintln(w)
	for _, v := range d.Verdicts {
		word, bound := "holds", "at most"
		if !v.Holds {
			word = "DOES NOT HOLD"
		}
		if v.Least {
			bound = "at least"
		}
		if _, err := fmt.Fprintf(w, "  %-13s  %s: %.4g (%s %.4g)\n", word, v.Claim, v.Value, bound, v.Bound); err != nil {
			return err
		}
	}
	return nil
}

// table writes the counts for people.
func (c steerCounts) table(w io.Writer) {
	fmt.Fprintf(w, "  %d clients are elsewhere in the end; %d moves, %d of them back; %d prefixes explored; %d visits, %d failed", c.Elsewhere, c.Moves, c.Backs, c.Explored, c.Visits, c.Failed)
	if c.Error != "" {
		fmt.Fprintf(w, ": %s", c.Error)
	}
	fmt.Fprintln(w)
}
