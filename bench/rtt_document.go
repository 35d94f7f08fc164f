package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"hither/bench/load"
	"hither/bench/rtt"
	"hither/deploy"
)

// An rttDocument is the result of `bench rtt`. What was not measured is absent.
type rttDocument struct {
	Commit       string        `json:"commit"`
	Machine      string        `json:"machine"`
	URL          string        `json:"url,omitempty"` // absent: a lab
	Direct       string        `json:"direct,omitempty"`
	ClientEdge   *float64      `json:"client_edge_ms,omitempty"` // of a URL no distance is known
	EdgeOrigin   *float64      `json:"edge_origin_ms,omitempty"`
	ClientOrigin *float64      `json:"client_origin_ms,omitempty"`
	Loss         *float64      `json:"loss,omitempty"`
	Samples      int           `json:"samples"` // of each row but those on a cold pool
	ColdSamples  int           `json:"cold_samples,omitempty"`
	LabError     *float64      `json:"lab_error_ms,omitempty"` // not measured where packets get lost
	Congestion   string        `json:"congestion,omitempty"`
	Rows         []rttRow      `json:"rows"`
	Verdicts     []rtt.Verdict `json:"verdicts,omitempty"`
}

// An rttRow is one case. Times count from when the client began to connect, and are medians but for the percentile; only
// that of DNS is a duration before that.
type rttRow struct {
	Path      string      `json:"path"`
	Protocol  string      `json:"protocol"`
	Cache     string      `json:"cache"`
	Size      int64       `json:"size_bytes"`
	DNS       *float64    `json:"dns_ms,omitempty"`
	Connect   *float64    `json:"connect_ms,omitempty"`   // TCP only
	Handshake *float64    `json:"handshake_ms,omitempty"` // absent with 0-RTT, where the request does not wait for it
	First     *float64    `json:"first_byte_ms,omitempty"`
	FirstP95  *float64    `json:"first_byte_p95_ms,omitempty"`
	Last      *float64    `json:"last_byte_ms,omitempty"`
	Rounds    *rtt.Rounds `json:"round_trips,omitempty"` // of most samples
	Agree     *int        `json:"round_trips_agree_total,omitempty"`
	Limit     *float64    `json:"limit_ms,omitempty"`
	Ratio     *float64    `json:"ratio,omitempty"`
	Records   []rttRecord `json:"records"`
}

// An rttRecord is one sample as it was.
type rttRecord struct {
	DNS       *float64    `json:"dns_ms,omitempty"`
	Connect   *float64    `json:"connect_ms,omitempty"`
	Handshake *float64    `json:"handshake_ms,omitempty"`
	First     *float64    `json:"first_byte_ms,omitempty"`
	Last      *float64    `json:"last_byte_ms,omitempty"`
	Rounds    *rtt.Rounds `json:"round_trips,omitempty"`
}

func newRTTDocument(o rttOptions, r *rtt.Result) *rttDocument {
	d := &rttDocument{Commit: version(), Machine: load.Machine(), Samples: o.samples, Congestion: r.Congestion}
	if o.url != nil {
		d.URL = o.url.String()
		if o.direct != nil {
			d.Direct = o.direct.String()
		}
	} else {
		ms := func(d time.Duration) *float64 { x := float64(d) / float64(time.Millisecond); return &x }
		d.ClientEdge, d.EdgeOrigin, d.ClientOrigin = ms(r.ClientEdge), ms(r.EdgeOrigin), ms(r.ClientOrigin)
		d.Loss, d.ColdSamples, d.LabError, d.Verdicts = &r.Loss, o.cold, micro(r.LabError), r.Verdicts()
	}
	for _, row := range r.Rows {
		x := rttRow{
			Path: string(row.Way), Protocol: row.Protocol.String(), Cache: string(row.Cache), Size: int64(row.Size),
			DNS: micro(row.DNS()), Connect: micro(row.Connect()), Handshake: micro(row.Handshake()),
			First: micro(row.First()), FirstP95: micro(row.FirstP95()), Last: micro(row.Last()), Limit: micro(row.Limit(r.Distances)),
		}
		if rounds, agree, ok := row.Rounds(); ok {
			x.Rounds, x.Agree = &rounds, &agree
		}
		if ratio := math.Round(row.Ratio(r.Distances)*1000) / 1000; ratio > 0 {
			x.Ratio = &ratio
		}
		for _, s := range row.Samples {
			x.Records = append(x.Records, rttRecord{
				DNS: micro(s.DNS), Connect: micro(s.Connect), Handshake: micro(s.Handshake),
				First: micro(s.First), Last: micro(s.Last), Rounds: s.Rounds,
			})
		}
		d.Rows = append(d.Rows, x)
	}
	return d
}

// micro is milliseconds to the microsecond: what is below is no measurement. It is nil for what was not measured.
func micro(d time.Duration) *float64 { return milliseconds(d.Round(time.Microsecond)) }

// holds reports whether all verdicts do.
func (d *rttDocument) holds() bool {
	return !slices.ContainsFunc(d.Verdicts, func(v rtt.Verdict) bool { return !v.Holds })
}

// What people read for the words of documents.
var (
	protocolWords = map[string]string{
		"tls1.2": "TLS 1.2", "tls1.3": "TLS 1.3", "tls1.3-resumed": "TLS 1.3 resumed", "h3": "HTTP/3", "h3-0rtt": "HTTP/3 0-RTT",
	}
	caseWords = map[string]string{
		"direct none": "direct", "edge none": "edge", "edge hit": "edge, hit", "edge miss-warm": "edge, miss, warm pool", "edge miss-cold": "edge, miss, cold pool",
	}
)

// table writes the document for people.
func (d *rttDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	if d.URL != "" {
		d.introduceURL(w)
	} else {
		d.introduceLab(w)
	}
	for i, r := range d.Rows {
		if i == 0 || d.Rows[i-1].Size != r.Size {
			fmt.Fprintf(w, "\n%-21s  %-15s  %6s  %7s  %9s  %10s  %7s  %9s  %4s  %3s  %5s  %5s\n", deploy.Size(r.Size), "protocol",
				"dns", "connect", "handshake", "first byte", "p95", "last byte", "near", "far", "limit", "ratio")
		} else if d.Rows[i-1].group() != r.group() {
			fmt.Fprintln(w)
		}
		near, far := "-", "-"
		if r.Rounds != nil {
			near, far = fmt.Sprint(r.Rounds.ClientEdge), fmt.Sprint(r.Rounds.EdgeOrigin+r.Rounds.ClientOrigin)
		}
		fmt.Fprintf(w, "%-21s  %-15s  %6s  %7s  %9s  %10s  %7s  %9s  %4s  %3s  %5s  %5s\n", caseWords[r.group()], protocolWords[r.Protocol],
			figure(r.DNS, "%.1f"), figure(r.Connect, "%.1f"), figure(r.Handshake, "%.1f"), figure(r.First, "%.1f"), figure(r.FirstP95, "%.1f"),
			figure(r.Last, "%.1f"), near, far, figure(r.Limit, "%.0f"), figure(r.Ratio, "%.3f"))
	}
	if len(d.Verdicts) > 0 {
		fmt.Fprintln(w)
	}
	for _, v := range d.Verdicts {
		word := "holds"
		if !v.Holds {
			word = "DOES NOT HOLD"
		}
		fmt.Fprintf(w, "  %-13s  %s: %.4g (bound %.4g)", word, v.Claim, v.Value, v.Bound)
		if v.Why != "" {
			fmt.Fprintf(w, "; %s", v.Why)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// figure writes a number; "-" where there is none.
func figure(v *float64, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}

// introduceLab says how to read the table of a lab.
func (d *rttDocument) introduceLab(w io.Writer) {
	fmt.Fprintf(w, "client to edge %s ms, edge to origin %s ms, client to origin %s ms there and back", plain(*d.ClientEdge), plain(*d.EdgeOrigin), plain(*d.ClientOrigin))
	if *d.Loss > 0 {
		fmt.Fprintf(w, "; %s of packets lost", plain(*d.Loss))
	}
	if d.LabError != nil {
		fmt.Fprintf(w, "; the lab itself adds %.2f ms to an echo", *d.LabError)
	}
	fmt.Fprintf(w, "; TCP uses %s\n", d.Congestion)
	fmt.Fprintf(w, "Medians of %s, of %d on a cold pool. Milliseconds since the client began to connect; dns is what it took before that.\n", samples(d.Samples), d.ColdSamples)
	fmt.Fprintln(w, "Round trips are those the first byte waited for, counted on the wire: near from client to edge, far from there to the origin,")
	fmt.Fprintln(w, "or directly. limit is round trips x distance, and ratio the first byte over that.")
}

// introduceURL does so for a URL.
func (d *rttDocument) introduceURL(w io.Writer) {
	fmt.Fprintf(w, "%s\n", d.URL)
	if d.Direct != "" {
		fmt.Fprintf(w, "direct: %s\n", d.Direct)
	}
	fmt.Fprintf(w, "Medians of %s. Milliseconds since the client began to connect; dns is what it took before that. Round trips are counted in a lab only.\n", samples(d.Samples))
}

// samples says how many there are.
func samples(n int) string {
	if n == 1 {
		return "1 sample"
	}
	return fmt.Sprintf("%d samples", n)
}
