package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// A summary is what one PoP has of the world.
type summary struct {
	pop, state        string
	countries         int
	weight, of        float64 // of its countries, and of all
	median, p90, most float64 // distances of its countries in kilometres; 0 where none is known
	farthest          string  // the country at most
}

// summarise returns a summary for each PoP, in the document's order, and one more for countries without a PoP if there are any.
func summarise(m mapDocument) []summary {
	index := make(map[string]int)
	list := make([]summary, len(m.PoPs)+1)
	for i, p := range m.PoPs {
		index[p.PoP] = i
		list[i] = summary{pop: p.PoP, state: popState(p)}
	}
	none := len(m.PoPs)
	list[none] = summary{pop: "-", state: "-"}
	distances := make([][]float64, len(list))
	var all float64
	for _, c := range m.Countries {
		i, ok := index[c.PoP]
		if !ok {
			i = none
		}
		s := &list[i]
		s.countries++
		s.weight += max(c.Weight, 0)
		all += max(c.Weight, 0)
		if c.Distance != nil && ok {
			distances[i] = append(distances[i], *c.Distance)
			if s.farthest == "" || *c.Distance > s.most {
				s.farthest, s.most = c.Country, *c.Distance
			}
		}
	}
	for i := range list {
		slices.Sort(distances[i])
		list[i].of = all
		list[i].median, list[i].p90 = quantile(distances[i], 50), quantile(distances[i], 90)
	}
	if list[none].countries == 0 {
		list = list[:none]
	}
	return list
}

// quantile is the least of the sorted values that is not below p of 100 of them; 0 where there are none.
func quantile(sorted []float64, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// mapTable writes the distances of each PoP's countries as a table. A country counts once, however many addresses it has.
func mapTable(w io.Writer, m mapDocument) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POP\tSTATE\tCOUNTRIES\tADDRESSES\tMEDIAN\tP90\tMAX\tFARTHEST")
	for _, s := range summarise(m) {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t", s.pop, s.state, s.countries, percent(s.weight, s.of))
		if s.farthest == "" {
			fmt.Fprintln(t, "-\t-\t-\t-")
			continue
		}
		fmt.Fprintf(t, "%.0f km\t%.0f km\t%.0f km\t%s\n", s.median, s.p90, s.most, s.farthest)
	}
	t.Flush()
}
