package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/lab"
	"hither/bench/peers"
	"hither/bench/purge"
)

// purgeOptions are what `bench purge` can be told.
type purgeOptions struct {
	purge.Options
	output string
}

func purgeCommand() *cobra.Command {
	var o purgeOptions
	c := &cobra.Command{
		Use:   "purge",
		Short: "Measure how long a purge takes until three far PoPs have the object no more",
		Long: "Measure how long a purge takes, in a lab on this machine (see bench lab) with three PoPs far from the hub: from when the order is\n" +
			"sent, over HTTP at the hub, until a look-up at the PoP finds nothing any more. The purges are one after the other, each of an object\n" +
			"that all PoPs have; 200 of them take a minute and a half. Needs root, or a user who may make user namespaces and open /dev/net/tun;\n" +
			"exit status 2 says what to do, 1 that something does not hold that must.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchPurge(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.Program, "hither", "", "the program to measure (default: hither beside this program)")
	f.DurationVar(&o.Distance, "distance", 200*time.Millisecond, "round trip between the hub and each PoP")
	f.IntVar(&o.Purges, "purges", 200, "how many")
	outputFlag(c, &o.output)
	return c
}

// check finds what is wrong with the options.
func (o *purgeOptions) check() error {
	switch {
	case o.Distance < 0 || o.Distance > maxDistance:
		return fmt.Errorf("--distance %v: want 0s to %v", o.Distance, maxDistance)
	case o.Purges < 1 || o.Purges > 10000:
		return fmt.Errorf("--purges %d: want 1 to 10000", o.Purges)
	}
	return findHither(&o.Program)
}

// benchPurge makes a lab, measures in it, and prints what it found.
func benchPurge(ctx context.Context, o purgeOptions, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	p := &progress{to: stderr, of: o.Steps()}
	o.Step = func(what string) { p.step("%s", what) }
	return inLab(ctx, func(dir string) error {
		o.Dir = dir
		result, err := purge.Measure(ctx, o.Options)
		if err != nil {
			return err
		}
		return newPurgeDocument(result).print(o.output, stdout)
	})
}

// inLab measures where labs can be made, with a folder for what that needs. What measure returns is marked as an error of measuring, but for
// what says that something does not hold, or that there can be no lab.
func inLab(ctx context.Context, measure func(dir string) error) (err error) {
	if status, ran, err := lab.Enter(ctx); err != nil {
		return err
	} else if ran {
		return exitError(status)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	folder, err := peers.NewFolder(self)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	switch err := measure(folder.Dir); {
	case err == nil, errors.Is(err, lab.ErrUnavailable), errors.Is(err, errDoesNotHold):
		return err
	default:
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
}
