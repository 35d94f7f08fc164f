package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"hither/bench/load"
	"hither/bench/pairs"
)

// A dnsPeersDocument is the result of `bench dns peers`. What was not measured is absent.
type dnsPeersDocument struct {
	Commit    string           `json:"commit"`
	Machine   string           `json:"machine"`
	Dnsperf   string           `json:"dnsperf"` // its version
	Questions int              `json:"questions"`
	Prefixes  int              `json:"prefixes"` // that the peers were told
	Pairs     int              `json:"pairs"`
	Seconds   float64          `json:"seconds"` // of each measurement
	Servers   []dnsPeersServer `json:"servers"` // ours first
	Results   []dnsPeersResult `json:"results"`
	Rows      []dnsPeersRow    `json:"rows"`
}

type dnsPeersServer struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Missing bool   `json:"missing"`
	Package string `json:"package,omitempty"` // of Debian, that has what is missing
	Error   string `json:"error,omitempty"`   // why it was not measured, or not to the end
}

// A dnsPeersResult is what came of a server in a case.
type dnsPeersResult struct {
	Case   string        `json:"case"`
	Server string        `json:"server"`
	Pairs  int           `json:"pairs"`
	CPU    pairs.Spread  `json:"cpu_us"` // per answer
	Rate   pairs.Spread  `json:"rate"`   // answers per second
	Mean   *pairs.Spread `json:"mean_ms,omitempty"`
	Lost   int64         `json:"lost_total"`
	RSS    pairs.Spread  `json:"rss_bytes"`

	// Ours divided by the peer's, pair by pair; absent for ours.
	CPURatio  *pairs.Spread `json:"cpu_ratio,omitempty"`
	RateRatio *pairs.Spread `json:"rate_ratio,omitempty"`
	MeanRatio *pairs.Spread `json:"mean_ratio,omitempty"`
}

// A dnsPeersRow is one measurement.
type dnsPeersRow struct {
	Case     string   `json:"case"`
	Pair     int      `json:"pair"`
	Peer     string   `json:"peer"` // of the pair
	Server   string   `json:"server"`
	Rate     float64  `json:"rate"`
	Sent     int64    `json:"sent_total"`
	Answered int64    `json:"answered_total"`
	Lost     int64    `json:"lost_total"`
	Mean     *float64 `json:"mean_ms,omitempty"`
	Max      *float64 `json:"max_ms,omitempty"`
	CPU      float64  `json:"cpu_us"`        // the server's, per answer
	ClientC  float64  `json:"client_cpu_us"` // per question
	Busy     float64  `json:"server_cores"`
	Others   float64  `json:"other_cores"`
	RSS      int64    `json:"rss_bytes"`
}

func (c *dnsContest) document(r pairs.Result) *dnsPeersDocument {
	d := &dnsPeersDocument{
		Commit: version(), Machine: load.Machine(), Dnsperf: c.dnsperf.Version, Questions: c.queries.Len(), Prefixes: len(c.places.Prefixes()),
		Pairs: c.o.pairs, Seconds: c.o.each.Seconds(),
		Servers: []dnsPeersServer{{Name: c.ours.Name, Version: c.ours.Version}},
	}
	for _, e := range c.entries {
		s := dnsPeersServer{Name: e.name}
		if e.server != nil {
			s.Version = e.server.Version
		}
		if e.missing != nil {
			s.Missing, s.Package = true, e.missing.Package
		}
		if e.failed != nil {
			s.Error = e.failed.Error()
		}
		d.Servers = append(d.Servers, s)
	}
	d.add(r)
	return d
}

// add takes up what was measured; the servers are there already, ours first.
func (d *dnsPeersDocument) add(r pairs.Result) {
	cpu := func(row pairs.Row) float64 { return microseconds(row.PerAnswer) }
	rate := func(row pairs.Row) float64 { return row.Rate() }
	mean := func(row pairs.Row) float64 { return row.Mean.Seconds() * 1000 }
	for _, c := range []string{caseClosed, caseSingle} {
		for i, s := range d.Servers {
			peer := s.Name
			if i == 0 {
				peer = "" // ours
			}
			figures := r.Figures(c, peer, cpu)
			if len(figures) == 0 {
				continue
			}
			res := dnsPeersResult{
				Case: c, Server: s.Name, Pairs: len(figures), CPU: pairs.NewSpread(figures), Rate: pairs.NewSpread(r.Figures(c, peer, rate)),
				Mean: spreadOf(r.Figures(c, peer, mean)),
				RSS:  pairs.NewSpread(r.Figures(c, peer, func(row pairs.Row) float64 { return float64(row.RSS) })),
			}
			for _, lost := range r.Figures(c, peer, func(row pairs.Row) float64 { return float64(row.Lost) }) {
				res.Lost += int64(lost)
			}
			if peer != "" {
				res.CPURatio, res.RateRatio, res.MeanRatio = spreadOf(r.Ratios(c, peer, cpu)), spreadOf(r.Ratios(c, peer, rate)), spreadOf(r.Ratios(c, peer, mean))
			}
			d.Results = append(d.Results, res)
		}
	}
	for _, row := range r.Rows {
		server := row.Peer
		if row.Ours {
			server = d.Servers[0].Name
		}
		d.Rows = append(d.Rows, dnsPeersRow{
			Case: row.Case, Pair: row.Pair, Peer: row.Peer, Server: server, Rate: row.Rate(), Sent: row.Sent, Answered: row.Answered, Lost: row.Lost,
			Mean: milliseconds(row.Mean), Max: milliseconds(row.Max), CPU: cpu(row), ClientC: microseconds(row.Run.CPU) / float64(max(row.Sent, 1)),
			Busy: row.Busy, Others: row.Others, RSS: row.RSS,
		})
	}
}

// spreadOf is nil where nothing was measured.
func spreadOf(v []float64) *pairs.Spread {
	s := pairs.NewSpread(v)
	if s == (pairs.Spread{}) {
		return nil
	}
	return &s
}

// dnsPeersHead names the columns.
var dnsPeersHead = []string{"server", "case", "CPU us", "ours / its", "answers/s", "ours / its", "mean ms", "ours / its", "lost", "RSS MiB"}

// lines are the cells of the table. Of a server that has no figures there is no line.
func (d *dnsPeersDocument) lines() [][]string {
	var lines [][]string
	for _, r := range d.Results {
		lines = append(lines, []string{
			r.Server, r.Case, spell(&r.CPU, "%.2f"), spell(r.CPURatio, "%.2f"), spell(&r.Rate, "%.0f"), spell(r.RateRatio, "%.2f"),
			spell(r.Mean, "%.3f"), spell(r.MeanRatio, "%.2f"), fmt.Sprint(r.Lost), fmt.Sprintf("%.0f", r.RSS.Median/(1<<20)),
		})
	}
	return lines
}

// spell writes a median with its range.
func spell(s *pairs.Spread, format string) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf(format+" ["+format+", "+format+"]", s.Median, s.Min, s.Max)
}

// head says of what the table is.
func (d *dnsPeersDocument) head() string {
	return fmt.Sprintf("commit %s; %s; dnsperf %s\n%d questions for A, each with another client subnet; %d pairs of %gs; median [least, most]",
		d.Commit, d.Machine, d.Dnsperf, d.Questions, d.Pairs, d.Seconds)
}

// notes are who took part, and who did not.
func (d *dnsPeersDocument) notes() []string {
	var notes []string
	for _, s := range d.Servers {
		switch {
		case s.Missing:
			notes = append(notes, fmt.Sprintf("%s is not on this machine: Debian package %s", s.Name, s.Package))
		case s.Error != "":
			notes = append(notes, strings.TrimSpace(s.Name+" "+s.Version)+" WAS NOT MEASURED to the end: "+s.Error)
		default:
			notes = append(notes, s.Name+" "+s.Version)
		}
	}
	return notes
}

// table writes the document for people.
func (d *dnsPeersDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", d.head())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, cells := range append([][]string{dnsPeersHead}, d.lines()...) {
		fmt.Fprintln(t, strings.Join(cells, "\t")+"\t")
	}
	t.Flush()
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(d.notes(), "\n"))
	return err
}

// markdown is the document for a README.
func (d *dnsPeersDocument) markdown() string {
	var b strings.Builder
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(dnsPeersHead)
	b.WriteString(strings.Repeat("|---", len(dnsPeersHead)) + "|\n")
	for _, cells := range d.lines() {
		row(cells)
	}
	fmt.Fprintf(&b, "\n(`bin/bench dns peers`; %s; %s.)\n", strings.ReplaceAll(d.head(), "\n", "; "), strings.Join(d.notes(), ", "))
	return b.String()
}
