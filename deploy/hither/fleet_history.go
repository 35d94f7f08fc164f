package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet/control"
)

// revisionNumber reads the number of a revision.
func revisionNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, usage("%q is no revision's number; `hither fleet history` shows them", s)
	}
	return n, nil
}

func historyCommand() *cobra.Command {
	var h hand
	c := &cobra.Command{
		Use:   "history",
		Short: "Show the fleet's revisions, and what became of each",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.ask(c.Context(), func(op asker) error {
				var raw json.RawMessage
				if err := op.ask(c.Context(), "history", nil, &raw); err != nil {
					return err
				}
				if h.output == "json" {
					return printAnswer(c.OutOrStdout(), raw)
				}
				var doc control.HistoryDoc
				if err := json.Unmarshal(raw, &doc); err != nil {
					return wrong(err)
				}
				printHistory(c.OutOrStdout(), doc)
				return nil
			})
		},
	}
	h.flags(c)
	return c
}

// printHistory writes the history for people, the newest first.
func printHistory(w io.Writer, doc control.HistoryDoc) {
	t := tabwriter.NewWriter(plainly{w}, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REVISION\tSTATE\tAT\tBY\tHASH\tNOTE")
	for _, l := range doc.Revisions {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%.8s\t%s\n", l.Number, l.State, l.At.UTC().Format(time.RFC3339), l.By, l.Hash, dash(l.Note))
	}
	t.Flush()
	for _, l := range doc.Revisions {
		if l.Why != "" && l.State != "stable" && l.State != "replaced" {
			fmt.Fprintf(plainly{w}, "%d: %s\n", l.Number, l.Why)
		}
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func diffCommand() *cobra.Command {
	var h hand
	c := &cobra.Command{
		Use:   "diff A [B]",
		Short: "Show what changes from one revision to another, or to the one in force",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			calls := []control.RevisionCall{{}, {}}
			for i := range args {
				var err error
				if calls[i].Number, err = revisionNumber(args[i]); err != nil {
					return err
				}
			}
			return h.ask(c.Context(), func(op asker) error {
				docs := make([]control.RevisionDoc, len(calls))
				for i := range calls {
					if err := op.ask(c.Context(), "revision", calls[i], &docs[i]); err != nil {
						return err
					}
				}
				name := func(i int) string { return fmt.Sprintf("revision %d", docs[i].Number) }
				diff := unified(name(0), name(1), docs[0].File, docs[1].File)
				if h.output == "json" {
					return printDocument(c.OutOrStdout(), "diff", struct {
						From int    `json:"from"`
						To   int    `json:"to"`
						Diff string `json:"diff"`
					}{docs[0].Number, docs[1].Number, diff})
				}
				printDiff(c.OutOrStdout(), diff)
				return nil
			})
		},
	}
	h.flags(c)
	return c
}
