package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/hub"
)

// routePort is where the servers of a NATS cluster meet where nothing else is said.
const routePort = "6222"

// natsConfigCommand prints the configuration of a NATS cluster that is to be the network's hub.
func natsConfigCommand() *cobra.Command {
	var file, state string
	var servers []string
	var o hub.ConfigOptions
	c := &cobra.Command{
		Use:   "nats-config [--state DIR] [--network FILE] [--server NAME=HOST]…",
		Short: "Print the accounts and permissions of a NATS cluster that is to be the hub",
		Long: "Print the configuration by which a NATS cluster elsewhere is the network's hub: TLS, JetStream, limits, each node as a user with its\n" +
			"permissions, and with --server how the servers know each other. With the authority in DIR the servers take the keys of identities\n" +
			"that are valid and no others. It is to be printed again when nodes or operators come or one is revoked.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" && state == "" {
				return usage("one of --network and --state is needed, or both")
			}
			network, err := natsNetwork(file, state)
			if err != nil {
				return err
			}
			if o.Issued, err = issuedIn(state); err != nil {
				return err
			}
			if o.Issued != nil && !c.Flags().Changed("operator") {
				o.Operators = nil // all that the authority knows
			}
			if len(servers) > 0 && o.Issued == nil {
				return usage("--server wants --state, with the authority that gave the servers their identities")
			}
			for _, s := range servers {
				one, err := natsServer(s)
				if err != nil {
					return err
				}
				o.Servers = append(o.Servers, one)
			}
			text, err := hub.Config(network, o)
			if err != nil {
				return usage("%v", err)
			}
			fmt.Fprint(c.OutOrStdout(), text)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&file, "network", "", "network file (default: the one in --state)")
	f.StringVar(&state, "state", "", "the operator's folder, with the authority, or that of a node, for the file that it runs")
	f.StringSliceVar(&servers, "server", nil, "`NAME=HOST[:PORT]` of each server, with an identity by hither fleet add hub NAME")
	f.StringSliceVar(&o.Operators, "operator", []string{"main"}, "who may lead the fleet; may be given several times (default: all that DIR/authority knows, else main)")
	f.StringSliceVar(&o.Without, "without", nil, "a node or operator to leave out, as ROLE-NAME; who was revoked is left out where DIR/authority is there")
	f.StringVar(&o.Control, "control", "", "the gateway in which the control runs (default: hub.control of the network file)")
	f.StringVar(&o.Identity, "identity", "", "folder of the server's identity, at the server (default /etc/nats/identity)")
	f.StringVar(&o.Store, "store", "", "folder for JetStream, at the server (default /var/lib/nats)")
	f.Lookup("operator").DefValue = ""
	return c
}

// natsNetwork is the network file that is meant.
func natsNetwork(file, state string) (*deploy.Network, error) {
	if file == "" {
		file = filepath.Join(state, "revision", "current.yaml")
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			h := hand{state: state}
			n, _, err := h.file()
			if err == nil && n == nil {
				err = usage("%s has no network file; say --network FILE", state)
			}
			return n, err
		}
	}
	_, n, err := readNetwork(file)
	return n, err
}

// issuedIn is what the authority of a folder remembers; nil where there is none.
func issuedIn(state string) ([]fleet.Issued, error) {
	folder := filepath.Join(state, "authority")
	if _, err := os.Stat(folder); state == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	a, err := fleet.FindAuthority(folder)
	if err != nil {
		return nil, usage("%v", err)
	}
	all, err := a.AllIssued()
	if err != nil {
		return nil, usage("%v", err)
	}
	return append([]fleet.Issued{}, all...), nil
}

// natsServer reads NAME=HOST[:PORT].
func natsServer(s string) (hub.ConfigServer, error) {
	name, address, _ := strings.Cut(s, "=")
	if name == "" || address == "" {
		return hub.ConfigServer{}, usage("--server %s: write NAME=HOST or NAME=HOST:PORT", s)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), routePort)
	}
	var hp deploy.HostPort
	if err := hp.UnmarshalText([]byte(address)); err != nil {
		return hub.ConfigServer{}, usage("--server %s: %v", s, err)
	}
	return hub.ConfigServer{Name: name, Address: address}, nil
}
