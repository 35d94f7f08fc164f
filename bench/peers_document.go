package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"hither/bench/contest"
	"hither/bench/pairs"
)

// ourName is ours among the servers.
const ourName = "hither"

// A peersDocument is the result of `bench peers`. What was not measured is absent.
type peersDocument struct {
	Commit  string            `json:"commit"`
	Machine string            `json:"machine"`
	Pairs   int               `json:"pairs"`
	Seconds float64           `json:"seconds"` // of each run
	Log     bool              `json:"log"`
	Memory  bool              `json:"files_in_memory"` // what servers keep in files is on no disk
	Idle    int               `json:"idle_connections"`
	Clients map[string]string `json:"clients"` // versions
	Servers []peersServer     `json:"servers"`
	Rows    []*peersRow       `json:"rows"`
	Errors  []peersError      `json:"errors,omitempty"`

	told int // of Errors, on standard error
}

type peersServer struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Missing bool   `json:"missing"`
	Package string `json:"package,omitempty"` // of Debian, which has what is missing
	Note    string `json:"note,omitempty"`
}

// A peersError is why there are no figures.
type peersError struct {
	Server string `json:"server"`         // the peer, or ours where that does not start
	Case   string `json:"case,omitempty"` // absent: all that is not in rows
	Error  string `json:"error"`
}

// A peersRow is one case, of all servers. Its ratio is that of ours to the best peer.
type peersRow struct {
	Case     string        `json:"case"`
	Protocol string        `json:"protocol"`
	Size     int           `json:"size_bytes"`
	Client   string        `json:"client"`
	Results  []peersResult `json:"results"`
	Best     string        `json:"best_peer,omitempty"`
	Ratio    *peersSpread  `json:"ratio,omitempty"`
	Runs     []peersRun    `json:"runs"`

	kind contest.Case
}

// A peersResult is one server's. Figures of several runs are medians. Ratio is that of ours to it, pair by pair.
type peersResult struct {
	Server        string       `json:"server"`
	CPU           *peersSpread `json:"cpu_us,omitempty"` // per request
	PerConnection *peersSpread `json:"rss_per_connection_bytes,omitempty"`
	Ratio         *peersSpread `json:"ratio,omitempty"`
	Gateway       *float64     `json:"gateway_cpu_us,omitempty"` // what stands between ours and the upstream, and is not in cpu_us
	Rate          *float64     `json:"rate,omitempty"`           // per second
	P50           *float64     `json:"p50_ms,omitempty"`
	P99           *float64     `json:"p99_ms,omitempty"`
	P999          *float64     `json:"p999_ms,omitempty"`
	RSS           int64        `json:"rss_bytes"` // the most
	Errors        int64        `json:"errors"`
}

// A peersRun is one of a pair, as it was.
type peersRun struct {
	Server        string   `json:"server"`
	Against       string   `json:"against"`
	Pair          int      `json:"pair"` // from 1
	CPU           *float64 `json:"cpu_us,omitempty"`
	PerConnection *int64   `json:"rss_per_connection_bytes,omitempty"` // of idle ones, which have none of what is above and below
	Rate          *float64 `json:"rate,omitempty"`
	Requests      int64    `json:"requests_total"`
	Asked         int64    `json:"upstream_requests_total"`
	Busy          *float64 `json:"server_cores,omitempty"`
	Others        *float64 `json:"other_cores,omitempty"`

	contest.Run `json:"-"`
}

type peersSpread pairs.Spread

// newPeersSpread is nil for no figures.
func newPeersSpread(v []float64) *peersSpread {
	if len(v) == 0 {
		return nil
	}
	s := peersSpread(pairs.NewSpread(v))
	return &s
}

// add takes up what was measured against a peer.
func (d *peersDocument) add(peer string, rows []contest.Row) {
	for _, r := range rows {
		if r.Err != nil {
			d.Errors = append(d.Errors, peersError{peer, r.Case.String(), r.Err.Error()})
			continue // a part of the pairs is no figure
		}
		row := d.row(r.Case)
		for i := range r.Ours {
			row.Runs = append(row.Runs, newPeersRun(r.Case, ourName, peer, i+1, r.Ours[i]), newPeersRun(r.Case, peer, ourName, i+1, r.Peer[i]))
		}
	}
}

// fail takes up what ended the measurement against a peer, if that is not with a case.
func (d *peersDocument) fail(peer string, err error) {
	if !slices.ContainsFunc(d.Errors, func(e peersError) bool { return e.Error == err.Error() }) {
		d.Errors = append(d.Errors, peersError{Server: peer, Error: err.Error()})
	}
}

// tell tells what has failed since it last did.
func (d *peersDocument) tell(to io.Writer) {
	for _, failed := range d.Errors[d.told:] {
		fmt.Fprintln(to, "bench:", failed.Error)
	}
	d.told = len(d.Errors)
}

func newPeersRun(c contest.Case, server, against string, pair int, r contest.Run) peersRun {
	run := peersRun{Server: server, Against: against, Pair: pair, Requests: r.Answered, Asked: r.Asked, Run: r}
	if c.Kind == contest.Idle {
		run.PerConnection = &r.PerConnection
		return run
	}
	cpu := microseconds(r.PerRequest)
	run.CPU, run.Rate, run.Busy, run.Others = &cpu, &r.Rate, &r.Busy, &r.Others
	return run
}

// row is that of a case, in the order in which cases are measured.
func (d *peersDocument) row(c contest.Case) *peersRow {
	for _, r := range d.Rows {
		if r.kind == c {
			return r
		}
	}
	r := &peersRow{Case: string(c.Kind), Protocol: c.Protocol, Size: c.Size.Bytes, Client: c.Client, kind: c}
	d.Rows = append(d.Rows, r)
	all := contest.Cases()
	slices.SortStableFunc(d.Rows, func(a, b *peersRow) int { return slices.Index(all, a.kind) - slices.Index(all, b.kind) })
	return r
}

// finish works out results from runs.
func (d *peersDocument) finish() {
	for _, row := range d.Rows {
		for _, s := range d.Servers {
			if slices.ContainsFunc(row.Runs, func(r peersRun) bool { return r.Server == s.Name }) {
				row.Results = append(row.Results, row.result(s.Name))
			}
		}
		least := 0.0
		for _, r := range row.Results {
			if v := r.figure(); r.Server != ourName && v != nil && (row.Best == "" || v.Median < least) {
				row.Best, row.Ratio, least = r.Server, r.Ratio, v.Median
			}
		}
	}
}

// figure is what the case is about.
func (r *peersResult) figure() *peersSpread {
	if r.PerConnection != nil {
		return r.PerConnection
	}
	return r.CPU
}

func (r peersRun) figure() float64 {
	if r.PerConnection != nil {
		return float64(*r.PerConnection)
	}
	return *r.CPU
}

func (row *peersRow) result(server string) peersResult {
	res := peersResult{Server: server}
	var cpu, each, ratio, gateway, rate, p50, p99, p999 []float64
	measured := func(to *[]float64, v time.Duration) {
		if v > 0 {
			*to = append(*to, float64(v)/float64(time.Millisecond))
		}
	}
	for _, r := range row.Runs {
		if r.Server != server {
			continue
		}
		res.RSS, res.Errors = max(res.RSS, r.RSS), res.Errors+r.Failed
		if row.kind.Kind == contest.Idle {
			each = append(each, r.figure())
		} else {
			cpu, rate = append(cpu, r.figure()), append(rate, *r.Rate)
		}
		measured(&p50, r.P50)
		measured(&p99, r.P99)
		measured(&p999, r.P999)
		if server == ourName && r.Helper > 0 && (row.kind.Kind == contest.PassedOn || row.kind.Kind == contest.Miss) {
			gateway = append(gateway, microseconds(r.Helper))
		}
		if server == ourName {
			continue
		}
		for _, ours := range row.Runs {
			if ours.Server == ourName && ours.Against == server && ours.Pair == r.Pair && r.figure() > 0 {
				ratio = append(ratio, ours.figure()/r.figure())
			}
		}
	}
	res.CPU, res.PerConnection, res.Ratio = newPeersSpread(cpu), newPeersSpread(each), newPeersSpread(ratio)
	for _, f := range []struct {
		to **float64
		of []float64
	}{{&res.Gateway, gateway}, {&res.Rate, rate}, {&res.P50, p50}, {&res.P99, p99}, {&res.P999, p999}} {
		if len(f.of) > 0 {
			v := pairs.NewSpread(f.of).Median
			*f.to = &v
		}
	}
	return res
}
