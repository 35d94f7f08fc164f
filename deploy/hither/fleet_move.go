package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/control"
)

func moveHubCommand() *cobra.Command {
	var h hand
	var call control.MoveCall
	var bind string
	var force bool
	c := &cobra.Command{
		Use:   "move-hub GATEWAY --url tls://HOST:PORT | --force",
		Short: "Move the hub, with all that it has, to another gateway of an origin",
		Long: "Move the hub, with all that it has, to another gateway of an origin, which is to be up. Purges and other changes are refused for the\n" +
			"seconds that this takes. The network file that names the other gateway becomes a revision; nodes follow, and hold nothing for stale.\n" +
			"Whatever goes wrong before that revision is in force leaves the hub where it is. The old one stays for nodes that are away now, until\n" +
			"all are at the new one, or none is named any more that is not. Afterwards --force ends it at once: nodes that are not there by then have\n" +
			"to be given the network file by hand when they come back.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			call.Gateway = args[0]
			if force {
				return h.endHub(c.Context(), c.OutOrStdout(), control.EndCall{Gateway: args[0]})
			}
			if bind != "" {
				var err error
				if call.Bind, err = netip.ParseAddrPort(bind); err != nil {
					return usage("--bind: %v", err)
				}
			}
			return h.moveHub(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), call)
		},
	}
	h.flags(c)
	c.Flags().StringArrayVar(&call.URLs, "url", nil, "by which nodes reach the hub there, `tls://HOST:PORT`; may be given more than once")
	c.Flags().StringVar(&bind, "bind", "", "`IP:PORT` on which it listens there (default: that of the URL)")
	c.Flags().StringVar(&call.Note, "note", "", "for the history")
	c.Flags().BoolVar(&force, "force", false, "the hub is in GATEWAY already: end the one that was before, although nodes are not here")
	c.MarkFlagsOneRequired("url", "force")
	for _, flag := range []string{"url", "bind", "note"} {
		c.MarkFlagsMutuallyExclusive(flag, "force")
	}
	return c
}

// endHub has the control end the hub that stayed after a move.
func (h *hand) endHub(ctx context.Context, stdout io.Writer, call control.EndCall) error {
	var doc control.EndDoc
	if err := h.ask(ctx, func(op asker) error { return op.ask(ctx, "end-hub", call, &doc) }); err != nil {
		return err
	}
	if h.output == "json" {
		return printJSON(stdout, doc)
	}
	fmt.Fprintf(stdout, "origin-%s has ended the hub that was before\n", doc.Gateway)
	if len(doc.Absent) > 0 {
		tellBehind(stdout, "not at the new one; they are to be given the network file by hand (`--network`) when they come back", doc.Absent)
	}
	return nil
}

// moveTime is how long a move may take: the control gives up before that.
const moveTime = 11 * time.Minute

// sayTime is after how long it is said what takes so long.
const sayTime = 2 * time.Second

// followTime is how long is waited for nodes at the hub's new place. It is said who is not there.
const followTime = 30 * time.Second

// moveHub has the control move the hub, follows it, and says which nodes have not.
func (h *hand) moveHub(ctx context.Context, stdout, stderr io.Writer, call control.MoveCall) error {
	op, err := dialOperator(ctx, h.state, h.bundle)
	if err != nil {
		return err
	}
	say := time.AfterFunc(sayTime, func() {
		fmt.Fprintf(stderr, "the hub moves to %s; purges and changes are refused meanwhile\n", call.Gateway)
	})
	defer say.Stop()
	moving, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	var doc control.MoveDoc
	err = op.ask(moving, "move-hub", call, &doc)
	op.close()
	say.Stop()
	if err != nil {
		return err
	}
	if h.output != "json" {
		fmt.Fprintf(stdout, "revision %d: the hub is in %s, at %s; its journal goes on at %d\n", doc.Revision, doc.To, doc.URLs[0], doc.Journal.Sequence)
	}
	if err := h.follow(doc); err != nil {
		return wrong(fmt.Errorf("the hub has moved, and the operator's bundle does not say so yet: %w", err))
	}
	var behind []string
	until := time.Now().Add(followTime)
	for {
		err = h.ask(ctx, func(op asker) error {
			behind = waitNodes(ctx, op, time.Until(until), func(n control.NodeLine) bool { return !n.Seen.IsZero() && n.State != "down" })
			return nil
		})
		if err == nil || ctx.Err() != nil || time.Now().After(until) {
			break
		}
	}
	switch {
	case err != nil:
		return wrong(fmt.Errorf("the hub has moved, and its new place does not answer yet: %w; nodes serve meanwhile: see the log of origin-%s", err, doc.To))
	case h.output == "json":
		return printJSON(stdout, struct {
			control.MoveDoc
			Behind []string `json:"behind"` // nodes that are not at the new place yet
		}{doc, append([]string{}, behind...)})
	case len(behind) > 0:
		tellBehind(stdout, "are not there yet", behind)
		fmt.Fprintf(stdout, "origin-%s keeps the old one for them, and ends it when all are there; `hither fleet move-hub %s --force` ends it without them\n",
			doc.From, doc.To)
	default:
		fmt.Fprintf(stdout, "all nodes are there; origin-%s ends the old one\n", doc.From)
	}
	return nil
}

// follow notes in the operator's bundle where the hub is now.
func (h *hand) follow(doc control.MoveDoc) error {
	dir := filepath.Join(h.state, fleet.OperatorFolder)
	if h.bundle != "" {
		dir = h.bundle
	}
	if !isFolder(dir) {
		return errors.New("it is a file; unpack it, or make one anew with `hither fleet add operator NAME --again`")
	}
	if inner := filepath.Join(dir, "identity"); isFolder(inner) {
		dir = inner
	}
	return fleet.SetHub(dir, &deploy.Hub{URLs: doc.URLs, EmbeddedIn: doc.To})
}
