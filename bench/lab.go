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

	"hither/bench/lab"
	"hither/bench/peers"
)

func labCommand() *cobra.Command {
	c := &cobra.Command{Use: "lab", Short: "A network with distance on this machine, for other programs", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(labUpCommand(), labDownCommand(), labDelayCommand())
	return c
}

// labOptions are what `bench lab up` can be told.
type labOptions struct {
	hither, dir, site, names             string
	clientEdge, edgeOrigin, clientOrigin time.Duration
	jitter                               time.Duration
	loss                                 float64
	rate                                 float64 // Mbit/s
	seed                                 uint64
}

func labUpCommand() *cobra.Command {
	var o labOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a client's place, an edge, an origin and a DNS server, far from each other, until Ctrl-C",
		Long: "Run a client's place, an edge, an origin and a DNS server in network namespaces that are joined with distance, until\n" +
			"Ctrl-C, and print how to run programs in them. Needs root, or a user who may make user namespaces and open\n" +
			"/dev/net/tun; exit status 2 says what to do.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return labUp(c.Context(), o, c.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.hither, "hither", "", "the program to run (default: hither beside this program)")
	f.StringVar(&o.dir, "state", "", "state folder `DIR` of the network (default: a temporary one)")
	f.StringVar(&o.site, "site", "", "serve the files of this folder (default: a page and objects of several sizes)")
	f.StringVar(&o.names, "names", "hither", "what the names of the namespaces begin with")
	f.DurationVar(&o.clientEdge, "client-edge", 10*time.Millisecond, "round trip between client and edge")
	f.DurationVar(&o.edgeOrigin, "edge-origin", 200*time.Millisecond, "round trip between edge and origin")
	f.DurationVar(&o.clientOrigin, "client-origin", 200*time.Millisecond, "round trip between client and origin")
	f.DurationVar(&o.jitter, "jitter", 0, "the most that is added to a packet's way, on all three")
	f.Float64Var(&o.loss, "loss", 0, "share of packets that get lost, on all three: 0.01 is one of a hundred")
	f.Float64Var(&o.rate, "rate", 0, "Mbit/s, on all three, with a queue of one bandwidth-delay product; 0 = no limit")
	f.Uint64Var(&o.seed, "seed", 0, "decides loss and jitter; 0 = by chance")
	return c
}

// options are the lab's, or what is wrong with the flags.
func (o *labOptions) options() (lab.Options, error) {
	switch {
	case min(o.clientEdge, o.edgeOrigin, o.clientOrigin, o.jitter) < 0 || max(o.clientEdge, o.edgeOrigin, o.clientOrigin, o.jitter) > 10*time.Second:
		return lab.Options{}, fmt.Errorf("distances and jitter go from 0s to 10s")
	case !(o.loss >= 0 && o.loss < 1):
		return lab.Options{}, fmt.Errorf("--loss %v: want a share from 0 to less than 1", o.loss)
	case !(o.rate >= 0 && o.rate <= 1e6):
		return lab.Options{}, fmt.Errorf("--rate %v: want Mbit/s from 0 to 1000000", o.rate)
	}
	segments := lab.Distances(o.clientEdge, o.edgeOrigin, o.clientOrigin)
	for s, c := range segments {
		c.Jitter, c.Loss, c.Rate = o.jitter, o.loss, int64(o.rate*1e6)
		segments[s] = c
	}
	return lab.Options{Segments: segments, Seed: o.seed}, nil
}

func labUp(ctx context.Context, o labOptions, stdout io.Writer) (err error) {
	options, err := o.options()
	if err != nil {
		return err
	}
	if status, ran, err := lab.Enter(ctx); err != nil {
		return err
	} else if ran {
		return exitError(status)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.hither == "" {
		o.hither = filepath.Join(filepath.Dir(self), "hither")
	}
	if o.dir == "" {
		folder, err := peers.NewFolder(self)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, folder.Close()) }()
		o.dir = folder.Dir
	}
	return lab.Up(ctx, lab.UpOptions{
		Lab: options, Network: lab.NetworkOptions{Program: o.hither, Dir: o.dir, Site: o.site}, Names: o.names,
	}, stdout)
}

func labDownCommand() *cobra.Command {
	var names string
	c := &cobra.Command{
		Use:   "down",
		Short: "Remove the names that a lab left when it was killed",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return lab.Unname(names) },
	}
	c.Flags().StringVar(&names, "names", "hither", "what the names begin with")
	return c
}
