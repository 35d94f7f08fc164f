package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet"
	"hither/deploy/fleet/control"
)

func revokeCommand() *cobra.Command {
	var h hand
	var call control.Revoke
	c := &cobra.Command{
		Use:   "revoke ROLE-NAME [--why TEXT] [--force]",
		Short: "Have every node refuse the identity of a node or an operator, from now on",
		Long: "Have every node refuse all certificates that were issued to ROLE-NAME until now, such as edge-fra, and end its connections.\n" +
			"`hither fleet add` makes it a new identity, with new keys.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			call.Node = args[0]
			a, err := h.authority()
			if errors.Is(err, fs.ErrNotExist) {
				a = nil // the operator is elsewhere
			} else if err != nil {
				return err
			}
			return h.revoke(c.Context(), c.OutOrStdout(), a, call)
		},
	}
	h.flags(c)
	c.Flags().StringVar(&call.Why, "why", "", "for the record")
	c.Flags().BoolVar(&call.Force, "force", false, "also the node that has the hub, the last operator, and who asks")
	return c
}

// heardTime is how long is waited for nodes to hear what they were told. It is said who did not.
const heardTime = 10 * time.Second

// revoke has the fleet and the authority, where it is at hand, revoke an identity.
func (h *hand) revoke(ctx context.Context, out io.Writer, a *fleet.Authority, call control.Revoke) error {
	peer, err := fleet.ParseNode(call.Node)
	if err != nil {
		return usage("%v", err)
	}
	if a != nil {
		all, err := a.AllIssued()
		if err != nil {
			return usage("%v", err)
		}
		operators, known := 0, false
		for _, i := range all {
			if i.String() == call.Node {
				// What was issued by a clock that is ahead of the control's is meant too.
				call.Until, known = i.At, true
			} else if i.Role == fleet.RoleOperator && i.Live(time.Now()) {
				operators++
			}
		}
		switch {
		case call.Force:
		case !known:
			return wrong(fmt.Errorf("the authority in %s never issued an identity to %s; say --force to revoke it all the same", h.state, call.Node))
		case peer.Role == fleet.RoleOperator && operators == 0:
			return wrong(fmt.Errorf("%s is the last operator; add another first (`hither fleet add operator NAME`), or say --force", call.Node))
		}
	}
	var done control.Revoked
	var behind []string
	err = h.ask(ctx, func(op asker) error {
		if err := op.ask(ctx, "revoke", call, &done); err != nil {
			return err
		}
		behind = waitNodes(ctx, op, heardTime, func(n control.NodeLine) bool { return n.Node == call.Node || n.Tables >= done.Tables })
		return nil
	})
	if errors.Is(err, errNoHub) && a != nil {
		if _, err := a.Revoke(call.Node, call.Until); err != nil {
			return wrong(err)
		}
		fmt.Fprintf(out, "%s is revoked by the authority, which renews it no more; the network has no hub, so nodes take it until it ends\n", call.Node)
		return nil
	}
	if err != nil {
		return err
	}
	if a != nil {
		if _, err := a.Revoke(call.Node, done.Until); err != nil {
			return wrong(err)
		}
	}
	if h.output == "json" {
		return printDocument(out, "revoked", struct {
			control.Revoked
			Behind []string `json:"behind"` // nodes that have not heard it yet
		}{done, append([]string{}, behind...)})
	}
	fmt.Fprintf(out, "%s is revoked: what was issued until %s\n", call.Node, done.Until.Format(time.DateTime))
	tellBehind(out, "have not heard it yet", behind)
	return nil
}

// tellBehind names the nodes that are not where they should be.
func tellBehind(out io.Writer, what string, behind []string) {
	if len(behind) > 0 {
		fmt.Fprintf(out, "%s: %s\n", what, strings.Join(behind, ", "))
	}
}

// waitNodes waits until f holds for every node that the network file names, by its last report, and returns those for which it does not after that time.
func waitNodes(ctx context.Context, op asker, most time.Duration, f func(control.NodeLine) bool) (behind []string) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	for {
		var doc control.NodesDoc
		if err := op.ask(ctx, "nodes", nil, &doc); err == nil {
			behind = nil
			for _, n := range doc.Nodes {
				if n.Named && !f(n) {
					behind = append(behind, n.Node)
				}
			}
			if len(behind) == 0 {
				return nil
			}
		} else if behind == nil {
			behind = []string{"all: " + err.Error()}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return behind
		}
	}
}

func renewCommand() *cobra.Command {
	var h hand
	var all bool
	c := &cobra.Command{
		Use:   "renew [ROLE-NAME…] [--all]",
		Short: "Renew the identities that are near their end, or those named",
		Long: "Renew identities for the keys that nodes have, and send them to the nodes: those with fewer than 30 days left, those named,\n" +
			"or all. It needs DIR/authority. Nodes use their next certificate at once; no connection ends.",
		RunE: func(c *cobra.Command, args []string) error {
			a, err := h.authority()
			if err != nil {
				return err
			}
			return h.renew(c.Context(), c.OutOrStdout(), a, args, all)
		},
	}
	h.flags(c)
	c.Flags().BoolVar(&all, "all", false, "every identity that is not revoked")
	return c
}

// mostRenewals is how many certificates are sent at once, each of which has about a kilobyte.
const mostRenewals = 200

// renew renews identities: those named, else those that need it, or all.
func (h *hand) renew(ctx context.Context, out io.Writer, a *fleet.Authority, nodes []string, all bool) (err error) {
	always := all || len(nodes) > 0
	if len(nodes) == 0 {
		issued, err := a.AllIssued()
		if err != nil {
			return usage("%v", err)
		}
		for _, i := range issued {
			if i.Live(time.Now()) && (all || i.Renew) {
				nodes = append(nodes, i.String())
			}
		}
	}
	parts := []control.Renew{{Certificates: map[string][]byte{}}}
	var elsewhere []string
	for _, node := range nodes {
		certificate, _, err := a.Renew(node, always)
		if errors.Is(err, fs.ErrNotExist) {
			return wrong(fmt.Errorf("the authority in %s never issued an identity to %s", h.state, node))
		}
		if err != nil {
			return wrong(err)
		}
		here, err := h.place(node, certificate, a)
		if err != nil {
			return wrong(err)
		}
		peer, _ := fleet.ParseNode(node)
		follows := peer.Role == fleet.RoleEdge || peer.Role == fleet.RoleOrigin || peer.Role == fleet.RoleDNS
		if !follows && !here {
			elsewhere = append(elsewhere, node)
		}
		if !follows {
			continue
		}
		last := &parts[len(parts)-1]
		if len(last.Certificates) == mostRenewals {
			parts = append(parts, control.Renew{Certificates: map[string][]byte{}})
			last = &parts[len(parts)-1]
		}
		last.Certificates[node] = certificate
	}
	var behind []string
	if h.output == "json" {
		said := out
		out = io.Discard
		defer func() {
			if err == nil {
				err = printDocument(said, "renewed", struct {
					Renewed   []string `json:"renewed"`
					Elsewhere []string `json:"elsewhere"` // of those, who follow no hub
					Behind    []string `json:"behind"`    // nodes that have not heard it yet
				}{append([]string{}, nodes...), append([]string{}, elsewhere...), append([]string{}, behind...)})
			}
		}()
	}
	fmt.Fprintf(out, "identities renewed: %d\n", len(nodes))
	tellBehind(out, "copy DIR/authority/issued/ROLE-NAME.pem over node.pem of those, which follow no hub", elsewhere)
	if len(parts[0].Certificates) == 0 {
		return nil
	}
	err = h.ask(ctx, func(op asker) error {
		var told control.Told
		for _, part := range parts {
			if err := op.ask(ctx, "renew", part, &told); err != nil {
				return err
			}
		}
		behind = waitNodes(ctx, op, heardTime, func(n control.NodeLine) bool { return n.Tables >= told.Tables })
		return nil
	})
	if errors.Is(err, errNoHub) {
		fmt.Fprintln(out, "the network has no hub: nodes on this machine take theirs at their next start; copy DIR/authority/issued/ROLE-NAME.pem over node.pem of the others")
		return nil
	}
	tellBehind(out, "have not heard it yet", behind)
	return err
}

// renewDue renews the identities of a folder that are near their end, and says nothing where none is.
func renewDue(ctx context.Context, dir string, out io.Writer) error {
	h := hand{state: dir}
	a, err := h.authority()
	if err != nil {
		return err
	}
	all, err := a.AllIssued()
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Live(time.Now()) && i.Renew {
			return h.renew(ctx, out, a, nil, false)
		}
	}
	return nil
}

// place puts a renewed certificate into the bundle of its node where that is in this folder, and says whether it is.
func (h *hand) place(node string, certificate []byte, a *fleet.Authority) (bool, error) {
	dir := filepath.Join(h.state, "nodes", node, "identity")
	if node == fleet.RoleOperator+"-"+fleet.FirstOperator {
		dir = filepath.Join(h.state, fleet.OperatorFolder)
	}
	if _, err := os.Stat(filepath.Join(dir, "node.pem")); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	id, err := fleet.LoadIdentity(dir)
	if err != nil {
		return false, err
	}
	if err := id.SetTrust(a.FleetCA(), a.Cross()); err != nil {
		return false, err
	}
	// Where it is for another key, the node's folder is elsewhere, and this one is a copy that is used no more.
	return id.Renew(certificate) == nil, nil
}
