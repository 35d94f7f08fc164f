package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet/control"
)

// warmTime bounds a call of `hither warm`: several PoPs take 25 s each at most, 32 at a time.
const warmTime = 5 * time.Minute

func warmCommand() *cobra.Command {
	var h hand
	var pops []string
	c := &cobra.Command{
		Use:   "warm URL... [--pop POP,POP]",
		Short: "Let PoPs fetch URLs before clients ask for them",
		Long: "Let PoPs request https URLs of their sites as clients would, so that what may be stored lies there. All PoPs do it, or those named.\n" +
			"The status is 1 where a PoP does not answer, or got an error for a URL.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return h.ask(c.Context(), func(op asker) error {
				ctx, cancel := context.WithTimeout(c.Context(), warmTime)
				defer cancel()
				var raw json.RawMessage
				if err := op.ask(ctx, "warm", control.WarmCall{URLs: args, PoPs: pops}, &raw); err != nil {
					return err
				}
				var doc control.Warmed
				err := json.Unmarshal(raw, &doc)
				if err != nil {
					return wrong(err)
				}
				if h.output == "json" {
					err = printAnswer(c.OutOrStdout(), raw)
				} else {
					printWarm(plainly{c.OutOrStdout()}, doc)
				}
				if err == nil && !doc.Complete {
					err = wrong(errors.New("not every PoP got every URL"))
				}
				return err
			})
		},
	}
	h.flags(c)
	c.Flags().StringSliceVar(&pops, "pop", nil, "`POP`s that fetch (default: all)")
	return c
}

// printWarm writes the document for people: one line for each PoP and URL.
func printWarm(w io.Writer, doc control.Warmed) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POP\tSTATUS\tCACHE\tSTORED\tBYTES\tTIME\tURL")
	for _, p := range doc.PoPs {
		for _, u := range p.URLs {
			stored := "no"
			if u.Stored {
				stored = "yes"
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%.1f ms\t%s\n", p.PoP, u.Status, dash(u.Verdict), stored, size(u.Bytes), u.MS, cutTarget(u.URL))
		}
		if p.State != control.Done {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\t-\t-\n", p.PoP, p.State)
		}
	}
	t.Flush()
	for _, p := range doc.PoPs {
		if p.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", p.PoP, p.Error)
		}
		for _, u := range p.URLs {
			if u.Error != "" {
				fmt.Fprintf(w, "%s: %s: %s\n", p.PoP, cutTarget(u.URL), u.Error)
			}
		}
	}
}
