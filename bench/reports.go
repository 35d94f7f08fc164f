package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/load"
	"hither/bench/peers"
	"hither/bench/reports"
)

// reportsOptions are what `bench reports` can be told.
type reportsOptions struct {
	reports.Options
	hither, net, alone, output string
}

func reportsCommand() *cobra.Command {
	var o reportsOptions
	c := &cobra.Command{
		Use:   "reports",
		Short: "Measure what it costs an edge under full load to be one of a fleet",
		Long: "Measure the processor time of an edge for a request under full load, with a hub to which it reports and without one, in turns on one\n" +
			"core: with nothing to do, hits over connections that stay, and connections with one request each, whose round trips are measured and reported. Clients come\n" +
			"from 1,000 networks. At the end the edge that reports is profiled under both loads, which tells what is less than the machine's noise.\n" +
			"Takes some eight minutes. Exit status 1 tells that reports cost more than 1 %, 2 that it cannot be measured so.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchReports(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.hither, "hither", "", "the program to measure (default: hither beside this program)")
	f.StringVar(&o.net, "net", "127.90", "addresses of the edge that reports, a loopback network `127.N`")
	f.StringVar(&o.alone, "net-alone", "127.91", "those of the one that does not")
	f.DurationVar(&o.Idle, "idle", 30*time.Second, "how long both are watched before that with nothing to do")
	f.IntVar(&o.Pairs, "pairs", 15, "of each case")
	f.DurationVar(&o.For, "for", 5*time.Second, "how long each of both is measured")
	f.DurationVar(&o.Profile, "profile", 40*time.Second, "how long the edge is profiled at the end, under each load")
	outputFlag(c, &o.output)
	return c
}

// check finds what is wrong with the options.
func (o *reportsOptions) check() error {
	switch {
	case o.Pairs < reports.LeastPairs || o.Pairs > 1000:
		return fmt.Errorf("--pairs %d: want %d to 1000", o.Pairs, reports.LeastPairs)
	case o.For < time.Second || o.For > time.Minute:
		return fmt.Errorf("--for %v: want 1s to 1m", o.For)
	case o.Profile < time.Second || o.Profile > time.Hour:
		return fmt.Errorf("--profile %v: want 1s to 1h", o.Profile)
	case o.Idle < time.Second || o.Idle > time.Hour:
		return fmt.Errorf("--idle %v: want 1s to 1h", o.Idle)
	case o.net == o.alone:
		return errors.New("--net and --net-alone: each edge needs a network of its own")
	}
	return findHither(&o.hither)
}

// benchReports starts both edges, measures, and prints what it found.
func benchReports(ctx context.Context, o reportsOptions, stdout, stderr io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	var both reports.Both
	end, err := o.start(ctx, &both)
	defer func() { err = errors.Join(err, end()) }()
	if err != nil {
		return err
	}
	p := &progress{to: stderr, of: o.Steps()}
	o.Step = func(what string) { p.step("%s", what) }
	result, err := reports.Measure(ctx, o.Options, both)
	if err != nil {
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
	return newReportsDocument(result).print(o.output, stdout)
}

// start starts what is measured, and returns what ends it.
func (o *reportsOptions) start(ctx context.Context, both *reports.Both) (end func() error, err error) {
	var ends []func() error
	end = func() error {
		var all []error
		for _, e := range slices.Backward(ends) {
			all = append(all, e())
		}
		return errors.Join(all...)
	}
	stop := func(s *peers.WebServer) {
		ends = append(ends, func() error {
			s.Stop()
			return nil
		})
	}
	cores, err := load.Cores()
	if err != nil {
		return end, err
	}
	if len(cores) < 2 {
		return end, errors.New("server and client take a core each, and this program may use one only")
	}
	self, err := os.Executable()
	if err != nil {
		return end, err
	}
	b := &peers.Bench{Self: self, Net: o.net, Server: cores[0], Client: cores[len(cores)-1], Connections: 1000}
	alone := *b
	alone.Net, alone.NoHub = o.alone, true
	if err := errors.Join(b.Check(), alone.Check()); err != nil {
		return end, err
	}
	folder, err := peers.NewFolder(self)
	if err != nil {
		return end, err
	}
	ends = append(ends, folder.Close)
	b.Folder, alone.Folder = folder.Dir, filepath.Join(folder.Dir, filepath.Base(folder.Dir))
	if err := os.Mkdir(alone.Folder, 0o700); err != nil {
		return end, err
	}
	up, err := b.StartUpstream(ctx)
	if err != nil {
		return end, err
	}
	stop(up)
	if b.Certificate, err = peers.NewCertificate(b.Folder, peers.WebName); err != nil {
		return end, err
	}
	alone.Upstream, alone.Certificate, both.Roots = b.Upstream, b.Certificate, b.Certificate.Roots
	if both.Reports, err = peers.StartHitherWeb(ctx, o.hither, b); err != nil {
		return end, err
	}
	stop(both.Reports)
	if both.Alone, err = peers.StartHitherWeb(ctx, o.hither, &alone); err != nil {
		return end, err
	}
	stop(both.Alone)
	if err := reporting(ctx, both); err != nil {
		return end, err
	}
	return end, load.MoveTo(b.Client)
}

// reporting waits until one edge has a hub, and the other has none: else both would do the same.
func reporting(ctx context.Context, both *reports.Both) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		with, err := both.Reports.AtHub(ctx) // which may be an error for as long as it starts
		without, wrong := both.Alone.AtHub(ctx)
		err = errors.Join(err, wrong)
		switch {
		case without:
			return errors.New("the edge that is to have no hub is at one")
		case with && err == nil:
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(errors.New("the edge does not reach its hub"), err)
		}
	}
}
