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

	"hither/bench/far"
	"hither/bench/lab"
	"hither/bench/peers"
)

// farOptions are what `bench far` can be told.
type farOptions struct {
	far.Options
	megabits     float64
	size, output string
}

func farCommand() *cobra.Command {
	var o farOptions
	c := &cobra.Command{
		Use:   "far",
		Short: "Measure the way between an edge and a far origin: no handshake for strangers, and a line that stays full",
		Long: "Measure the way between an edge and a far origin, in a lab on this machine (see bench lab). First the first byte of\n" +
			"uncached requests, each of a client that the edge has never seen, and the handshakes with the origin meanwhile. Then, over\n" +
			"a line with a rate and a queue of one bandwidth-delay product: one large answer, beside one TCP connection of the kernel;\n" +
			"several at once; and the same with loss. Takes some three minutes. Needs root, or a user who may make user namespaces and\n" +
			"open /dev/net/tun; exit status 2 says what to do, 1 that something does not hold that must.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchFar(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.Program, "hither", "", "the program to measure (default: hither beside this program)")
	f.DurationVar(&o.ClientEdge, "client-edge", 10*time.Millisecond, "round trip between client and edge")
	f.DurationVar(&o.EdgeOrigin, "edge-origin", 200*time.Millisecond, "round trip between edge and origin")
	f.Float64Var(&o.megabits, "rate", 200, "of the line between edge and origin, in Mbit/s")
	f.Float64Var(&o.Loss, "loss", 0.001, "share of packets that this line loses in the last part: 0.001 is one of a thousand")
	f.Uint64Var(&o.Seed, "seed", 1, "decides which packets get lost")
	f.IntVar(&o.Requests, "requests", 1000, "uncached requests of strangers")
	f.IntVar(&o.Clients, "clients", 8, "how many strangers at once")
	f.StringVar(&o.size, "size", "100MiB", "of the large answer")
	f.IntVar(&o.Samples, "samples", 3, "how often one large answer and TCP alone are measured")
	f.IntVar(&o.Parallel, "parallel", 4, "large answers at once")
	f.IntVar(&o.Connections, "connections", 4, "that the edge keeps open to the origin")
	outputFlag(c, &o.output)
	return c
}

// check finds what is wrong with the options.
func (o *farOptions) check() error {
	o.Rate = int64(o.megabits * 1e6)
	switch {
	case min(o.ClientEdge, o.EdgeOrigin) < 0 || max(o.ClientEdge, o.EdgeOrigin) > maxDistance:
		return fmt.Errorf("distances go from 0s to %v", maxDistance)
	case !(o.megabits >= 1 && o.megabits <= 10000):
		return fmt.Errorf("--rate %v: want 1 to 10000 Mbit/s", o.megabits)
	case !(o.Loss >= 0 && o.Loss <= 0.2):
		return fmt.Errorf("--loss %v: want a share from 0 to 0.2", o.Loss)
	}
	for _, n := range []struct {
		name    string
		v, most int
	}{
		{"requests", o.Requests, 1e6}, {"clients", o.Clients, 1000}, {"samples", o.Samples, 100}, {"parallel", o.Parallel, 16}, {"connections", o.Connections, 32},
	} {
		if n.v < 1 || n.v > n.most {
			return fmt.Errorf("--%s %d: want 1 to %d", n.name, n.v, n.most)
		}
	}
	if err := o.Size.UnmarshalText([]byte(o.size)); err != nil {
		return fmt.Errorf("--size: %w", err)
	}
	if o.Size < 2<<10 || o.Size > 1<<30 {
		return fmt.Errorf("--size %s: want 2KiB to 1GiB", o.size)
	}
	return findHither(&o.Program)
}

// findHither fills in where the program to measure is, if nobody said, and finds out whether it is there.
func findHither(program *string) error {
	if *program == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		*program = filepath.Join(filepath.Dir(self), "hither")
	}
	if _, err := os.Stat(*program); err != nil {
		return fmt.Errorf("the program hither: %w; `make build` makes it as bin/hither", err)
	}
	return nil
}

// benchFar makes a lab, measures in it, and prints what it found.
func benchFar(ctx context.Context, o farOptions, stdout, stderr io.Writer) (err error) {
	if err := o.check(); err != nil {
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
	folder, err := peers.NewFolder(self)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	o.Dir = folder.Dir
	p := &progress{to: stderr, of: o.Steps()}
	o.Step = func(what string) { p.step("%s", what) }
	result, err := far.Measure(ctx, o.Options)
	switch {
	case errors.Is(err, lab.ErrUnavailable):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
	return newFarDocument(result).print(o.output, stdout)
}
