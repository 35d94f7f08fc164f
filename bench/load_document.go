package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"hither/bench/load"
)

// A loadDocument is the result of `bench load`. What was not measured is absent.
type loadDocument struct {
	Commit         string    `json:"commit"`
	Machine        string    `json:"machine"`
	URL            string    `json:"url"` // the first
	URLs           int       `json:"urls"`
	Zipf           float64   `json:"zipf"` // 0: all in turn
	Seed           uint64    `json:"seed"`
	To             string    `json:"to"`
	Loop           string    `json:"loop"` // closed or open
	Asked          float64   `json:"asked_rate,omitempty"`
	Connections    int       `json:"connections"`
	Streams        int       `json:"streams"`
	NewConnections bool      `json:"new_connections"`
	Resume         bool      `json:"resume"`
	Seconds        float64   `json:"seconds"`
	WarmUp         float64   `json:"warm_up_seconds"`
	Timeout        float64   `json:"timeout_seconds"`
	Stopped        bool      `json:"stopped"` // before its time was over, by Ctrl-C or an error
	Rows           []loadRow `json:"rows"`
}

// A loadRow is one protocol's. Rates are per second.
type loadRow struct {
	Protocol string           `json:"protocol"`
	Seconds  float64          `json:"seconds"` // that were measured
	Rate     float64          `json:"rate"`
	Requests int64            `json:"requests_total"`
	Answered int64            `json:"answered_total"`
	Unsent   *int64           `json:"unsent_total,omitempty"` // absent in a closed loop
	Errors   map[string]int64 `json:"errors"`                 // by kind
	First    string           `json:"first_error,omitempty"`
	Status   map[string]int64 `json:"statuses"` // by code
	Bytes    int64            `json:"body_bytes_total"`
	Opened   int64            `json:"connections_opened_total"`
	Resumed  int64            `json:"connections_resumed_total"`
	Again    int64            `json:"sent_again_total"`
	Because  string           `json:"sent_again_because,omitempty"`
	ClientC  *float64         `json:"client_cpu_us,omitempty"` // per answer
	CPU      *float64         `json:"cpu_us,omitempty"`        // the server's, per answer
	Busy     *float64         `json:"server_cores,omitempty"`
	Before   int64            `json:"rss_before_bytes,omitempty"`
	After    int64            `json:"rss_after_bytes,omitempty"`
	Most     int64            `json:"rss_most_bytes,omitempty"`
	Pids     int              `json:"server_processes,omitempty"` // the most there were at a time, of --pid and below
	Service  *loadTimes       `json:"service,omitempty"`          // from when a request was sent
	Response *loadTimes       `json:"response,omitempty"`         // from when it was due; absent in a closed loop
}

// loadTimes are how long answers took.
type loadTimes struct {
	Samples int64   `json:"samples"`
	Mean    float64 `json:"mean_ms"`
	P50     float64 `json:"p50_ms"`
	P90     float64 `json:"p90_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Max     float64 `json:"max_ms"`
	Record  string  `json:"hdr"` // all of them, in nanoseconds: an HdrHistogram V2, compressed, as its tools read it

	histogram *hdrhistogram.Histogram
}

func newLoadTimes(h *hdrhistogram.Histogram) *loadTimes {
	if h.TotalCount() == 0 {
		return nil
	}
	ms := func(ns int64) float64 { return *micro(max(time.Duration(ns), time.Microsecond)) }
	encoded, err := h.EncodeV2()
	if err != nil {
		encoded = nil // only a histogram of another version has an error
	}
	return &loadTimes{
		Samples: h.TotalCount(), Mean: ms(int64(h.Mean())), P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)),
		P99: ms(h.ValueAtQuantile(99)), P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()), Record: string(encoded), histogram: h,
	}
}

func newLoadDocument(o loadOptions) *loadDocument {
	d := &loadDocument{
		Commit: version(), Machine: load.Machine(), URL: o.load.URLs[0].String(), URLs: len(o.load.URLs), Zipf: o.load.Zipf, Seed: o.load.Seed,
		To: o.load.To.String(), Loop: "closed", Asked: o.load.Rate, Connections: o.load.Connections, Streams: o.load.Streams,
		NewConnections: o.load.NewConnections, Resume: o.load.Resume,
		Seconds: o.load.For.Seconds(), WarmUp: o.load.WarmUp.Seconds(), Timeout: o.load.Timeout.Seconds(),
	}
	if o.load.Rate > 0 {
		d.Loop = "open"
	}
	return d
}

// add takes up what was measured over one protocol.
func (d *loadDocument) add(r *load.HTTPRun) {
	row := loadRow{
		Protocol: r.Protocol, Seconds: r.Elapsed.Seconds(), Rate: r.Rate(), Requests: r.Requests, Answered: r.Answered,
		Errors: make(map[string]int64), Status: make(map[string]int64), Bytes: r.Bytes, Opened: r.Opened, Resumed: r.Resumed, Again: r.Again,
		Service: newLoadTimes(r.Service),
	}
	for k, n := range r.Errors {
		row.Errors[string(k)] = n
	}
	for code, n := range r.Status {
		row.Status[fmt.Sprint(code)] = n
	}
	if r.First != nil {
		row.First = r.First.Error()
	}
	if r.Because != nil {
		row.Because = r.Because.Error()
	}
	if d.Loop == "open" {
		row.Response, row.Unsent = newLoadTimes(r.Response), &r.Unsent
	}
	if r.InTime > 0 && r.CPU > 0 {
		cpu := microseconds(r.PerRequest(r.CPU))
		row.ClientC = &cpu
	}
	if s := r.Server; s.RSSBefore > 0 {
		row.Before, row.After, row.Most, row.Pids = s.RSSBefore, s.RSSAfter, s.RSSMost, s.Processes
		if r.InTime > 0 && s.RSSAfter > 0 { // else it ended, with its account
			cpu, busy := microseconds(r.PerRequest(s.CPU)), s.CPU.Seconds()/max(r.Elapsed.Seconds(), 1e-9)
			row.CPU, row.Busy = &cpu, &busy
		}
	}
	d.Rows = append(d.Rows, row)
}

// answered reports whether there was an answer over every protocol.
func (d *loadDocument) answered() bool {
	return !slices.ContainsFunc(d.Rows, func(r loadRow) bool { return r.Answered == 0 && r.Rate == 0 })
}

// print writes the result as it was asked for.
func (d *loadDocument) print(o loadOptions, stdout io.Writer) (err error) {
	if o.output == "json" {
		err = printDocument(stdout, "bench-load", d)
	} else {
		err = d.table(stdout)
	}
	if err == nil && !d.answered() {
		err = errNoAnswer
	}
	return asWell(err, writePicture(o.svg, d.picture))
}

// table writes the document for people.
func (d *loadDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	fmt.Fprintf(w, "%s at %s\n%s\n", d.subject(), d.To, d.manner())
	if d.Stopped {
		fmt.Fprintln(w, "STOPPED before its time was over")
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tanswers/s\tMiB/s\terrors\tunsent\tms\tp50\tp90\tp99\tp99.9\tmax\tcpu us\tclient us\tcores\tRSS MiB\t")
	for _, r := range d.Rows {
		var errs int64
		for _, n := range r.Errors {
			errs += n
		}
		unsent, rss := "-", "-"
		if r.Unsent != nil {
			unsent = fmt.Sprint(*r.Unsent)
		}
		if r.Most > 0 {
			rss = fmt.Sprintf("%.1f", float64(r.Most)/(1<<20))
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%d\t%s\tservice\t%s\t%s\t%s\t%s\t%s\t\n", r.Protocol, r.Rate,
			float64(r.Bytes)/(1<<20)/max(r.Seconds, 1e-9), errs, unsent, r.Service.line(), figure(r.CPU, "%.1f"), figure(r.ClientC, "%.1f"), figure(r.Busy, "%.2f"), rss)
		if d.Loop == "open" {
			fmt.Fprintf(t, "\t\t\t\t\tresponse\t%s\t\t\t\t\t\n", r.Response.line())
		}
	}
	t.Flush()
	for _, r := range d.Rows {
		d.remarks(w, r)
	}
	return nil
}

// subject says what was asked for.
func (d *loadDocument) subject() string {
	switch {
	case d.URLs == 1:
		return d.URL
	case d.Zipf == 0:
		return fmt.Sprintf("%d URLs in turn, from %s on,", d.URLs, d.URL)
	}
	return fmt.Sprintf("%d URLs, the nth in proportion to 1/n^%v, from %s on,", d.URLs, d.Zipf, d.URL)
}

// manner says how.
func (d *loadDocument) manner() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Closed loop, %d connections", d.Connections)
	if d.Loop == "open" {
		b.Reset()
		fmt.Fprintf(&b, "Open loop, %s requests a second, %d connections", plain(d.Asked), d.Connections)
	}
	if d.Streams > 1 {
		fmt.Fprintf(&b, " x %d streams", d.Streams)
	}
	switch {
	case d.Resume:
		b.WriteString(" at once, a new one for each request, resumed")
	case d.NewConnections:
		b.WriteString(" at once, a new one for each request")
	}
	fmt.Fprintf(&b, "; measured for %s s after %s s. Milliseconds from when a request was sent", plain(d.Seconds), plain(d.WarmUp))
	if d.Loop == "open" {
		b.WriteString(" (service), or due (response)")
	}
	b.WriteString(".")
	return b.String()
}

// line writes percentiles as cells of the table.
func (t *loadTimes) line() string {
	if t == nil {
		return "-\t-\t-\t-\t-"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", short(t.P50), short(t.P90), short(t.P99), short(t.P999), short(t.Max))
}

// short writes milliseconds with three digits, to the microsecond at most.
func short(ms float64) string {
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	case ms >= 1:
		return fmt.Sprintf("%.2f", ms)
	}
	return fmt.Sprintf("%.3f", ms)
}

// remarks say what the row of the table does not.
func (d *loadDocument) remarks(w io.Writer, r loadRow) {
	if len(r.Errors) > 0 {
		fmt.Fprintf(w, "\n%s: %s; the first: %s\n", r.Protocol, counted(r.Errors, "%[2]d %[1]s"), r.First)
	}
	if len(r.Status) > 1 {
		fmt.Fprintf(w, "\n%s: status %s\n", r.Protocol, counted(r.Status, "%s %d times"))
	}
	if r.Unsent != nil && *r.Unsent > 0 {
		fmt.Fprintf(w, "\n%s: %d of %d requests were due and never sent, since no stream was free: it cannot keep this rate. They count as\nresponses that took as long as they had waited.\n",
			r.Protocol, *r.Unsent, r.Requests)
	}
	if r.Again > 0 {
		fmt.Fprintf(w, "\n%s: %d requests were sent again, as the connection ended first: %s\n", r.Protocol, r.Again, r.Because)
	}
	if r.Pids > 1 {
		fmt.Fprintf(w, "\n%s: cpu, cores and RSS are of %d processes together\n", r.Protocol, r.Pids)
	}
	switch {
	case d.Resume:
		fmt.Fprintf(w, "\n%s: %d of %d connections resumed\n", r.Protocol, r.Resumed, r.Opened)
	case !d.NewConnections && (r.Opened > int64(d.Connections) || d.WarmUp > 0 && r.Opened > 0):
		fmt.Fprintf(w, "\n%s: %d connections opened while it was measured\n", r.Protocol, r.Opened)
	}
}

// counted lists names and their counts.
func counted(m map[string]int64, format string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf(format, k, m[k]))
	}
	return strings.Join(all, ", ")
}
