package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"hither/bench/conformance"
	"hither/deploy/ops"
)

// A conformanceDocument is the result of `bench conformance`. The record in testdata is one without what can be made from it.
type conformanceDocument struct {
	Commit    string                                 `json:"commit"` // of hither
	Suite     conformanceSuite                       `json:"suite"`
	Node      string                                 `json:"node"` // its version
	Runs      int                                    `json:"runs"`
	Counts    map[conformance.Kind]conformance.Count `json:"counts,omitempty"`
	Different []conformance.Difference               `json:"different,omitempty"`
	Faults    []string                               `json:"faults,omitzero"` // not in a record
	Cases     []conformanceCase                      `json:"cases"`           // in the suite's order
}

type conformanceSuite struct {
	Version string `json:"version,omitempty"`
	Commit  string `json:"commit,omitempty"` // where it is a checkout of git
	Digest  string `json:"digest"`           // of all its cases
}

type conformanceCase struct {
	ID      string              `json:"id"`
	Group   string              `json:"group"`
	Kind    conformance.Kind    `json:"kind"`
	Outcome conformance.Outcome `json:"outcome"`
	Said    string              `json:"said,omitempty"`   // by the suite's client; not in a record, where it may differ from run to run
	Reason  string              `json:"reason,omitempty"` // ours
}

func newConformanceDocument(s *conformance.Suite, runs int, r conformance.Result, e *conformance.Expected) *conformanceDocument {
	d := &conformanceDocument{
		Commit: r.Commit, Suite: conformanceSuite{Version: s.Version, Commit: s.Commit, Digest: s.Digest}, Node: s.Node, Runs: runs,
		Counts: map[conformance.Kind]conformance.Count{}, Different: r.Different, Faults: []string{},
	}
	for _, k := range conformance.Kinds {
		d.Counts[k] = conformance.Tally(r.Cases, k, "")
	}
	for _, c := range r.Cases {
		row := conformanceCase{ID: c.ID, Group: c.Group, Kind: c.Kind, Outcome: c.Outcome}
		if c.Outcome != conformance.Pass {
			row.Said = c.Said
			if x := e.Find(c.ID); x != nil {
				row.Reason = x.Reason
			}
		}
		d.Cases = append(d.Cases, row)
	}
	for _, x := range r.Different {
		d.Faults = append(d.Faults, x.String())
	}
	d.Faults = append(d.Faults, e.Faults(r.Cases)...)
	return d
}

// scored are the document's cases, to be counted.
func (d *conformanceDocument) scored() []conformance.Scored {
	cases := make([]conformance.Scored, len(d.Cases))
	for i, c := range d.Cases {
		cases[i] = conformance.Scored{Case: conformance.Case{ID: c.ID, Group: c.Group, Kind: c.Kind}, Outcome: c.Outcome, Said: c.Said}
	}
	return cases
}

// table writes the document for people: a line for each group, then what does not pass with its reason, then what is wrong.
func (d *conformanceDocument) table(w io.Writer) error {
	fmt.Fprintf(w, "hither %s; http-tests/cache-tests %s; node %s; %d x\n\n", d.Commit, d.Suite, d.Node, d.Runs)
	cases := d.scored()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "group\trequired\toptimal\tcheck\t")
	var groups []string
	for _, c := range cases {
		if !slices.Contains(groups, c.Group) {
			groups = append(groups, c.Group)
		}
	}
	for _, g := range append(groups, "") {
		name := g
		if g == "" {
			name = "all"
		}
		fmt.Fprintf(t, "%s\t", name)
		for _, k := range conformance.Kinds {
			fmt.Fprintf(t, "%s\t", conformance.Tally(cases, k, g))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	fmt.Fprintln(w, "\ncheck cases have no right answer, and are for information")
	for _, c := range d.Cases {
		if c.Outcome == conformance.Pass || c.Kind == conformance.Check {
			continue
		}
		fmt.Fprintf(w, "\n%s %s: %s", c.Kind, c.ID, c.Outcome)
		if c.Said != "" {
			fmt.Fprintf(w, " (%s)", c.Said)
		}
		fmt.Fprintln(w)
		if c.Reason != "" {
			fmt.Fprintf(w, "%s\n", wrap(c.Reason, "    ", 110))
		}
	}
	if len(d.Faults) == 0 {
		_, err := fmt.Fprintf(w, "\nholds: all is as %s says\n", conformanceFile)
		return err
	}
	fmt.Fprintln(w)
	for _, f := range d.Faults {
		fmt.Fprintf(w, "DOES NOT HOLD: %s\n", f)
	}
	return nil
}

// String names the suite as exactly as it can be named.
func (s conformanceSuite) String() string {
	words := []string{"cases " + s.Digest[:min(12, len(s.Digest))]}
	if s.Commit != "" {
		words = append([]string{"commit " + s.Commit}, words...)
	}
	if s.Version != "" {
		words = append([]string{s.Version}, words...)
	}
	return strings.Join(words, ", ")
}

// wrap breaks a text into lines that begin with indent and have at most width characters, where its words allow it.
func wrap(text, indent string, width int) string {
	var lines []string
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}

// record is the document as it is kept: a line for each case, and nothing that changes without one.
func (d *conformanceDocument) record() ([]byte, error) {
	kept := *d
	kept.Counts, kept.Different, kept.Faults = nil, nil, nil
	kept.Cases = slices.Clone(d.Cases)
	for i := range kept.Cases {
		kept.Cases[i].Said, kept.Cases[i].Reason = "", ""
	}
	body, err := ops.MarshalDocument("bench-conformance", &kept)
	// Inside a string the quote would be escaped, so this is found nowhere else.
	return bytes.ReplaceAll(body, []byte(`{"id":`), []byte("\n"+`{"id":`)), err
}

// writeRecord puts it in the place of the last one. Runs that do not agree are no result, and leave that as it is.
func (d *conformanceDocument) writeRecord(name string) error {
	if len(d.Different) > 0 {
		return nil
	}
	body, err := d.record()
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, body, 0o644); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// readRecord reads what writeRecord wrote.
func readRecord(body []byte) (*conformanceDocument, error) {
	var d struct {
		Schema string `json:"schema"`
		conformanceDocument
	}
	in := json.NewDecoder(bytes.NewReader(body))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		return nil, fmt.Errorf("%s: %w", conformanceRecord, err)
	}
	if d.Schema != "hither/bench-conformance/1" || d.Commit == "" || d.Suite.Digest == "" {
		return nil, errors.New(conformanceRecord + ": it is no record; `make conformance SUITE=DIR UPDATE=1` writes one")
	}
	return &d.conformanceDocument, nil
}
