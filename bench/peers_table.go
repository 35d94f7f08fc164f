package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"hither/bench/contest"
	"hither/deploy"
)

// table writes the document for people: a line for each case and server.
func (d *peersDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "commit %s; %s\n", d.Commit, d.Machine)
	fmt.Fprintf(w, "%s; access logs %s; servers' files %s; %d pairs of %gs; median [least, most]\n", d.versions(), onOff(d.Log), d.files(), d.Pairs, d.Seconds)
	if word := d.word(); word != "" {
		fmt.Fprintln(w, word)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "case\tprotocol\tsize\tclient\tserver\tcpu us\thither/it\tanswers/s\tp50 ms\tp99 ms\tp99.9 ms\tRSS MiB\t")
	for _, r := range d.Rows {
		if r.kind.Kind == contest.Idle {
			continue
		}
		for _, one := range r.Results {
			name := one.Server
			if name == r.Best {
				name += " *"
			}
			fmt.Fprintf(t, "%s\t%s\t%v\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", r.Case, r.Protocol, deploy.Size(r.Size), r.Client, name,
				one.CPU.text("%.1f"), one.Ratio.text("%.2f"), optional(one.Rate, "%.0f"), optional(one.P50, "%.2f"), optional(one.P99, "%.2f"),
				optional(one.P999, "%.2f"), one.RSS>>20)
		}
	}
	t.Flush()
	d.idle(w)
	for _, note := range d.notes() {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	return nil
}

// idle writes what connections take on which nothing happens.
func (d *peersDocument) idle(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := false
	for _, r := range d.Rows {
		if r.kind.Kind != contest.Idle {
			continue
		}
		if !head {
			fmt.Fprintln(t, "\ncase\tprotocol\tconnections\tserver\tKiB each\thither/it\tRSS MiB\t")
			head = true
		}
		for _, one := range r.Results {
			name := one.Server
			if name == r.Best {
				name += " *"
			}
			fmt.Fprintf(t, "idle\t%s\t%d\t%s\t%s\t%s\t%d\t\n", r.Protocol, d.Idle, name, one.PerConnection.scaled(1.0/1024).text("%.1f"), one.Ratio.text("%.2f"), one.RSS>>20)
		}
	}
	t.Flush()
}

// markdown is the table for a README: a line for each case, a column for each server.
func (d *peersDocument) markdown(command string) string {
	var b strings.Builder
	var there []string
	for _, s := range d.Servers {
		if !s.Missing {
			there = append(there, s.Name)
		}
	}
	fmt.Fprintf(&b, "| CPU µs per request | %s |\n|---|%s\n", strings.Join(there, " | "), strings.Repeat("---|", len(there)))
	for _, r := range d.Rows {
		name := fmt.Sprintf("%s %s %v", r.Case, r.Protocol, deploy.Size(r.Size))
		unit := 1.0
		if r.kind.Kind == contest.Idle {
			name, unit = fmt.Sprintf("*KiB* of %d idle %s, each", d.Idle, r.Protocol), 1.0/1024
		}
		fmt.Fprintf(&b, "| %s |", name)
		for _, s := range there {
			fmt.Fprintf(&b, " %s |", r.cell(s, unit))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nIn brackets: hither's share of it, pair by pair, median and range (hither's own column is of the pairs with all peers); **best peer**. (`%s`; hither of commit %s; %s; %s; access logs %s; servers' files %s; %d pairs of %gs",
		command, d.Commit, d.Machine, d.versions(), onOff(d.Log), d.files(), d.Pairs, d.Seconds)
	if word := d.word(); word != "" {
		b.WriteString("; " + word)
	}
	b.WriteString(".)\n")
	for _, note := range d.notes() {
		b.WriteString("\n" + note + "\n")
	}
	return b.String()
}

func (row *peersRow) cell(server string, unit float64) string {
	for _, r := range row.Results {
		if r.Server != server {
			continue
		}
		text := fmt.Sprintf("%.1f", r.figure().scaled(unit).Median)
		if server == row.Best {
			text = "**" + text + "**"
		}
		if r.Ratio != nil {
			text += fmt.Sprintf(" (%.2f; %.2f–%.2f)", r.Ratio.Median, r.Ratio.Min, r.Ratio.Max)
		}
		return text
	}
	return "-"
}

// word tells what is to be said with the figures, if anything is.
func (d *peersDocument) word() string {
	if d.Pairs < enough {
		return fmt.Sprintf("fewer than %d pairs: no claim", enough)
	}
	return ""
}

// notes are what must be known to read the figures.
func (d *peersDocument) notes() (notes []string) {
	var missing []string
	for _, s := range d.Servers {
		if s.Missing {
			missing = append(missing, fmt.Sprintf("%s is not on this machine (Debian package %s)", s.Name, s.Package))
		}
		if s.Note != "" {
			notes = append(notes, s.Name+": "+s.Note+".")
		}
	}
	for _, m := range missing {
		notes = append(notes, "Missing: "+m+".")
	}
	if pairs := min(d.Pairs, contest.IdlePairs); pairs < d.Pairs && slices.ContainsFunc(d.Rows, func(r *peersRow) bool { return r.kind.Kind == contest.Idle }) {
		notes = append(notes, fmt.Sprintf("Idle connections: %d pairs, each of servers started anew, as memory varies less than time; no claim is made of them.", pairs))
	}
	var gateway []string
	for _, r := range d.Rows {
		for _, one := range r.Results {
			if one.Server == ourName && one.Gateway != nil {
				gateway = append(gateway, fmt.Sprintf("%s %s %v %.1f", r.Case, r.Protocol, deploy.Size(r.Size), *one.Gateway))
			}
		}
	}
	if len(gateway) > 0 {
		notes = append(notes, "hither: its edge reaches the upstream through the origin's gateway over mutual TLS and HTTP/2, peers directly over plain HTTP/1.1. "+
			"The gateway stands beside the origin, on the clients' core here; its own CPU µs per request, not counted above: "+strings.Join(gateway, ", ")+".")
	}
	for _, e := range d.Errors {
		notes = append(notes, fmt.Sprintf("No figures, %s: %s.", strings.TrimSpace(e.Server+" "+e.Case), e.Error))
	}
	return notes
}

func (d *peersDocument) versions() string {
	var all []string
	for _, s := range d.Servers {
		if s.Version != "" && s.Name != ourName {
			all = append(all, s.Name+" "+s.Version)
		}
	}
	for _, name := range []string{"wrk", "h2load"} {
		if v := d.Clients[name]; v != "" {
			all = append(all, name+" "+v)
		}
	}
	return strings.Join(all, ", ")
}

// files tells where servers keep them: on a disk it costs those that have their cache or their log there.
func (d *peersDocument) files() string {
	if d.Memory {
		return "in memory"
	}
	return "on disk"
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// text is "-" for what was not measured.
func (s *peersSpread) text(format string) string {
	switch {
	case s == nil:
		return "-"
	case s.Min == s.Max:
		return fmt.Sprintf(format, s.Median)
	}
	return fmt.Sprintf(format+" ["+format+", "+format+"]", s.Median, s.Min, s.Max)
}

func (s *peersSpread) scaled(by float64) *peersSpread {
	if s == nil {
		return nil
	}
	return &peersSpread{s.Median * by, s.Min * by, s.Max * by}
}

func optional(v *float64, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}
