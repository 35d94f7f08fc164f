package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/ops"
	"hither/edge/node"
)

// purgeTime bounds one edge's purge: it looks through all that is stored.
const purgeTime = 60 * time.Second

// mostWait is how long the control has a purge wait for its receipts at most.
const mostWait = 10 * time.Minute

// purgeKinds are the words of the command, each with its short help and what it names.
var purgeKinds = []struct{ kind, names, short string }{
	{"url", "URL...", "Forget URLs with their variants"},
	{"tag", "TAG...", "Forget what came with a tag in Surrogate-Key or Cache-Tag"},
	{"prefix", "URL...", "Forget all whose URL begins so, byte for byte"},
	{"host", "HOST...", "Forget all of the sites that have the hosts"},
	{"all", "", "Forget everything"},
}

// A purging is what the flags of `hither purge` say.
type purging struct {
	hand
	soft, wait bool
	timeout    time.Duration
}

func (p *purging) flags(c *cobra.Command) {
	p.hand.flags(c)
	f := c.Flags()
	f.BoolVar(&p.soft, "soft", false, "hold it for stale instead of forgetting it")
	f.BoolVar(&p.wait, "wait", false, "end when every PoP has done it, with status 1 where one has not in time")
	f.DurationVar(&p.timeout, "timeout", 30*time.Second, "how long to wait, 10m at most")
}

func purgeCommand() *cobra.Command {
	var p purging
	values := map[string]*[]string{}
	var all bool
	c := &cobra.Command{
		Use:   "purge url|tag|prefix|host|all VALUE... [--soft] [--wait]",
		Short: "Let every edge forget what is stored, or hold it for stale",
		Long: "Let every edge forget what is stored. The fleet's hub keeps the purge, with its number: an edge that is away does it when it is back.\n" +
			"With --wait the command ends when no PoP answers a request that begins from then on with what was meant. With --soft it is stale\n" +
			"instead of gone: it may be validated, or stand in for a failing origin. Where there is no hub, or it does not answer, the edges whose\n" +
			"sockets are in --state are told themselves, shields first, and the status is 1 if the network file names others too: they do not hear\n" +
			"of it until it is told again when the hub answers.\n\n" +
			"A URL stands for all of its variants; its scheme does not count. A host stands for its site, with all of its hosts.\n\n" +
			"`hither purge --url URL`, --tag, --prefix, --host and --all are the same with --wait; one of them, as often as need be.",
		Args: subcommandArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var orders []bus.Order
			var named []string
			for _, k := range purgeKinds[:4] {
				if c.Flags().Changed(k.kind) {
					named = append(named, "--"+k.kind)
					for _, v := range *values[k.kind] {
						orders = append(orders, bus.Order{Kind: k.kind, Value: v, Soft: p.soft})
					}
				}
			}
			if all {
				named, orders = append(named, "--all"), append(orders, bus.Order{Kind: "all", Soft: p.soft})
			}
			switch n := len(named) - 1; {
			case n < 0:
				return usage("purge what? name one of url, tag, prefix, host and all, such as `hither purge url URL`")
			case n > 0:
				return usage("%s and %s: one kind of purge at a time, of which several values may be named", strings.Join(named[:n], ", "), named[n])
			}
			p.wait = true
			return p.purge(c, orders)
		},
	}
	p.flags(c)
	f := c.Flags()
	for _, k := range purgeKinds[:4] {
		values[k.kind] = f.StringArray(k.kind, nil, "`"+strings.TrimSuffix(k.names, "...")+"`: as `purge "+k.kind+"`, with --wait")
	}
	f.BoolVar(&all, "all", false, "as purge all, with --wait")
	for _, k := range purgeKinds {
		c.AddCommand(purgeKindCommand(k.kind, k.names, k.short))
	}
	return c
}

// subcommandArgs refuses words that are no command below.
func subcommandArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unknown command %q for %q; see `%s --help`", args[0], c.CommandPath(), c.CommandPath())
	}
	return nil
}

func purgeKindCommand(kind, names, short string) *cobra.Command {
	var p purging
	c := &cobra.Command{
		Use: strings.TrimSpace(kind + " " + names), Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			orders := make([]bus.Order, 0, len(args)+1)
			for _, a := range args {
				orders = append(orders, bus.Order{Kind: kind, Value: a, Soft: p.soft})
			}
			if kind == "all" {
				orders = append(orders, bus.Order{Kind: kind, Soft: p.soft})
			}
			return p.purge(c, orders)
		},
	}
	if kind == "all" {
		c.Args = cobra.NoArgs
	}
	p.flags(c)
	return c
}

// purge gives orders to the fleet's control or, where there is none, to the edges themselves.
func (p *purging) purge(c *cobra.Command, orders []bus.Order) error {
	if p.timeout <= 0 || p.timeout > mostWait {
		return usage("--timeout %v: it is more than nothing, and 10m at most", p.timeout)
	}
	if len(orders) > bus.MostOrders {
		return usage("%d purges at once; at most %d are taken", len(orders), bus.MostOrders)
	}
	for _, o := range orders {
		if len(o.Value) > bus.MostOrderBytes {
			return usage("the value of a purge has %d bytes; %d are taken at most", len(o.Value), bus.MostOrderBytes)
		}
	}
	hub := hasHub(p.hand)
	if hub {
		op, err := dialOperator(c.Context(), p.state, p.bundle)
		switch {
		case err == nil:
			defer op.close()
			return p.byControl(c, op, orders)
		case p.bundle != "" || !errors.Is(err, bus.ErrAway):
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "hither: %v; the edges in %s are told themselves, and those elsewhere are not\n", err, p.state)
	}
	return p.bySockets(c, orders, hub)
}

// byControl has the fleet's control do it.
func (p *purging) byControl(c *cobra.Command, op asker, orders []bus.Order) error {
	ctx, cancel := context.WithTimeout(c.Context(), p.timeout+askTime+purgeTime)
	defer cancel()
	call := control.PurgeCall{Orders: orders, Wait: p.wait, Timeout: p.timeout.Seconds()}
	if len(orders) == 1 {
		call.Order, call.Orders = orders[0], nil
	}
	var raw json.RawMessage
	if err := op.ask(ctx, "purge", call, &raw); err != nil {
		return err
	}
	doc := control.Purges{Purges: make([]control.Purge, 1)}
	into := any(&doc.Purges[0])
	if call.Orders != nil {
		into = &doc
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return wrong(fmt.Errorf("the control's answer: %w", err))
	}
	if p.output == "json" {
		if err := printAnswer(c.OutOrStdout(), raw); err != nil {
			return err
		}
	}
	complete := true
	for i, one := range doc.Purges {
		if p.output != "json" {
			if i > 0 {
				fmt.Fprintln(c.OutOrStdout())
			}
			printFleetPurge(plainly{c.OutOrStdout()}, one)
		}
		complete = complete && one.Complete
	}
	if !p.wait && !complete && p.output != "json" {
		fmt.Fprintln(c.OutOrStdout(), "\nit is on the hub's disk, and every PoP will do it; `hither fleet purges` tells which have, --wait waits for them")
	}
	if p.wait && !complete {
		return wrong(fmt.Errorf("not every PoP has done it within %v; those that have not will do it when they can: `hither fleet purges` tells", p.timeout))
	}
	return nil
}

// bySockets tells the edges in the state folder one by one. With hub there is one, which does not answer.
func (p *purging) bySockets(c *cobra.Command, orders []bus.Order, hub bool) error {
	network, unknown := networkIn(p.state)
	complete := true
	var all []node.Purge
	var err error
	for i, o := range orders {
		var done node.Purge
		if done, err = purgeAll(c.Context(), p.state, node.PurgeCall{Kind: o.Kind, Value: o.Value, Soft: o.Soft}); err != nil {
			complete = false // those before it are done all the same
			break
		}
		done = withElsewhere(done, network, p.state)
		all, complete = append(all, done), complete && done.Complete
		if p.output != "json" {
			if i > 0 {
				fmt.Fprintln(c.OutOrStdout())
			}
			printPurge(c.OutOrStdout(), done)
		}
	}
	if p.output == "json" && len(all) > 0 {
		name, doc := "purge", any(all[0])
		if len(orders) > 1 {
			name, doc = "purges", struct {
				Purges   []node.Purge `json:"purges"`
				Complete bool         `json:"complete"` // all that were asked for
			}{all, complete}
		}
		err = cmp.Or(err, printDocument(c.OutOrStdout(), name, doc))
	}
	if err != nil {
		return err
	}
	switch {
	case complete:
		return nil
	case unknown != nil:
		return wrong(fmt.Errorf("which PoPs there are is not known, and so not whether every one has done it: %w", unknown))
	case hub:
		return wrong(errors.New("not every PoP has done it, and the hub has not heard of it: what is stored there may be served until you tell it again when the hub answers"))
	}
	return wrong(errors.New("not every PoP has done it; what is stored there may be served until it has: tell it again when it answers"))
}

// printFleetPurge writes what became of a purge for people.
func printFleetPurge(w io.Writer, p control.Purge) {
	fmt.Fprintf(w, "purge %d: %s\n\n", p.ID, purgeWordsOf(p.Kind, p.Value, p.Soft))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POP\tSTATE\tOBJECTS\tFILLS\tTIME")
	listed := 0 // of those that have done it
	for _, x := range p.PoPs {
		if x.State == control.Done {
			listed++
		}
		objects, fills, ms := "-", "-", "-"
		if x.Objects != nil && x.State != control.Pending && x.State != control.Away {
			objects, fills = strconv.Itoa(*x.Objects), strconv.Itoa(*x.Fills)
		}
		if x.MS != nil {
			ms = fmt.Sprintf("%.1f ms", *x.MS)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", x.PoP, x.State, objects, fills, ms)
	}
	if others := p.Done - listed; others > 0 {
		fmt.Fprintf(t, "%d others\t%s\t-\t-\t-\n", others, control.Done)
	}
	t.Flush()
	for _, x := range p.PoPs {
		if x.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", x.PoP, x.Error)
		}
	}
}

// purgeWordsOf says what is purged.
func purgeWordsOf(kind, value string, soft bool) string {
	if value != "" {
		kind += " " + cutTarget(value)
	}
	if soft {
		kind += ", soft"
	}
	return kind
}

// purgeAll tells the edges below dir: shields first, then the others. An edge told before its shield would fetch from there what
// is to be forgotten, and keep it. In the second round all are told where there are several shields, for each may fetch
// through another.
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
	for _, round := range purgeRounds(shieldsAmong(ctx, nodes)) {
		var asked sync.WaitGroup
		for _, i := range round {
			asked.Go(func() {
				one, err := purgeOne(ctx, nodes[i], call)
				if errs[i] = cmp.Or(errs[i], err); err == nil {
					one.Objects, one.Fills, one.MS = one.Objects+pops[i].Objects, one.Fills+pops[i].Fills, one.MS+pops[i].MS
					pops[i] = one
				}
			})
		}
		asked.Wait()
	}
	return purgeWords(call, nodes, pops, errs)
}

// purgeOne tells one edge.
func purgeOne(ctx context.Context, folder string, call node.PurgeCall) (node.PoPPurge, error) {
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	var one node.Purge
	if err := ops.Dial(folder).Post(ctx, "/v1/purge", call, &one); err != nil {
		return node.PoPPurge{}, err
	}
	if len(one.PoPs) != 1 {
		return node.PoPPurge{}, fmt.Errorf("it told of %d PoPs", len(one.PoPs))
	}
	return one.PoPs[0], nil
}

// shieldsAmong asks the edges which of them others fetch through. One that cannot say so may be one; one that does not run is none.
func shieldsAmong(ctx context.Context, nodes []string) []bool {
	shields := make([]bool, len(nodes))
	var asked sync.WaitGroup
	for i, folder := range nodes {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			var s ops.Status
			err := ops.Dial(folder).Get(ctx, "/v1/status", &s)
			shields[i] = err != nil && !errors.Is(err, ops.ErrNotRunning) ||
				slices.ContainsFunc(s.Nodes, func(n ops.NodeStatus) bool { return len(n.ShieldOf) > 0 })
		})
	}
	asked.Wait()
	return shields
}

// purgeRounds says who is told at once, one round after the other.
func purgeRounds(shields []bool) [][]int {
	var first, rest, all []int
	for i, shield := range shields {
		if all = append(all, i); shield {
			first = append(first, i)
		} else {
			rest = append(rest, i)
		}
	}
	switch len(first) {
	case 0:
		return [][]int{all}
	case 1:
		return [][]int{first, rest}
	}
	return [][]int{first, all}
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
	fmt.Fprintf(w, "purge %s\n\n", purgeWordsOf(p.Kind, p.Value, p.Soft))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POP\tSTATE\tOBJECTS\tFILLS\tTIME")
	for _, x := range p.PoPs {
		if x.State != "done" {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\n", x.PoP, x.State)
			continue
		}
		ms := "-"
		if x.MS > 0 {
			ms = fmt.Sprintf("%.1f ms", x.MS)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", x.PoP, x.State, x.Objects, x.Fills, ms)
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
