package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"hither/bench/load"
	"hither/bench/overload"
	"hither/bench/peers"
)

// A dnsDocument is the result of `bench dns`. What was not measured is absent.
type dnsDocument struct {
	Commit    string      `json:"commit"`
	Machine   string      `json:"machine"`
	Dnsperf   string      `json:"dnsperf"` // its version
	Questions int         `json:"questions"`
	Rounds    int         `json:"rounds"`
	Seconds   float64     `json:"seconds"` // of each measurement
	Servers   []dnsServer `json:"servers"`
	Rows      []dnsRow    `json:"rows"`
}

type dnsServer struct {
	Name     string             `json:"name"`
	Version  string             `json:"version,omitempty"`
	Missing  bool               `json:"missing"`
	BestRate []float64          `json:"best_rate,omitempty"` // by round
	Verdicts []overload.Verdict `json:"verdicts,omitempty"`
}

// A dnsRow is one measurement. Rates are per second.
type dnsRow struct {
	Server   string           `json:"server"`
	Round    int              `json:"round"`
	Case     string           `json:"case"`
	Client   string           `json:"client"`
	Asked    float64          `json:"asked_rate,omitempty"` // absent in a closed loop
	Offered  float64          `json:"offered_rate"`
	Rate     float64          `json:"rate"`
	Sent     int64            `json:"sent_total"`
	Answered int64            `json:"answered_total"`
	Lost     int64            `json:"lost_total"`
	Rcodes   map[string]int64 `json:"rcodes"`
	Mean     *float64         `json:"mean_ms,omitempty"`
	P50      *float64         `json:"p50_ms,omitempty"`
	P99      *float64         `json:"p99_ms,omitempty"`
	Max      *float64         `json:"max_ms,omitempty"`
	CPU      float64          `json:"cpu_us"`        // the server's, per answer
	ClientC  float64          `json:"client_cpu_us"` // per question
	Busy     float64          `json:"server_cores"`  // that the server had
	Others   float64          `json:"other_cores"`   // that neither server nor client had
	Dropped  int64            `json:"server_dropped_total"`
	DroppedC int64            `json:"client_dropped_total"`
	Before   int64            `json:"rss_before_bytes"`
	Most     int64            `json:"rss_most_bytes"`
}

func newDNSDocument(server *peers.DNSServer, dnsperf string, questions int, o dnsOptions, r overload.Result) *dnsDocument {
	d := &dnsDocument{
		Commit: version(), Machine: load.Machine(), Dnsperf: dnsperf, Questions: questions, Rounds: o.rounds, Seconds: o.each.Seconds(),
	}
	d.add(server.Name, server.Version, r)
	return d
}

// add takes up what was measured of one server.
func (d *dnsDocument) add(name, version string, r overload.Result) {
	s := dnsServer{Name: name, Version: version, Verdicts: r.Verdicts()}
	for _, round := range r.Rounds {
		s.BestRate = append(s.BestRate, round.Best)
	}
	d.Servers = append(d.Servers, s)
	for _, row := range r.Rows {
		d.Rows = append(d.Rows, dnsRow{
			Server: name, Round: row.Round, Case: row.Phase, Client: row.Client,
			Asked: row.Asked, Offered: row.Offered(), Rate: row.Rate(),
			Sent: row.Sent, Answered: row.Answered, Lost: row.Lost, Rcodes: row.Rcodes,
			Mean: milliseconds(row.Mean), P50: milliseconds(row.P50), P99: milliseconds(row.P99), Max: milliseconds(row.Max),
			CPU: microseconds(row.Server.PerAnswer), ClientC: microseconds(row.Run.CPU / time.Duration(max(row.Sent, 1))), Busy: row.Server.Busy, Others: row.Server.Others,
			Dropped: row.Server.Dropped, DroppedC: row.Dropped, Before: row.Server.RSSBefore, Most: row.Server.RSSMost,
		})
	}
}

// milliseconds is nil for what was not measured.
func milliseconds(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	ms := float64(d) / float64(time.Millisecond)
	return &ms
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// holds reports whether all verdicts do.
func (d *dnsDocument) holds() bool {
	return !slices.ContainsFunc(d.Servers, func(s dnsServer) bool {
		return slices.ContainsFunc(s.Verdicts, func(v overload.Verdict) bool { return !v.Holds })
	})
}

// table writes the document for people: a line for each case and client, with the median of the rounds and, where there were several,
// their range.
func (d *dnsDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s; dnsperf %s\n", d.Commit, d.Machine, d.Dnsperf)
	fmt.Fprintf(w, "%d questions for A, each with another client subnet; %d x %gs; median [least, most]\n\n", d.Questions, d.Rounds, d.Seconds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "server\tcase\tclient\toffered/s\tanswered/s\tlost\tp50 ms\tp99 ms\tcpu us\tclient us\tserver cores\tother cores\tRSS MiB\t")
	for _, s := range d.Servers {
		for _, phase := range []string{overload.PhaseClosed, overload.PhaseBelow, overload.PhaseAbove} {
			for _, client := range []string{"dnsperf", "bench"} {
				d.line(t, s.Name, phase, client)
			}
		}
	}
	t.Flush()
	for _, s := range d.Servers {
		fmt.Fprintf(w, "\n%s %s: best rate %s\n", s.Name, s.Version, spread(s.BestRate, "%.0f"))
		for _, v := range s.Verdicts {
			word := "holds"
			if !v.Holds {
				word = "DOES NOT HOLD"
			}
			fmt.Fprintf(w, "  %-13s  %s: %s (bound %s)", word, v.Claim, plain(v.Value), plain(v.Bound))
			if v.Why != "" {
				fmt.Fprintf(w, "; %s", v.Why)
			}
			fmt.Fprintln(w)
		}
	}
	return nil
}

// line writes one line of the table, if there is something to say.
func (d *dnsDocument) line(w io.Writer, server, phase, client string) {
	var offered, rate, p50, p99, cpu, sending, busy, others, rss []float64
	lost := int64(0)
	for _, r := range d.Rows {
		if r.Server != server || r.Case != phase || r.Client != client {
			continue
		}
		offered, rate, cpu = append(offered, r.Offered), append(rate, r.Rate), append(cpu, r.CPU)
		sending = append(sending, r.ClientC)
		busy, others, rss = append(busy, r.Busy), append(others, r.Others), append(rss, float64(r.Most)/(1<<20))
		if r.P50 != nil && r.P99 != nil {
			p50, p99 = append(p50, *r.P50), append(p99, *r.P99)
		}
		lost += r.Lost
	}
	if len(rate) == 0 {
		return
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", server, phase, client,
		middle(offered, "%.0f"), spread(rate, "%.0f"), lost, middle(p50, "%.2f"), spread(p99, "%.2f"), spread(cpu, "%.2f"),
		middle(sending, "%.2f"), middle(busy, "%.2f"), spread(others, "%.2f"), middle(rss, "%.0f"))
}

// plain writes a number as people do: small ones with three digits, counts whole.
func plain(v float64) string {
	if v == math.Trunc(v) || math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// middle writes the median of figures; "-" where there are none.
func middle(v []float64, format string) string {
	if len(v) == 0 {
		return "-"
	}
	v = slices.Sorted(slices.Values(v))
	return fmt.Sprintf(format, (v[(len(v)-1)/2]+v[len(v)/2])/2)
}

// spread is middle with, where there are several, the least and the most.
func spread(v []float64, format string) string {
	if len(v) < 2 {
		return middle(v, format)
	}
	return fmt.Sprintf("%s ["+format+", "+format+"]", middle(v, format), slices.Min(v), slices.Max(v))
}
