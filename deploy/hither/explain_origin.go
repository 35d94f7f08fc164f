package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/edge/node"
	"hither/origin/balance"
	"hither/origin/gateway"
	"hither/origin/upstream"
)

func explainOriginCommand() *cobra.Command {
	var state, pop, output string
	c := &cobra.Command{
		Use:   "origin SITE [--pop NAME]",
		Short: "Show where a site's next request to the origin would go, and why",
		Long: "Show where a site's next request to the origin would go, and why: at each edge and then at each gateway the instances with\n" +
			"their states and scores, how many requests may be there at once and wait, and the next choice. The running nodes say it, by\n" +
			"the code that chooses for requests; nothing is sent. SITE is a site's name or one of its hosts.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			x, err := explainOrigin(c.Context(), state, strings.TrimPrefix(pop, "edge-"), args[0])
			if err != nil {
				return err
			}
			if output == "json" {
				return printDocument(c.OutOrStdout(), "explain-origin", x)
			}
			printOrigin(c.OutOrStdout(), x)
			return nil
		},
	}
	stateFlag(c, &state)
	outputFlag(c, &output)
	c.Flags().StringVar(&pop, "pop", "", "which PoP's edge to ask (default: all)")
	return c
}

// explainOrigin asks the edges below dir, and the gateways that they choose from.
func explainOrigin(ctx context.Context, dir, pop, site string) (node.OriginExplanation, error) {
	list, err := folders(dir)
	if err != nil {
		return node.OriginExplanation{}, err
	}
	var at []string
	for _, folder := range list {
		// A node alone may have any folder.
		if name, ok := strings.CutPrefix(filepath.Base(folder), edges.role+"-"); len(list) == 1 || ok && (pop == "" || name == pop) {
			at = append(at, folder)
		}
	}
	switch {
	case len(at) == 0 && pop != "":
		return node.OriginExplanation{}, usage("no %s %s in %s; it has %s", edges.noun, pop, dir, strings.Join(bases(list), ", "))
	case len(at) == 0:
		return node.OriginExplanation{}, wrong(fmt.Errorf("the network in %s has no %s; name one in `%s` of its network file", dir, edges.noun, edges.setting))
	}
	path := "/v1/explain/origin?" + url.Values{"site": {site}}.Encode()
	docs, errs := askTiers(ctx, at, path)
	x, err := joinEdges(at, docs, errs)
	if err != nil || len(list) == 1 {
		return x, err
	}
	var behind []string
	for _, id := range instancesIn(x.Tiers) {
		name := nodeOf(id)
		folder := filepath.Join(filepath.Dir(list[0]), name)
		switch {
		case slices.Contains(at, folder): // it has told already
		case slices.Contains(list, folder):
			behind = append(behind, folder)
		default:
			x.Tiers = append(x.Tiers, node.OriginTier{Tier: tierOf(name), Node: name, Error: "not in " + dir + ": ask where it runs"})
		}
	}
	docs, errs = askTiers(ctx, behind, path)
	for i, folder := range behind {
		x.Tiers = append(x.Tiers, tierBehind(filepath.Base(folder), docs[i], errs[i]))
	}
	return x, nil
}

// nodeOf is the node that an edge's instance is: a gateway goes by its name, and a shield by edge/POP.
func nodeOf(id string) string {
	if pop, ok := strings.CutPrefix(id, fleet.RoleEdge+"/"); ok {
		return fleet.RoleEdge + "-" + pop
	}
	return fleet.RoleOrigin + "-" + id
}

// tierOf is what a node is to the edges before it.
func tierOf(node string) string {
	if strings.HasPrefix(node, fleet.RoleEdge+"-") {
		return "shield"
	}
	return "gateway"
}

// A tierDocument is what one node says: an edge in tiers, a gateway of itself alone.
type tierDocument struct {
	node.OriginExplanation
	alone node.OriginTier
}

// UnmarshalJSON reads both.
func (d *tierDocument) UnmarshalJSON(text []byte) error {
	return errors.Join(json.Unmarshal(text, &d.OriginExplanation), json.Unmarshal(text, &d.alone))
}

// askTiers asks nodes at once.
func askTiers(ctx context.Context, nodes []string, path string) ([]tierDocument, []error) {
	docs, errs := make([]tierDocument, len(nodes)), make([]error, len(nodes))
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var asked sync.WaitGroup
	for i, folder := range nodes {
		asked.Go(func() { errs[i] = ops.Dial(folder).Get(ctx, path, &docs[i]) })
	}
	asked.Wait()
	return docs, errs
}

// joinEdges makes one document of what edges said. One that is down, or does not serve the site, has a tier that says so; where
// none of them can tell, the error does.
func joinEdges(nodes []string, docs []tierDocument, errs []error) (x node.OriginExplanation, err error) {
	var unknown string
	var failed error
	for i, folder := range nodes {
		tier := node.OriginTier{Tier: "edge", Node: filepath.Base(folder)}
		var refusal *ops.Refusal
		switch {
		case errs[i] == nil && len(docs[i].Tiers) == 1:
			x.Site, x.Origin, tier = docs[i].Site, docs[i].Origin, docs[i].Tiers[0]
		case errs[i] == nil:
			return x, usage("the node in %s is no %s", folder, edges.noun)
		case errors.As(errs[i], &refusal) && refusal.Status == http.StatusNotFound && strings.Contains(refusal.Error(), "serves no site"):
			tier.Error = strings.TrimPrefix(refusal.Error(), "node: ")
			unknown = cmp.Or(unknown, tier.Error)
		case errors.As(errs[i], &refusal) && refusal.Status == http.StatusNotFound:
			return x, usage("the node in %s is no %s", folder, edges.noun)
		default:
			failed, tier.Error = errs[i], downWords(errs[i])
		}
		x.Tiers = append(x.Tiers, tier)
	}
	switch {
	case x.Site != "":
		return x, nil
	case unknown != "":
		return x, usage("%s", unknown)
	}
	return x, wrong(failed)
}

// downWords are short where nothing is known but that the node is down.
func downWords(err error) string {
	if errors.Is(err, ops.ErrNotRunning) {
		return "down: no node runs there"
	}
	return err.Error()
}

// tierBehind is what a node behind the edges said.
func tierBehind(name string, doc tierDocument, err error) node.OriginTier {
	tier := doc.alone
	if len(doc.Tiers) > 0 {
		tier = doc.Tiers[0]
	}
	var refusal *ops.Refusal
	switch {
	case errors.As(err, &refusal):
		tier = node.OriginTier{Error: refusal.Error()}
	case err != nil:
		tier = node.OriginTier{Error: downWords(err)}
	}
	tier.Tier, tier.Node = tierOf(name), name
	return tier
}

// instancesIn are those that the tiers choose from, each once.
func instancesIn(tiers []node.OriginTier) (ids []string) {
	for _, t := range tiers {
		if t.Upstream == nil {
			continue
		}
		for _, i := range t.Upstream.Instances {
			if i.State != "gone" && !slices.Contains(ids, i.ID) {
				ids = append(ids, i.ID)
			}
		}
	}
	return ids
}

// printOrigin writes the document for people.
func printOrigin(w io.Writer, x node.OriginExplanation) {
	fmt.Fprintf(w, "site %s, origin %s\n", x.Site, x.Origin)
	for _, t := range x.Tiers {
		fmt.Fprintln(w)
		if t.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", t.Node, t.Error)
			continue
		}
		head := t.Node
		if t.Revision > 0 {
			head += fmt.Sprintf(", revision %d", t.Revision)
		}
		if t.At != nil {
			head += ", " + t.At.Format(time.RFC3339)
		}
		fmt.Fprintln(w, head)
		if t.Upstream == nil {
			fmt.Fprintln(w, "chooses nothing: it has what it sends")
		} else {
			printTier(w, t.Upstream)
		}
		if len(t.Discover) > 0 {
			fmt.Fprintf(w, "looked up: %s\n", lookWords(t.Discover))
		}
		for _, p := range t.Problems {
			fmt.Fprintf(w, "problem: %s\n", p)
		}
	}
}

func printTier(w io.Writer, e *upstream.Explanation) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INSTANCE\tGROUP\tWEIGHT\tSTATE\tLATENCY\tGOOD\tIN FLIGHT\tCOST\tSHARE\tPICKS\tWHY")
	for _, i := range e.Instances {
		s := i.Score
		if s.LatencyMS == 0 { // the cost is made of it
			s.Cost = 0
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%.0f %%\t%d\t%s\t%s\t%d\t%s\n",
			i.ID, i.Group, i.Weight, i.State, timeWords(s.LatencyMS), 100*s.Good, s.InFlight, timeWords(s.Cost), shareWords(e, i), i.PicksTotal, orDash(i.Why))
	}
	t.Flush()
	fmt.Fprintf(w, "algorithm: %s", e.Algorithm)
	if e.Panic {
		fmt.Fprint(w, ", in panic: too few are well, so all are used")
	}
	fmt.Fprintf(w, "\nlimit: %s\n", limitWords(e.Limit))
	fmt.Fprintf(w, "retries: %d more for a request, %d %% of all, %d left now\n", e.Retry.Attempts, e.Retry.Percent, e.Retry.Tokens)
	for _, c := range e.Checks {
		if !c.Up {
			fmt.Fprintf(w, "check of %s: down: %s%s\n", c.ID, c.Why, allTheSame(e, c.ID))
		}
	}
	fmt.Fprintf(w, "next: %s\n", e.Sentence)
}

// allTheSame says of an instance whose check fails that it is used, where it is: good answers in a panic have overruled the check.
func allTheSame(e *upstream.Explanation, id string) string {
	for _, i := range e.Instances {
		if i.ID == id && (i.State == "well" || i.State == "warming") {
			return "; used all the same, as it answered requests well when too few were left"
		}
	}
	return ""
}

// lookWords are what a gateway knows of its application's servers from DNS.
func lookWords(text []byte) string {
	var l gateway.LookStatus
	if err := json.Unmarshal(text, &l); err != nil {
		return err.Error()
	}
	words := fmt.Sprintf("%s %s, %s", l.Name, l.Type, count(len(l.Found), "server"))
	if l.Looked != nil {
		words += " at " + l.Looked.Format(time.RFC3339)
	}
	if l.Error != "" {
		words += "; since then: " + l.Error
	}
	return words
}

// timeWords is a time in milliseconds, of which 0 is none that was measured.
func timeWords(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// shareWords is the part of all requests that an instance gets as it is now: of its group's, by its weight; in panic, of all.
func shareWords(e *upstream.Explanation, of balance.InstanceStatus) string {
	var all, group float64
	for _, i := range e.Instances {
		if i.Group == of.Group || e.Panic {
			all += i.Score.Effective
		}
	}
	for _, g := range e.Groups {
		if g.Group == of.Group {
			group = g.Share
		}
	}
	if e.Panic {
		group = 1
	}
	if all == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*group*of.Score.Effective/all)
}

func limitWords(l *upstream.LimitExplanation) string {
	if l == nil {
		return "none"
	}
	how := "given"
	switch {
	case l.Adaptive && l.Baseline > 0:
		how = fmt.Sprintf("found, by a first byte of %.1f ms at its best", l.Baseline)
	case l.Adaptive:
		how = "found, and nothing measured yet"
	}
	var refused uint64
	for _, n := range l.RefusedTotal {
		refused += n
	}
	return fmt.Sprintf("%d at once (%s), %d under way, %d of at most %d waiting, %d refused", l.Limit, how, l.In, l.Waiting, l.WaitingMost, refused)
}
