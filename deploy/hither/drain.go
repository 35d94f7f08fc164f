package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/ops"
)

// drainLook is how often the control is asked how far a drain has come.
const drainLook = time.Second

func drainPopCommand() *cobra.Command {
	var h hand
	var undo, stay, force bool
	c := &cobra.Command{
		Use:   "pop NAME [--undo | --stay] [--force]",
		Short: "Take a PoP out of DNS, wait for its clients to leave, and end its node",
		Long: "Take a PoP out of DNS, wait until resolvers have forgotten it and no client comes any more, and end its node. What it accepted it answers.\n" +
			"The drain stands until --undo takes it back, also when this command is interrupted and when the node is started again.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			call := control.DrainCall{PoP: args[0], Stop: !stay && !undo, Undo: undo, Force: force}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
			defer stop()
			err := h.ask(ctx, func(op asker) error { return drainPop(ctx, op, call, h.output, c.OutOrStdout()) })
			if h.bundle == "" && (errors.Is(err, errNoHub) || errors.Is(err, bus.ErrAway)) {
				return drainBySocket(c.Context(), h.state, call, err, c.ErrOrStderr())
			}
			return err
		},
	}
	h.flags(c)
	c.Flags().BoolVar(&undo, "undo", false, "let DNS name the PoP again")
	c.Flags().BoolVar(&stay, "stay", false, "leave its node running")
	c.Flags().BoolVar(&force, "force", false, "also the last PoP that serves a site")
	c.MarkFlagsMutuallyExclusive("undo", "stay")
	return c
}

// drainPop asks for a drain and shows how far it comes, until it is done.
func drainPop(ctx context.Context, op asker, call control.DrainCall, output string, stdout io.Writer) error {
	var doc control.DrainDoc
	if err := op.ask(ctx, "drain", call, &doc); err != nil {
		return err
	}
	last := ""
	for !call.Undo {
		if line := drainLine(doc); line != last && output != "json" {
			fmt.Fprintln(stdout, line)
			last = line
		}
		if doc.Done {
			break
		}
		if doc.State == "none" {
			return wrong(fmt.Errorf("the drain of %s was taken back meanwhile", call.PoP))
		}
		select {
		case <-ctx.Done():
			return wrong(fmt.Errorf("the drain of %s stands and goes on; `hither drain pop %s --undo` takes it back", call.PoP, call.PoP))
		case <-time.After(drainLook):
		}
		if err := op.ask(ctx, "drain-status", control.DrainCall{PoP: call.PoP}, &doc); err != nil && ctx.Err() == nil && !errors.Is(err, bus.ErrAway) {
			return err
		}
	}
	if output == "json" {
		return printDocument(stdout, "drain", doc)
	}
	if call.Undo {
		fmt.Fprintf(stdout, "%s may be in DNS answers again; where its node has ended, start it\n", call.PoP)
	}
	return nil
}

// drainLine is how far a drain has come, in one line.
func drainLine(d control.DrainDoc) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", d.PoP, d.State, d.Why)
	switch d.State {
	case "waiting":
		fmt.Fprintf(&b, " (%d s, until %s)", d.TTL, d.Forgotten.Local().Format(time.TimeOnly))
	case "stragglers":
		fmt.Fprintf(&b, " (%.1f connections a second)", d.Coming)
	}
	if d.State != "done" && d.Node != "" {
		fmt.Fprintf(&b, "; the node is %s, %d requests are under way", d.Node, d.Requests)
	}
	return b.String()
}

// drainBySocket does what is possible without the hub: the PoP's node tells DNS itself, as its probes find, and ends.
func drainBySocket(ctx context.Context, state string, call control.DrainCall, why error, stderr io.Writer) error {
	if !call.Stop {
		return wrong(fmt.Errorf("without the hub a PoP can be drained in one way only, by the end of its node: %w", why))
	}
	list, err := folders(state)
	if err != nil {
		return err
	}
	node := fleet.RoleEdge + "-" + call.PoP
	i := slices.IndexFunc(list, func(f string) bool { return filepath.Base(f) == node })
	if i < 0 {
		return usage("no PoP %s in %s; it has the nodes %s", call.PoP, state, strings.Join(bases(list), ", "))
	}
	if !call.Force {
		if err := lastHere(ctx, state, call.PoP); err != nil {
			return err
		}
	}
	fmt.Fprintf(stderr, "hither: %v; telling %s itself, which waits for DNS and its TTL before it ends\n", why, node)
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var s ops.Status
	if err := ops.Dial(list[i]).Post(ctx, "/v1/drain", nil, &s); err != nil {
		return wrong(err)
	}
	return nil
}

// lastHere refuses the end of a PoP's node that would leave a site with nobody who serves it, by what the sockets in state say of the others. Of those
// elsewhere nothing is known without the hub.
func lastHere(ctx context.Context, state, pop string) error {
	network, err := networkIn(state)
	if err != nil {
		return wrong(fmt.Errorf("which PoPs there are is not known, and so not whether another serves what %s does; --force drains it: %w", pop, err))
	}
	all, err := collect(ctx, state)
	if err != nil {
		return err
	}
	site := control.LastOf(network, pop, func(other string) bool {
		return slices.ContainsFunc(all.Nodes, func(n ops.NodeStatus) bool { return n.PoP == other && n.State == ops.Ready })
	})
	if site == "" {
		return nil
	}
	return wrong(fmt.Errorf("PoP %s is the last that serves site %s, as far as is known without the hub: of the others, no node here is ready, or they have weight 0; "+
		"when its node ends nobody serves the site. --force drains it", pop, site))
}
