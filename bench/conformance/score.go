package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A result is what the client says of a case: true, false, or the name and the message of an error.
type result struct {
	ok            bool
	name, message string // "" of a plain true or false
}

func (r *result) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &r.ok) == nil && (r.ok || bytes.Equal(b, []byte("false"))) {
		return nil
	}
	var words []*string
	if err := json.Unmarshal(b, &words); err != nil || len(words) == 0 || len(words) > 2 || words[0] == nil {
		return fmt.Errorf("%.80s: want true, false or [NAME, MESSAGE]", b)
	}
	r.name = *words[0]
	if len(words) == 2 && words[1] != nil {
		r.message = *words[1]
	}
	return nil
}

// readResults takes the client's results from what it wrote: a JSON object that begins on a line of its own, perhaps after
// warnings, and is the end of it.
func readResults(out []byte) (map[string]result, error) {
	at := -1
	for _, brace := range []string{"{\n", "{}\n", "{\r\n"} {
		if bytes.HasPrefix(out, []byte(brace)) {
			at = 0
		} else if i := bytes.Index(out, []byte("\n"+brace)); i >= 0 && (at < 0 || i+1 < at) {
			at = i + 1
		}
	}
	if at < 0 {
		return nil, errors.New("it wrote no results")
	}
	d := json.NewDecoder(bytes.NewReader(out[at:]))
	var results map[string]result
	if err := d.Decode(&results); err != nil {
		return nil, fmt.Errorf("read its results: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("read its results: something follows them")
	}
	return results, nil
}

// score gives each case that counts its outcome, in the suite's order. A case that nobody ran is untested; one that needs a
// case without a pass depends on it, whatever came of itself; else its own result tells.
func score(cases []Case, results map[string]result) []Scored {
	byID := make(map[string]Case, len(cases))
	for _, c := range cases {
		byID[c.ID] = c
	}
	known := make(map[string]Outcome, len(cases))
	var outcome func(c Case) Outcome
	outcome = func(c Case) Outcome {
		if o, ok := known[c.ID]; ok {
			return o
		}
		r, ran := results[c.ID]
		o := Fail
		switch {
		case !ran:
			o = Untested
		case slices.ContainsFunc(c.Needs, func(id string) bool { return outcome(byID[id]) != Pass }):
			o = Dependency
		case r.ok:
			o = Pass
		case r.name == "Setup" && r.message == "retry":
			o = Retry
		case r.name == "Setup":
			o = Setup
		case r.name == "", r.name == "AbortError":
			o = Harness
		}
		known[c.ID] = o
		return o
	}
	var scored []Scored
	for _, c := range cases {
		if c.Browser {
			continue
		}
		s := Scored{Case: c, Outcome: outcome(c), Said: results[c.ID].message}
		if s.Outcome == Dependency {
			var blame []string
			for _, id := range c.Needs {
				if outcome(byID[id]) != Pass {
					blame = append(blame, id)
				}
			}
			s.Said = "needs " + strings.Join(blame, ", ")
		}
		scored = append(scored, s)
	}
	return scored
}

// A Difference is a case that did not end the same way in every run.
type Difference struct {
	ID       string    `json:"id"`
	Outcomes []Outcome `json:"outcomes"` // by run
	Said     []string  `json:"said"`     // by the client, for each run; "" of a pass
}

// String is a line for people.
func (d Difference) String() string {
	words := make([]string, len(d.Outcomes))
	for i, o := range d.Outcomes {
		words[i] = Scored{Outcome: o, Said: d.Said[i]}.why()
	}
	return fmt.Sprintf("the runs do not agree on %s: %s", d.ID, strings.Join(words, " | "))
}

// merge makes one result of several runs of the same cases: a case passes if it passed in all of them.
func merge(runs [][]Scored) ([]Scored, []Difference) {
	all := slices.Clone(runs[0])
	var different []Difference
	for i := range all {
		d := Difference{ID: all[i].ID}
		same := true
		for _, r := range runs {
			d.Outcomes, d.Said = append(d.Outcomes, r[i].Outcome), append(d.Said, r[i].Said)
			same = same && r[i].Outcome == all[i].Outcome
			if all[i].Outcome == Pass {
				all[i] = r[i]
			}
		}
		if !same {
			different = append(different, d)
		}
	}
	return all, different
}
