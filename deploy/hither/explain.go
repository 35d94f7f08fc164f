package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/dns/server"
)

func explainCommand() *cobra.Command {
	c := &cobra.Command{Use: "explain", Short: "Show a decision of a running network, with its reasons", RunE: subcommand}
	c.AddCommand(explainDNSCommand(), explainMapCommand(), explainRequestCommand(), explainOriginCommand())
	return c
}

func explainDNSCommand() *cobra.Command {
	var state, node, output, client, resolver, qtype string
	c := &cobra.Command{
		Use:   "dns NAME [--client IP|PREFIX] [--resolver IP]",
		Short: "Show what a client would be answered for a name, and why",
		Long: "Show what a client would be answered for a name, and why. The running DNS server says it, by the code that answers\n" +
			"clients. Without --client the resolver told no client subnet, and its own address stands for the client's.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var x server.Explanation
			query := url.Values{"name": {args[0]}, "client": {client}, "resolver": {resolver}, "type": {qtype}}
			if err := askDNS(c.Context(), state, node, "/v1/explain/dns?"+query.Encode(), &x); err != nil {
				return err
			}
			if output == "json" {
				return printDocument(c.OutOrStdout(), "explain-dns", x)
			}
			printExplanation(c.OutOrStdout(), x)
			return nil
		},
	}
	stateFlag(c, &state)
	serverFlag(c, &node)
	outputFlag(c, &output)
	c.Flags().StringVar(&client, "client", "", "the client's address or prefix, as its resolver tells it; an address stands for its /24 or /56")
	c.Flags().StringVar(&resolver, "resolver", "127.0.0.1", "the resolver's address")
	c.Flags().StringVar(&qtype, "type", "A", "record type")
	return c
}

func explainMapCommand() *cobra.Command {
	var state, node, output, site string
	c := &cobra.Command{
		Use:   "map",
		Short: "Show which PoP the clients of each country get",
		Long: "Show which PoP the clients of each country get: a table of distances, or with -o svg the world as a picture:\n\n" +
			"  hither explain map -o svg > map.svg",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var m mapDocument
			if err := askDNS(c.Context(), state, node, "/v1/explain/map?"+url.Values{"site": {site}}.Encode(), &m); err != nil {
				return err
			}
			switch output {
			case "json":
				return printDocument(c.OutOrStdout(), "explain-map", m)
			case "svg":
				return worldMap(c.OutOrStdout(), m)
			}
			mapTable(c.OutOrStdout(), m)
			return nil
		},
	}
	stateFlag(c, &state)
	serverFlag(c, &node)
	c.Flags().StringVar(&site, "site", "", "the site whose PoPs are meant (default: the first)")
	c.Flags().StringVarP(&output, "output", "o", "table", "table, json or svg")
	c.PreRunE = func(*cobra.Command, []string) error {
		if output != "table" && output != "json" && output != "svg" {
			return usage("-o %s: table, json or svg", output)
		}
		return nil
	}
	return c
}

func serverFlag(c *cobra.Command, name *string) {
	c.Flags().StringVar(name, "server", "", "which DNS server to ask (default: the first that answers)")
}

// askDNS asks a DNS server of the network in dir.
func askDNS(ctx context.Context, dir, name, path string, doc any) error {
	return askRole(ctx, dir, dnsServers, name, func(ctx context.Context, c *ops.Client) error { return c.Get(ctx, path, doc) })
}

// A roleWords is a role as errors speak of it.
type roleWords struct {
	role, noun string
	setting    string // where the network file names one
}

var (
	dnsServers = roleWords{fleet.RoleDNS, "DNS server", "dns.servers"}
	edges      = roleWords{fleet.RoleEdge, "edge", "pops"}
)

// askRole asks the node of that role and name in dir; without a name the first that answers.
func askRole(ctx context.Context, dir string, words roleWords, name string, ask func(context.Context, *ops.Client) error) error {
	list, err := folders(dir)
	if err != nil {
		return err
	}
	var nodes []string
	for _, folder := range list {
		// A node alone may have any folder.
		if n, ok := strings.CutPrefix(filepath.Base(folder), words.role+"-"); len(list) == 1 || ok && (name == "" || n == name) {
			nodes = append(nodes, folder)
		}
	}
	switch {
	case len(nodes) == 0 && name != "":
		return usage("no %s %s in %s; it has %s", words.noun, name, dir, strings.Join(bases(list), ", "))
	case len(nodes) == 0:
		return wrong(fmt.Errorf("the network in %s has no %s; name one in `%s` of its network file", dir, words.noun, words.setting))
	}
	for _, folder := range nodes {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		err = ask(ctx, ops.Dial(folder))
		cancel()
		if err == nil || !errors.Is(err, ops.ErrNotRunning) {
			break
		}
	}
	var refusal *ops.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest:
		return usage("%v", refusal)
	case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound:
		return usage("the node in %s is no %s", dir, words.noun)
	}
	return wrong(err)
}

// printExplanation writes an explanation for people.
func printExplanation(w io.Writer, x server.Explanation) {
	from := "resolver " + x.Asked.Resolver
	if x.Asked.Client != "" {
		from = "client " + x.Asked.Client + ", " + from
	}
	fmt.Fprintf(w, "%s %s for %s (%s, revision %d)\n", x.Name, x.Type, from, x.Node, x.Revision)
	if p := x.Place; p != nil {
		fmt.Fprintf(w, "place: %s\n", placeWords(p))
	}
	if len(x.Candidates) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "RANK\tPOP\tDISTANCE\tRTT\tSTATE\tLOAD\tSHED\tWEIGHT\tSTRUCK OUT\tREASON")
		for _, c := range x.Candidates {
			struck, rank := "-", "-"
			if c.Struck != nil {
				struck = *c.Struck
			}
			if c.Rank > 0 {
				rank = strconv.Itoa(c.Rank)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", rank, c.PoP, measured(c.Distance, "%.0f km"), rttWords(&c), c.State,
				measured(c.Load, "%.2f"), shedWords(&c), c.Weight, struck, orDash(c.Reason))
		}
		t.Flush()
		for _, c := range x.Candidates {
			if c.RTTUnused != "" {
				fmt.Fprintf(w, "%s: round trip not used: %s\n", c.PoP, c.RTTUnused)
			}
			if c.Drain != nil {
				fmt.Fprintf(w, "%s: drained since %s by %s\n", c.PoP, c.Drain.Since.Format(time.RFC3339), c.Drain.By)
			}
		}
	}
	fmt.Fprintln(w)
	if len(x.Answer.PoPs) > 0 {
		scope := ""
		if x.Asked.Client != "" {
			scope = fmt.Sprintf(", scope /%d", x.Scope)
		}
		fmt.Fprintf(w, "answer: %s, TTL %d s%s\n", strings.Join(x.Answer.PoPs, ", "), x.Answer.TTL, scope)
	} else {
		fmt.Fprintf(w, "answer: %s, %s\n", x.Rcode, count(len(x.Answer.Records), "record"))
	}
	fmt.Fprintf(w, "reason: %s\n", x.Reason)
	for _, rr := range x.Answer.Records {
		fmt.Fprintln(w, "  "+rr)
	}
}

func placeWords(p *server.Place) string {
	var words []string
	switch {
	case p.PoP != "":
		words = append(words, "at PoP "+p.PoP)
	case p.Lat == nil:
		return "nobody knows (" + p.Matched + ")"
	default:
		words = append(words, fmt.Sprintf("%.2f, %.2f", *p.Lat, *p.Lon))
	}
	if p.Country != "" {
		words = append(words, p.Country)
	}
	by := map[string]string{"prefix": "the operator's prefix", "mmdb": "the database", "embedded": "the built-in table"}[p.FoundBy]
	words = append(words, "by "+by+" "+p.Matched)
	if p.Source == "resolver" {
		words = append(words, "of the resolver's address")
	}
	return strings.Join(words, ", ")
}

func measured(v *float64, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// rttWords is a candidate's round trip, and whose word it is.
func rttWords(c *server.Candidate) string {
	words := measured(c.RTT, "%.1f ms")
	if c.RTTFrom == "guess" {
		return "~" + words
	}
	if c.RTTFrom == "probe" {
		return words + " (probe)"
	}
	return words
}

func shedWords(c *server.Candidate) string {
	if c.Shed == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", c.Shed*100)
}
