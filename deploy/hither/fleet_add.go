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

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/control"
)

// addRoles are the kinds of `hither fleet add`, by the roles that they are.
var addRoles = map[string]string{
	"pop": fleet.RoleEdge, "edge": fleet.RoleEdge, "origin": fleet.RoleOrigin, "dns": fleet.RoleDNS, "hub": fleet.RoleHub, "operator": fleet.RoleOperator,
}

// authority opens the authority beside the operator's identity.
func (h *hand) authority() (*fleet.Authority, error) {
	a, err := fleet.FindAuthority(filepath.Join(h.state, "authority"))
	if err != nil {
		return nil, usage("%v", err)
	}
	return a, nil
}

// file is the network file of the folder: that of `hither up`, or else one that a node there runs. Where there is none, all is nil.
func (h *hand) file() (*deploy.Network, []byte, error) {
	paths := []string{filepath.Join(h.state, "network.yaml")}
	if _, err := os.Stat(paths[0]); errors.Is(err, fs.ErrNotExist) { // of thousands of nodes not each is looked at for nothing
		paths, _ = filepath.Glob(filepath.Join(h.state, "nodes", "*", "revision", "current.yaml"))
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, usage("%v", err)
		}
		network, err := deploy.Parse(path, data, checks...)
		if err != nil {
			return nil, nil, wrong(err)
		}
		return network, data, nil
	}
	return nil, nil, nil
}

func addCommand() *cobra.Command {
	var h hand
	var out string
	var again bool
	c := &cobra.Command{
		Use:   "add pop|origin|dns|operator|hub NAME [--out FILE.tar|FOLDER]",
		Short: "Make the identity of one more node, whether the network file names it yet or not",
		Long: "Make the state folder of one more node: its identity, the network file and local site certificates. It is a folder in\n" +
			"DIR/nodes, from which `hither up` starts it, or what --out says for a node of another machine: a folder, or a tar file to be\n" +
			"unpacked there. For a new PoP this and `hither fleet apply` are all; the lines for the network file are printed.",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			role, ok := addRoles[args[0]]
			if !ok {
				return usage("%q is not pop, origin, dns, operator or hub", args[0])
			}
			p := fleet.Peer{Role: role, Name: args[1]}
			if _, err := fleet.ParseNode(p.String()); err != nil {
				return usage("%v", err)
			}
			return h.add(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), p, out, again)
		},
	}
	h.flags(c)
	c.Flags().StringVar(&out, "out", "", "write it to this FILE.tar or FOLDER, and keep no key here (default: DIR/nodes/ROLE-NAME)")
	c.Flags().BoolVar(&again, "again", false, "although the name has an identity, which is revoked first")
	return c
}

func (h *hand) add(ctx context.Context, stdout, stderr io.Writer, p fleet.Peer, out string, again bool) error {
	a, err := h.authority()
	if err != nil {
		return err
	}
	network, data, err := h.file()
	if err != nil {
		return err
	}
	away := out != ""
	if !away {
		out = filepath.Join(h.state, "nodes", p.String())
	} else if _, err := os.Stat(out); err == nil {
		return usage("--out %s is there already", out)
	}
	if old, err := a.Issued(p.String()); err == nil && old.Live(time.Now()) {
		if !again {
			return wrong(fmt.Errorf("%v has an identity until %s; say --again to revoke that one and make another", p, old.NotAfter.Format(time.DateOnly)))
		}
		if err := h.revoke(ctx, stderr, a, control.Revoke{Node: p.String(), Why: "added again"}); err != nil {
			return err
		}
	}
	dir := out
	packed := strings.HasSuffix(out, ".tar")
	if packed {
		if dir, err = os.MkdirTemp(filepath.Dir(out), ".hither-add-"); err != nil {
			return usage("--out: %v", err)
		}
		defer os.RemoveAll(dir)
	}
	bundle, err := a.Add(dir, p.Role, p.Name, network, data)
	if err != nil {
		return wrong(err)
	}
	if packed {
		if err := writeNew(out, func(w io.Writer) error { return fleet.Pack(w, dir) }); err != nil {
			return usage("--out: %v", err)
		}
	}
	if away {
		if err := a.SendAway(p.String()); err != nil {
			return wrong(err)
		}
	}
	if h.output == "json" {
		return printJSON(stdout, struct {
			Schema   string    `json:"schema"` // hither/add/1
			Node     string    `json:"node"`
			Out      string    `json:"out"`
			NotAfter time.Time `json:"not_after"`
			Named    bool      `json:"named"` // in the network file
		}{"hither/add/1", bundle.String(), out, bundle.NotAfter, bundle.InFile})
	}
	fmt.Fprintf(stdout, "%v: %s, until %s\n", bundle, out, bundle.NotAfter.Format(time.DateOnly))
	if !bundle.InFile {
		fmt.Fprint(stdout, linesFor(p))
	}
	return nil
}

// linesFor says what is to be done for a node that the network file does not name.
func linesFor(p fleet.Peer) string {
	const then = "then `hither fleet apply FILE`, and on its machine `hither %s --name %s --state` with what was made.\n"
	switch p.Role {
	case fleet.RoleEdge:
		return fmt.Sprintf("The network file does not name it yet. Write under `pops:`\n\n"+
			"  - name: %s\n    place: {lat: 0.0, lon: 0.0, city: CITY}   # degrees\n    addresses: [ADDRESS]                       # what DNS answers with\n"+
			"    capacity: {requests: 2000, streams: 20000}\n\n"+then, p.Name, p.Role, p.Name)
	case fleet.RoleDNS:
		return fmt.Sprintf("The network file does not name it yet. Write under `dns.servers`\n\n    {name: %s, addresses: [ADDRESS]}\n\n"+then, p.Name, p.Role, p.Name)
	case fleet.RoleOrigin:
		return fmt.Sprintf("The network file does not name it yet. Write it under `origins:`, or under `gateways:` of one\n\n"+
			"      {name: %s, addresses: [\"ADDRESS:9443\"]}\n\n"+then, p.Name, p.Role, p.Name)
	}
	return ""
}

// writeNew writes a file that is not there yet, which its owner alone may read, whole or not at all.
func writeNew(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}
