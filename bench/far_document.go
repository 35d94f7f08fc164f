package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"hither/bench/far"
	"hither/bench/load"
	"hither/deploy"
)

// A farDocument is the result of `bench far`. Rates are in bits per second.
type farDocument struct {
	Commit      string        `json:"commit"`
	Machine     string        `json:"machine"`
	ClientEdge  float64       `json:"client_edge_ms"`
	EdgeOrigin  float64       `json:"edge_origin_ms"`
	LineRate    float64       `json:"line_rate"`
	Loss        float64       `json:"loss"` // of the last part
	Seed        uint64        `json:"seed"`
	Connections int           `json:"connections"`
	Congestion  string        `json:"congestion"` // the machine's
	Size        int64         `json:"size_bytes"`
	Strangers   farStrangers  `json:"strangers"`
	Rows        []farRow      `json:"rows"`
	Verdicts    []far.Verdict `json:"verdicts"`
}

// farStrangers are the uncached requests of clients that were never there before.
type farStrangers struct {
	Requests   int       `json:"requests_total"`
	Handshakes int       `json:"handshakes_total"`
	Opened     int       `json:"opened_total"`
	First      *float64  `json:"first_byte_ms,omitempty"`
	FirstP95   *float64  `json:"first_byte_p95_ms,omitempty"`
	Limit      float64   `json:"limit_ms"`
	Records    []float64 `json:"records_ms"`
}

// A farRow is one kind of transfer. Of those one after another the rate is the median, of those at once it is the sum.
type farRow struct {
	Case    string      `json:"case"` // tcp | one | parallel | loss
	Rate    float64     `json:"rate"`
	Share   float64     `json:"share"` // of the line's rate, headers of packets not counted
	Even    *float64    `json:"slowest_over_fastest,omitempty"`
	Records []farRecord `json:"records"`
}

type farRecord struct {
	Bytes int64   `json:"transferred_bytes"`
	Took  float64 `json:"took_ms"`
}

func newFarDocument(r *far.Result) *farDocument {
	ms := func(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / float64(time.Millisecond) }
	d := &farDocument{
		Commit: version(), Machine: load.Machine(), ClientEdge: ms(r.ClientEdge), EdgeOrigin: ms(r.EdgeOrigin), LineRate: float64(r.Rate),
		Loss: r.Loss, Seed: r.Seed, Connections: r.Connections, Congestion: r.Congestion, Size: int64(r.Size), Verdicts: r.Verdicts(),
		Strangers: farStrangers{
			Requests: r.Strangers.Requests, Handshakes: r.Strangers.Handshakes, Opened: r.Strangers.Opened, Limit: ms(r.Limit()),
			First: micro(r.Strangers.Percentile(0.5)), FirstP95: micro(r.Strangers.Percentile(0.95)),
		},
	}
	for _, t := range r.Strangers.First {
		d.Strangers.Records = append(d.Strangers.Records, ms(t))
	}
	for i := range d.Verdicts {
		d.Verdicts[i].Value = thousandth(d.Verdicts[i].Value)
	}
	for _, row := range []struct {
		name     string
		ts       []far.Transfer
		together bool
	}{{"tcp", r.Flow, false}, {"one", r.One, false}, {"parallel", r.Parallel, true}, {"loss", r.Lossy, true}} {
		x := farRow{Case: row.name, Rate: math.Round(far.Median(row.ts))}
		if row.together {
			even := thousandth(far.Evenness(row.ts))
			x.Rate, x.Even = math.Round(far.Sum(row.ts)), &even
		}
		if r.Rate > 0 {
			x.Share = thousandth(x.Rate / float64(r.Rate))
		}
		for _, t := range row.ts {
			x.Records = append(x.Records, farRecord{t.Bytes, ms(t.Took)})
		}
		d.Rows = append(d.Rows, x)
	}
	return d
}

func thousandth(v float64) float64 { return math.Round(v*1000) / 1000 }

// holds reports whether all verdicts do.
func (d *farDocument) holds() bool {
	return !slices.ContainsFunc(d.Verdicts, func(v far.Verdict) bool { return !v.Holds })
}

// print writes the result as it was asked for, and tells whether everything holds.
func (d *farDocument) print(output string, stdout io.Writer) (err error) {
	if output == "json" {
		err = printDocument(stdout, "bench-far", d)
	} else {
		err = d.table(stdout)
	}
	if err == nil && !d.holds() {
		err = errDoesNotHold
	}
	return err
}

// farWords are what people read for the cases of documents.
var farWords = map[string]string{"tcp": "TCP alone", "one": "one answer", "parallel": "at once", "loss": ""}

// table writes the document for people.
func (d *farDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	fmt.Fprintf(w, "client to edge %s ms, edge to origin %s ms there and back at %s Mbit/s with a queue of one bandwidth-delay product; %d connections; the machine's TCP uses %s\n\n",
		plain(d.ClientEdge), plain(d.EdgeOrigin), plain(d.LineRate/1e6), d.Connections, d.Congestion)
	s := d.Strangers
	fmt.Fprintf(w, "%d uncached requests of strangers: %d handshakes with the origin, %d connections opened; first byte %s ms (p95 %s), of %s by distance alone\n\n",
		s.Requests, s.Handshakes, s.Opened, figure(s.First, "%.1f"), figure(s.FirstP95, "%.1f"), plain(s.Limit))
	fmt.Fprintf(w, "%-18s  %7s  %13s  %s\n", deploy.Size(d.Size), "Mbit/s", "slowest/fast.", "each")
	for _, r := range d.Rows {
		name := farWords[r.Case]
		if r.Case == "loss" {
			name = fmt.Sprintf("at once, %s %% lost", plain(d.Loss*100))
		}
		fmt.Fprintf(w, "%-18s  %7.1f  %13s ", name, r.Rate/1e6, figure(r.Even, "%.2f"))
		for _, x := range r.Records {
			fmt.Fprintf(w, " %.1f", far.Transfer{Bytes: x.Bytes, Took: time.Duration(x.Took * float64(time.Millisecond))}.Rate()/1e6)
		}
		fmt.Fprintln(w)
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
		fmt.Fprintf(w, "  %-13s  %s: %.4g (%s %.4g)\n", word, v.Claim, v.Value, bound, v.Bound)
	}
	return nil
}
