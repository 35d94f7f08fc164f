package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet/control"
)

func nodesCommand() *cobra.Command {
	var h hand
	c := &cobra.Command{
		Use:   "nodes",
		Short: "Show every node of the fleet: what it runs, how far it has come, when its certificate ends",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.ask(c.Context(), func(op asker) error {
				var raw json.RawMessage
				if err := op.ask(c.Context(), "nodes", nil, &raw); err != nil {
					return err
				}
				if h.output == "json" {
					return printAnswer(c.OutOrStdout(), raw)
				}
				var doc control.NodesDoc
				if err := json.Unmarshal(raw, &doc); err != nil {
					return wrong(err)
				}
				printNodes(c.OutOrStdout(), doc, time.Now())
				return nil
			})
		},
	}
	h.flags(c)
	return c
}

// printNodes writes the nodes for people: one line each, then what is wrong.
func printNodes(w io.Writer, doc control.NodesDoc, now time.Time) {
	t := tabwriter.NewWriter(plainly{w}, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tREVISION\tJOURNAL\tSEEN\tCERTIFICATE ENDS\tVERSION")
	for _, n := range doc.Nodes {
		seen, ends, revision := "never", "-", "-"
		if !n.Seen.IsZero() {
			seen = ago(now.Sub(n.Seen))
		}
		if !n.Expires.IsZero() {
			ends = n.Expires.UTC().Format(time.DateOnly)
		}
		if n.Revision != 0 || n.Runs {
			revision = fmt.Sprint(n.Revision)
		}
		if !n.Runs && n.Target != 0 && !n.Seen.IsZero() {
			revision += fmt.Sprintf(" (not %d)", n.Target)
		}
		journal := "-"
		if n.Journal.Journal != "" {
			journal = fmt.Sprint(n.Journal.Sequence)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%.12s\n", n.Node, n.State, revision, journal, seen, ends, dash(n.Version))
	}
	t.Flush()
	for _, n := range doc.Nodes {
		if n.Refused != 0 {
			fmt.Fprintf(plainly{w}, "%s: it refused revision %d: %s\n", n.Node, n.Refused, n.Why)
		}
		if n.Revoked {
			fmt.Fprintf(plainly{w}, "%s: its identity was revoked; `hither fleet add --again` makes another\n", n.Node)
		}
		if !n.Named {
			fmt.Fprintf(plainly{w}, "%s: the network file in use does not name it\n", n.Node)
		}
	}
}

// ago says how long ago something was. Clocks of two machines differ: what is to come is now.
func ago(d time.Duration) string {
	return fmt.Sprintf("%v ago", max(d, 0).Round(time.Second))
}
