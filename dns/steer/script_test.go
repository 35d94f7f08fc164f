package steer

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hither/dns/geo"
)

// The rules are told by the scripts of testdata. A script's lines, # begins a comment:
//
//	pop NAME LAT,LON [OPTION...]     a PoP; it has IPv4 and weight 1
//	set NAME OPTION...               changes it: v4=STATE v6=STATE weight=N fallback=A,B drain[=no] load=X shed=X
//	unknown NAME...                  the order for unknown places
//	ask CLIENT PLACE [OPTION...] -> [NAME...] [reason=R] [bits=N] [all-down]
//	  NAME REASON [KM] [: STRIKE]    below ask, all candidates by rank; "-" for no reason. Left out: not looked at
//
// PLACE is LAT,LON or prefix:NAME or nobody. Options of ask are family=6 answers=N site=A,B.
type script struct {
	pops    []PoP
	unknown []string
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			var s script
			lines := strings.Split(string(data), "\n")
			for n := 0; n < len(lines); n++ {
				words := fields(lines[n])
				if len(words) == 0 {
					continue
				}
				where := fmt.Sprintf("%s:%d", file, n+1)
				if words[0] != "ask" {
					if err := s.setup(words); err != nil {
						t.Fatalf("%s: %v", where, err)
					}
					continue
				}
				asked++
				var below []string
				for n+1 < len(lines) && strings.HasPrefix(lines[n+1], "  ") {
					n++
					below = append(below, strings.Join(fields(lines[n]), " "))
				}
				if err := s.ask(words[1:], below); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			}
			if asked == 0 {
				t.Error("asks nothing")
			}
		})
	}
}

func fields(line string) []string {
	line, _, _ = strings.Cut(line, "#")
	return strings.Fields(line)
}

func (s *script) setup(words []string) error {
	switch {
	case words[0] == "unknown":
		s.unknown = words[1:]
		return nil
	case words[0] == "pop" && len(words) >= 3:
		at, err := point(words[2])
		if err != nil {
			return err
		}
		s.pops = append(s.pops, PoP{Name: words[1], At: at, V4: Up, Weight: 1, Load: math.NaN()})
		return s.set(&s.pops[len(s.pops)-1], words[3:])
	case words[0] == "set" && len(words) >= 3:
		for i := range s.pops {
			if s.pops[i].Name == words[1] {
				return s.set(&s.pops[i], words[2:])
			}
		}
	}
	return fmt.Errorf("what is %q?", strings.Join(words, " "))
}

func (s *script) set(p *PoP, options []string) error {
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		var err error
		switch name {
		case "v4":
			p.V4 = State(slices.Index(stateWords[:], value))
		case "v6":
			p.V6 = State(slices.Index(stateWords[:], value))
		case "weight":
			p.Weight, err = strconv.Atoi(value)
		case "fallback":
			p.Fallback = list(value)
		case "drain":
			p.Draining = value != "no"
		case "load":
			p.Load, err = strconv.ParseFloat(value, 64)
		case "shed":
			p.Shed, err = strconv.ParseFloat(value, 64)
		default:
			err = fmt.Errorf("what is %q?", o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *script) ask(words, below []string) error {
	snapshot, err := New(s.pops, s.unknown)
	if err != nil {
		return err
	}
	arrow := slices.Index(words, "->")
	if arrow < 2 {
		return fmt.Errorf("ask CLIENT PLACE ... -> ...")
	}
	q := Question{Family: 4}
	if q.Client, err = netip.ParsePrefix(words[0]); err != nil {
		return err
	}
	if q.Found, err = found(words[1]); err != nil {
		return err
	}
	for _, o := range words[2:arrow] {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "family":
			q.Family, err = strconv.Atoi(value)
		case "answers":
			q.Answers, err = strconv.Atoi(value)
		case "site":
			q.Site = make([]bool, len(s.pops))
			for _, n := range list(value) {
				i, _ := snapshot.Index(n)
				q.Site[i] = true
			}
		default:
			err = fmt.Errorf("what is %q?", o)
		}
		if err != nil {
			return err
		}
	}
	d := snapshot.Explain(q)
	if got, want := describe(snapshot, d.Answer), strings.Join(words[arrow+1:], " "); got != want {
		return fmt.Errorf("got  -> %s\nwant -> %s\n%s", got, want, strings.Join(candidates(d.Candidates, true), "\n"))
	}
	km := slices.ContainsFunc(below, func(l string) bool { return len(strings.Fields(strings.Split(l, ":")[0])) > 2 })
	if got := candidates(d.Candidates, km); len(below) > 0 && !slices.Equal(got, below) {
		return fmt.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(below, "\n  "))
	}
	return nil
}

// describe writes an answer as a script does.
func describe(s *Snapshot, a Answer) string {
	var out []string
	for _, i := range a.PoPs {
		out = append(out, s.PoP(i).Name)
	}
	if a.Reason != "" {
		out = append(out, "reason="+string(a.Reason))
	}
	if a.HashBits > 0 {
		out = append(out, fmt.Sprintf("bits=%d", a.HashBits))
	}
	if a.AllDown {
		out = append(out, "all-down")
	}
	return strings.Join(out, " ")
}

func candidates(cs []Candidate, km bool) []string {
	var out []string
	for i, c := range cs {
		line := c.PoP + " " + string(c.Reason)
		if c.Reason == "" {
			line += "-"
		}
		if km && !math.IsNaN(c.DistanceKM) {
			line += fmt.Sprintf(" %.0f", c.DistanceKM)
		}
		if c.Struck != "" {
			line += " : " + string(c.Struck)
		}
		if c.Rank != i+1 && c.Rank != 0 {
			line += fmt.Sprintf(" (rank %d)", c.Rank)
		}
		out = append(out, line)
	}
	return out
}

func list(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

func point(text string) (geo.Point, error) {
	var p geo.Point
	if n, err := fmt.Sscanf(text, "%g,%g", &p.Lat, &p.Lon); n != 2 || err != nil {
		return p, fmt.Errorf("point %q", text)
	}
	return p, nil
}

func found(text string) (geo.Found, error) {
	if text == "nobody" {
		return geo.Found{}, nil
	}
	if name, ok := strings.CutPrefix(text, "prefix:"); ok {
		return geo.Found{Source: geo.SourcePrefix, PoP: name}, nil
	}
	p, err := point(text)
	return geo.Found{Source: geo.SourceEmbedded, Point: p}, err
}
