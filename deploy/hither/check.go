package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hither/deploy"
	"hither/deploy/fleet"
)

// checkDocument is the JSON of `hither check`.
type checkDocument struct {
	Schema   string           `json:"schema"` // hither/check/1
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Mistakes []deploy.Mistake `json:"mistakes"`
}

func checkCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a network file and name all its mistakes",
		Long:  "Check a network file and name all its mistakes as FILE:LINE:COLUMN. Exit status 0: none, 1: some, 2: no such file.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			network, err := deploy.Load(args[0], checks...)
			var mistakes deploy.Mistakes
			if err != nil && !errors.As(err, &mistakes) {
				return usage("%v", err)
			}
			out := c.OutOrStdout()
			if output == "json" {
				if mistakes == nil {
					mistakes = deploy.Mistakes{}
				}
				if err := printJSON(out, checkDocument{"hither/check/1", args[0], err == nil, mistakes}); err != nil {
					return err
				}
			} else if err != nil {
				fmt.Fprintln(out, mistakes)
			} else {
				fmt.Fprintf(out, "%s: ok: network %s, %s, %s, %s\n", args[0], network.Name, count(len(network.PoPs), "PoP"),
					count(len(network.Origins), "origin"), count(len(network.Sites), "site"))
			}
			if err != nil {
				return wrong(nil)
			}
			return nil
		},
	}
	outputFlag(c, &output)
	return c
}

func fleetCommand() *cobra.Command {
	c := &cobra.Command{Use: "fleet", Short: "Lead the nodes of a network: identities, revisions of the network file, purges, backups", RunE: subcommand}
	var file, out string
	var own owner
	initialise := &cobra.Command{
		Use:   "init --network FILE --out DIR",
		Short: "Make the network's authorities and one identity bundle per node",
		Long: "Make the network's authorities in DIR/authority, and for each node a folder DIR/nodes/ROLE-NAME to be copied to its\n" +
			"machine and given to it as --state. Run again after nodes were added: what is there and valid is kept.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			data, network, err := readNetwork(file)
			if err != nil {
				return err
			}
			changes, err := fleet.Init(network, data, out)
			if err != nil {
				return usage("%v", err)
			}
			if own.set {
				if err := own.take(out); err != nil {
					return usage("--owner: %v", err)
				}
			}
			away := awayOf(changes)
			for _, n := range nodesOf(out, network) {
				if !away[n.Node] {
					fmt.Fprintln(c.OutOrStdout(), n.Node)
				}
			}
			return nil
		},
	}
	initialise.Flags().StringVar(&file, "network", "", "network file")
	initialise.Flags().StringVar(&out, "out", "", "folder to make")
	initialise.Flags().Var(&own, "owner", "give all of the folder to this user and group, which takes root (default: who calls)")
	initialise.MarkFlagRequired("network")
	initialise.MarkFlagRequired("out")
	c.AddCommand(initialise, addCommand(), revokeCommand(), renewCommand(), rotateCommand(), backupCommand(), restoreCommand(), moveHubCommand(), natsConfigCommand())
	c.AddCommand(applyCommand(), historyCommand(), diffCommand(), rollbackCommand(), nodesCommand(), purgesCommand(), tokenCommand(),
		wordCommand("rollout", "Show how far the last roll-out is, until it has ended", "rollout"),
		wordCommand("promote", "Take the revision that a canary tries to all nodes now", "promote"),
		wordCommand("abort", "Take the revision that a canary tries back", "abort"))
	return c
}

// readNetwork reads and checks the network file that --network names.
func readNetwork(path string) ([]byte, *deploy.Network, error) {
	data, err := deploy.Read(path)
	var network *deploy.Network
	if err == nil {
		network, err = deploy.Parse(path, data, checks...)
	}
	if mistakes := (deploy.Mistakes)(nil); errors.As(err, &mistakes) {
		return nil, nil, wrong(mistakes)
	} else if err != nil {
		return nil, nil, usage("--network: %v", err)
	}
	return data, network, nil
}

// outputFlag adds -o to a command that prints something.
func outputFlag(c *cobra.Command, output *string) {
	c.Flags().StringVarP(output, "output", "o", "table", "table or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if *output != "table" && *output != "json" {
			return usage("-o %s: table or json", *output)
		}
		return nil
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
