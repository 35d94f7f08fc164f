package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

func rotateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate begin|status|finish|abandon",
		Short: "Put another authority in the place of the fleet's, while everything goes on",
		Long: "Put another authority in the place of the fleet's. `begin` makes it and has all nodes believe both; `finish` gives all nodes\n" +
			"certificates of the new one, and when they have them, has them believe no other and destroys the old one's key. Each step\n" +
			"waits for all nodes, and may be called again. It needs DIR/authority.",
		RunE: subcommand,
	}
	var force bool
	for _, step := range []struct {
		use, short string
		run        func(h *hand, ctx context.Context, out io.Writer, force bool) error
	}{
		{"begin", "Make another authority, and have all nodes believe both", (*hand).rotateBegin},
		{"status", "Show how far it is, and which nodes are behind", (*hand).rotateStatus},
		{"finish", "Give all nodes certificates of the new one, then end the old", (*hand).rotateFinish},
		{"abandon", "Give up what was begun, before any node has a certificate of the new one", (*hand).rotateAbandon},
	} {
		h := new(hand)
		sub := &cobra.Command{Use: step.use, Short: step.short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			return step.run(h, c.Context(), c.OutOrStdout(), force)
		}}
		h.flags(sub)
		sub.Flags().BoolVar(&force, "force", false, "leave behind the nodes that are away: each needs `hither fleet add --again` then")
		c.AddCommand(sub)
	}
	return c
}

// believes has the operator's own identity believe what the authority says, so that it meets nodes at every stage.
func (h *hand) believes(a *fleet.Authority) error {
	dir := filepath.Join(h.state, fleet.OperatorFolder)
	if _, err := os.Stat(dir); h.bundle != "" || err != nil {
		return nil // elsewhere: whoever keeps it sees to it
	}
	id, err := fleet.LoadIdentity(dir)
	if err == nil {
		err = id.SetTrust(a.FleetCA(), a.Cross())
	}
	if err != nil {
		return wrong(err)
	}
	return nil
}

// tellTrust has all nodes believe what the authority says, and returns those that do not after a while.
func (h *hand) tellTrust(ctx context.Context, a *fleet.Authority) (behind []string, err error) {
	err = h.ask(ctx, func(op asker) error {
		if err := op.ask(ctx, "trust", bus.Trust{Authorities: a.FleetCA(), Cross: a.Cross()}, nil); err != nil {
			return err
		}
		behind = waitNodes(ctx, op, heardTime, trusts(a))
		return nil
	})
	return behind, err
}

// trusts says of a node whether it believes what the authority says.
func trusts(a *fleet.Authority) func(control.NodeLine) bool {
	want := bus.HashOf(a.FleetCA())
	return func(n control.NodeLine) bool { return n.Trust == want && n.State != "down" }
}

// certified says of a node whether it has the certificate that was issued last.
func certified(a *fleet.Authority) func(control.NodeLine) bool {
	return func(n control.NodeLine) bool {
		i, err := a.Issued(n.Node)
		return err == nil && !i.Renew && n.Expires.Truncate(time.Second).Equal(i.NotAfter) && n.State != "down"
	}
}

func (h *hand) rotateBegin(ctx context.Context, out io.Writer, _ bool) error {
	a, err := h.authority()
	if err != nil {
		return err
	}
	if a.Stage() == fleet.StageIssue {
		return wrong(errors.New("it was begun, and nodes are getting their certificates; go on with `hither fleet rotate finish`"))
	}
	if a.Stage() == fleet.StageNone {
		if a, err = a.Rotate(); err != nil {
			return wrong(err)
		}
	}
	if err := h.believes(a); err != nil {
		return err
	}
	behind, err := h.tellTrust(ctx, a)
	if err != nil {
		return err
	}
	if len(behind) > 0 {
		tellBehind(out, "do not believe both authorities yet", behind)
		return wrong(errors.New("it is begun; when these nodes are back, `hither fleet rotate finish` goes on"))
	}
	fmt.Fprintln(out, "all nodes believe both authorities; `hither fleet rotate finish` goes on")
	return nil
}

func (h *hand) rotateStatus(ctx context.Context, out io.Writer, _ bool) error {
	a, err := h.authority()
	if err != nil {
		return err
	}
	if a.Stage() == fleet.StageNone {
		fmt.Fprintln(out, "no rotation is under way")
	} else {
		fmt.Fprintf(out, "stage %s\n", a.Stage())
	}
	return h.ask(ctx, func(op asker) error {
		var doc control.NodesDoc
		if err := op.ask(ctx, "nodes", nil, &doc); err != nil {
			return err
		}
		believe, have := trusts(a), certified(a)
		for _, n := range doc.Nodes {
			if !n.Named {
				continue
			}
			say := "ready"
			switch {
			case n.State == "down":
				say = "away"
			case !believe(n):
				say = "does not believe what the authority says"
			case a.Stage() != fleet.StageTrust && !have(n):
				say = "has another certificate than was issued last"
			}
			fmt.Fprintf(out, "%s\t%s\n", n.Node, say)
		}
		return nil
	})
}

func (h *hand) rotateFinish(ctx context.Context, out io.Writer, force bool) error {
	a, err := h.authority()
	if err != nil {
		return err
	}
	begun := a.Stage() != fleet.StageNone
	if a.Stage() == fleet.StageTrust {
		behind, err := h.tellTrust(ctx, a)
		if err != nil {
			return err
		}
		if err := leave(out, behind, force, "do not believe both authorities yet"); err != nil {
			return err
		}
		if a, err = a.Rotate(); err != nil {
			return wrong(err)
		}
	}
	if a.Stage() == fleet.StageIssue {
		if err := h.renew(ctx, out, a, nil, false); err != nil {
			return err
		}
		var behind []string
		err := h.ask(ctx, func(op asker) error {
			behind = waitNodes(ctx, op, heardTime, certified(a))
			return nil
		})
		if err != nil {
			return err
		}
		if err := leave(out, behind, force, "have no certificate of the new authority yet"); err != nil {
			return err
		}
		if a, err = a.Rotate(); err != nil {
			return wrong(err)
		}
		fmt.Fprintln(out, "the old authority's key is destroyed")
	}
	// Also where an earlier call came no farther than this.
	behind, err := h.tellTrust(ctx, a)
	if err != nil {
		return err
	}
	if err := h.believes(a); err != nil {
		return err
	}
	if err := leave(out, behind, force, "believe the old authority still"); err != nil {
		return err
	}
	if !begun {
		fmt.Fprintln(out, "no rotation is under way; all nodes believe the one authority that there is")
		return nil
	}
	fmt.Fprintln(out, "all nodes believe the new authority alone; make a backup, for the one before does not have it")
	return nil
}

func (h *hand) rotateAbandon(ctx context.Context, out io.Writer, _ bool) error {
	a, err := h.authority()
	if err != nil {
		return err
	}
	if a, err = a.Abandon(); err != nil {
		return wrong(err)
	}
	behind, err := h.tellTrust(ctx, a)
	if err != nil {
		return err
	}
	if err := h.believes(a); err != nil {
		return err
	}
	return leave(out, behind, false, "believe the authority that was given up still")
}

// leave says which nodes are behind. Without force that is an error.
func leave(out io.Writer, behind []string, force bool, what string) error {
	tellBehind(out, what, behind)
	if len(behind) > 0 && !force {
		return wrong(errors.New("nothing more was done; call it again when these nodes are back, or leave them behind with --force"))
	}
	return nil
}
