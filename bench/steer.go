package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/lab"
	"hither/bench/steer"
)

// steerOptions are what `bench steer` can be told.
type steerOptions struct {
	steer.Options
	output string
}

func steerCommand() *cobra.Command {
	var o steerOptions
	c := &cobra.Command{
		Use:   "steer",
		Short: "Measure how DNS steers clients by the round trips and loads that edges report",
		Long: "Measure how DNS steers clients by what edges report, in a lab on this machine (see bench lab) with three PoPs, a hub, answers that\n" +
			"last 5 s, and clients that each have a network of their own. First a PoP that is near on the map and far in time: when it has lost its\n" +
			"clients. Then a PoP that gets 1.4 times what it is made for: what load it has when it has sent some on. All moves of clients are counted.\n" +
			"Takes some five minutes. Needs root, or a user who may make user namespaces and open /dev/net/tun; exit status 2 says what to do,\n" +
			"1 that something does not hold that must.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchSteer(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.Program, "hither", "", "the program to measure (default: hither beside this program)")
	f.IntVar(&o.Clients, "clients", 100, "how many, each in a /24 of its own")
	f.DurationVar(&o.Every, "every", 2500*time.Millisecond, "how often each makes a connection")
	f.DurationVar(&o.Keep, "keep", time.Minute, "how long they are watched when all should stay as it is")
	f.StringVar(&o.Only, "only", "", "one part: far or load (default: both)")
	outputFlag(c, &o.output)
	return c
}

// check finds what is wrong with the options.
func (o *steerOptions) check() error {
	switch {
	case o.Clients < 10 || o.Clients > lab.Clients:
		return fmt.Errorf("--clients %d: want 10 to %d", o.Clients, lab.Clients)
	case o.Every < 100*time.Millisecond || o.Every > 5*time.Second:
		return fmt.Errorf("--every %v: want 100ms to 5s", o.Every)
	case o.Keep < 5*time.Second || o.Keep > time.Hour:
		return fmt.Errorf("--keep %v: want 5s to 1h", o.Keep)
	case o.Only != "" && o.Only != "far" && o.Only != "load":
		return fmt.Errorf("--only %s: want far or load", o.Only)
	}
	return findHither(&o.Program)
}

// benchSteer makes labs, measures in them, and prints what it found.
func benchSteer(ctx context.Context, o steerOptions, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	p := &progress{to: stderr, of: o.Steps()}
	o.Step = func(what string) { p.step("%s", what) }
	return inLab(ctx, func(dir string) error {
		o.Dir = dir
		result, err := steer.Measure(ctx, o.Options)
		if err != nil {
			return err
		}
		return newSteerDocument(result).print(o.output, stdout)
	})
}
