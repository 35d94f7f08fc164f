package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet/control"
)

func tokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Tokens by which programs purge over HTTP", RunE: subcommand}
	c.AddCommand(tokenAddCommand(), tokenListCommand(), tokenRemoveCommand())
	return c
}

func tokenAddCommand() *cobra.Command {
	var h hand
	var call control.TokenCall
	var last time.Duration
	c := &cobra.Command{
		Use:   "add NAME [--site SITE,SITE] [--kind url,prefix] [--for 720h]",
		Short: "Make a token, and print it once",
		Long: "Make a token by which a program may purge over HTTP at the control (`hub.api` of the network file), and print it: nobody can read it\n" +
			"again. With --site it purges by url, prefix and host of those sites alone, for a tag or all reach every site.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			call.Name = args[0]
			if c.Flags().Changed("for") {
				call.Until = time.Now().Add(last).UTC().Truncate(time.Second)
			}
			return h.asked(c, "token-add", call, func(w io.Writer, raw json.RawMessage) error {
				var doc control.TokenDoc
				if err := json.Unmarshal(raw, &doc); err != nil {
					return wrong(err)
				}
				fmt.Fprintln(c.ErrOrStderr(), "This is the token; it is not shown again:")
				fmt.Fprintln(w, doc.Token)
				return nil
			})
		},
	}
	h.flags(c)
	f := c.Flags()
	f.StringSliceVar(&call.Sites, "site", nil, "`SITE`s that it may purge (default: all)")
	f.StringSliceVar(&call.Kinds, "kind", nil, "`KIND`s of purges: url, tag, prefix, host, all (default: every one)")
	f.DurationVar(&last, "for", 0, "how long it holds (default: until it is removed)")
	return c
}

func tokenListCommand() *cobra.Command {
	var h hand
	c := &cobra.Command{
		Use: "list", Short: "Show the tokens that there are, and what each may do", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.asked(c, "token-list", nil, func(w io.Writer, raw json.RawMessage) error {
				var doc control.TokenDocs
				if err := json.Unmarshal(raw, &doc); err != nil {
					return wrong(err)
				}
				printTokens(w, doc)
				return nil
			})
		},
	}
	h.flags(c)
	return c
}

func tokenRemoveCommand() *cobra.Command {
	var h hand
	c := &cobra.Command{
		Use: "remove NAME", Short: "Take a token away: from now on it opens nothing", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return h.asked(c, "token-remove", control.TokenCall{Name: args[0]}, func(w io.Writer, _ json.RawMessage) error {
				fmt.Fprintf(w, "the token %s opens nothing any more\n", args[0])
				return nil
			})
		},
	}
	h.flags(c)
	return c
}

// asked has the control do something, and prints what it answers: the document with -o json, else by table.
func (h *hand) asked(c *cobra.Command, verb string, in any, table func(io.Writer, json.RawMessage) error) error {
	return h.ask(c.Context(), func(op asker) error {
		var raw json.RawMessage
		if err := op.ask(c.Context(), verb, in, &raw); err != nil {
			return err
		}
		if h.output == "json" {
			return printAnswer(c.OutOrStdout(), raw)
		}
		return table(plainly{c.OutOrStdout()}, raw)
	})
}

// printTokens writes the tokens for people.
func printTokens(w io.Writer, doc control.TokenDocs) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TOKEN\tSITES\tKINDS\tUNTIL\tBY")
	words := func(list []string) string {
		if len(list) == 0 {
			return "all"
		}
		return strings.Join(list, ",")
	}
	for _, x := range doc.Tokens {
		until := "no end"
		if x.Until != nil {
			until = x.Until.UTC().Format(time.RFC3339)
		}
		if x.Expired {
			until += " (over)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", x.Name, words(x.Sites), words(x.Kinds), until, x.By)
	}
	t.Flush()
}

func purgesCommand() *cobra.Command {
	var h hand
	var last int
	c := &cobra.Command{
		Use:   "purges [PURGE]",
		Short: "Show the last purges, and which PoPs have done them; or one, with each PoP",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if last < 1 || last > mostPurges {
				return usage("--last %d: 1 at least, and %d at most", last, mostPurges)
			}
			if len(args) == 1 {
				return onePurge(c, &h, args[0])
			}
			return h.asked(c, "purges", map[string]int{"last": last}, func(w io.Writer, raw json.RawMessage) error {
				var doc control.Purges
				if err := json.Unmarshal(raw, &doc); err != nil {
					return wrong(err)
				}
				printPurges(w, doc)
				return nil
			})
		},
	}
	h.flags(c)
	c.Flags().IntVar(&last, "last", 20, fmt.Sprintf("how many, %d at most", mostPurges))
	return c
}

// mostPurges is how many purges the control tells of in one answer.
const mostPurges = 50

// onePurge shows what became of the purge with a number.
func onePurge(c *cobra.Command, h *hand, number string) error {
	id, err := strconv.ParseUint(number, 10, 64)
	if err != nil || id == 0 {
		return usage("%q is no purge's number; `hither fleet purges` shows them", number)
	}
	return h.asked(c, "purge-status", map[string]uint64{"id": id}, func(w io.Writer, raw json.RawMessage) error {
		var doc control.Purge
		if err := json.Unmarshal(raw, &doc); err != nil {
			return wrong(err)
		}
		printFleetPurge(w, doc)
		return nil
	})
}

// printPurges writes purges for people, the newest first.
func printPurges(w io.Writer, doc control.Purges) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PURGE\tAT\tDONE\tP50\tP99\tOBJECTS\tNOT DONE\tWHAT")
	for _, p := range doc.Purges {
		done, p50, p99 := 0, "-", "-"
		var not []string
		for _, x := range p.PoPs {
			if x.State == control.Done {
				done++
			} else {
				not = append(not, x.PoP+" "+x.State)
			}
		}
		if n := len(not) - 5; n > 0 {
			not = append(not[:5], fmt.Sprintf("%d more", n))
		}
		if p.P99 > 0 {
			p50, p99 = fmt.Sprintf("%.1f ms", p.P50), fmt.Sprintf("%.1f ms", p.P99)
		}
		fmt.Fprintf(t, "%d\t%s\t%d/%d\t%s\t%s\t%d\t%s\t%s\n", p.ID, p.At.UTC().Format(time.RFC3339), done, len(p.PoPs), p50, p99, p.Objects,
			dash(strings.Join(not, ", ")), purgeWordsOf(p.Kind, p.Value, p.Soft))
	}
	t.Flush()
}
