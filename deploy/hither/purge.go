package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/ops"
	"hither/edge/node"
)

// purgeTime bounds one edge's purge: it looks through all that is stored.
const purgeTime = 60 * time.Second

func purgeCommand() *cobra.Command {
	var state, output, url, tag, prefix, host string
	var all, softly bool
	c := &cobra.Command{
		Use:   "purge --url URL | --tag TAG | --prefix URL | --host HOST | --all [--soft]",
		Short: "Let every edge forget what is stored, or hold it for stale",
		Long: "Let every edge forget what is stored. When the command has ended with status 0, no PoP answers a request that begins from\n" +
			"then on with what was meant. With --soft it is stale instead of gone: it may be validated, or stand in for a failing origin.\n\n" +
			"A URL stands for all of its variants; its scheme does not count. A host stands for its site, with all of its hosts.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var calls []node.PurgeCall
			for kind, value := range map[string]*string{"url": &url, "tag": &tag, "prefix": &prefix, "host": &host} {
				if c.Flags().Changed(kind) {
					calls = append(calls, node.PurgeCall{Kind: kind, Value: *value, Soft: softly})
				}
			}
			if all {
				calls = append(calls, node.PurgeCall{Kind: "all", Soft: softly})
			}
			if len(calls) != 1 {
				return usage("purge what? name one of --url, --tag, --prefix, --host and --all")
			}
			if len(calls[0].Value) > mostURL {
				return usage("--%s has %d bytes; %d are taken at most", calls[0].Kind, len(calls[0].Value), mostURL)
			}
			done, err := purgeAll(c.Context(), state, calls[0])
			if err != nil {
				return err
			}
			if output == "json" {
				err = printDocument(c.OutOrStdout(), "purge", done)
			} else {
				printPurge(c.OutOrStdout(), done)
			}
			if err == nil && !done.Complete {
				err = wrong(errors.New("not every PoP has done it; what is stored there may be served until it has: tell it again when it answers"))
			}
			return err
		},
	}
	stateFlag(c, &state)
	outputFlag(c, &output)
	f := c.Flags()
	f.StringVar(&url, "url", "", "one `URL` with its variants")
	f.StringVar(&tag, "tag", "", "what came with the `TAG` in Surrogate-Key or Cache-Tag")
	f.StringVar(&prefix, "prefix", "", "all whose URL begins so, byte for byte: `URL`")
	f.StringVar(&host, "host", "", "all of the site that has the `HOST`")
	f.BoolVar(&all, "all", false, "everything")
	f.BoolVar(&softly, "soft", false, "hold it for stale instead of forgetting it")
	return c
}

// purgeAll tells the edges below dir, all at once.
func purgeAll(ctx context.Context, dir string, call node.PurgeCall) (node.Purge, error) {
	list, err := folders(dir)
	if err != nil {
		return node.Purge{}, err
	}
	var nodes []string
	for _, folder := range list {
		// A node alone may have any folder.
		if len(list) == 1 || strings.HasPrefix(filepath.Base(folder), edges.role+"-") {
			nodes = append(nodes, folder)
		}
	}
	if len(nodes) == 0 {
		return node.Purge{}, wrong(fmt.Errorf("the network in %s has no %s; name one in `%s` of its network file", dir, edges.noun, edges.setting))
	}
	pops, errs := make([]node.PoPPurge, len(nodes)), make([]error, len(nodes))
	var asked sync.WaitGroup
	for i, folder := range nodes {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, purgeTime)
			defer cancel()
			var one node.Purge
			if errs[i] = ops.Dial(folder).Post(ctx, "/v1/purge", call, &one); errs[i] == nil && len(one.PoPs) == 1 {
				pops[i] = one.PoPs[0]
			}
		})
	}
	asked.Wait()
	return purgeWords(call, nodes, pops, errs)
}

// purgeWords makes one document of what the edges said.
func purgeWords(call node.PurgeCall, nodes []string, pops []node.PoPPurge, errs []error) (node.Purge, error) {
	unknown := 0
	var last error
	for i, err := range errs {
		name := strings.TrimPrefix(filepath.Base(nodes[i]), edges.role+"-")
		var refusal *ops.Refusal
		switch {
		case err == nil:
			continue
		case errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest:
			return node.Purge{}, usage("%v", refusal) // each would say the same
		case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound && strings.Contains(refusal.Error(), "no site has the host"):
			unknown, last = unknown+1, refusal
			pops[i] = node.PoPPurge{PoP: name, State: "done"} // a PoP that does not serve the site has nothing of it
		case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound && len(nodes) == 1:
			return node.Purge{}, usage("the node in %s is no %s", nodes[i], edges.noun)
		case errors.Is(err, ops.ErrNotRunning):
			pops[i] = node.PoPPurge{PoP: name, State: "away", Error: err.Error()}
		default:
			pops[i] = node.PoPPurge{PoP: name, State: "failed", Error: err.Error()}
		}
	}
	if unknown == len(nodes) {
		return node.Purge{}, wrong(fmt.Errorf("%w: see `sites` of the network file", last))
	}
	slices.SortFunc(pops, func(a, b node.PoPPurge) int { return strings.Compare(a.PoP, b.PoP) })
	return node.Join(call, pops), nil
}

// printPurge writes the document for people.
func printPurge(w io.Writer, p node.Purge) {
	what := p.Kind
	if p.Value != "" {
		what += " " + cutTarget(p.Value)
	}
	if p.Soft {
		what += ", soft"
	}
	fmt.Fprintf(w, "purge %s\n\n", what)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POP\tSTATE\tOBJECTS\tFILLS\tTIME")
	for _, x := range p.PoPs {
		if x.State != "done" {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\n", x.PoP, x.State)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%.1f ms\n", x.PoP, x.State, x.Objects, x.Fills, x.MS)
	}
	t.Flush()
	for _, x := range p.PoPs {
		if x.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", x.PoP, x.Error)
		}
	}
}

// mostTagsShown bounds the tags that people read of one response; the document has all.
const mostTagsShown = 12

func tagWords(tags []string) string {
	if n := len(tags) - mostTagsShown; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(tags[:mostTagsShown], ", "), n)
	}
	return strings.Join(tags, ", ")
}
