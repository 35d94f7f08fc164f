package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/lab"
	"hither/bench/peers"
	"hither/bench/rtt"
	"hither/deploy"
)

// rttOptions are what `bench rtt` can be told.
type rttOptions struct {
	hither, output, svg string
	distances           rtt.Distances
	loss                float64
	samples, cold       int
	size                []string
	sizes               []deploy.Size // that size says

	url, direct  *url.URL // nil = a lab
	directText   string
	resolver, ca string
	published    []string
}

func rttCommand() *cobra.Command {
	var o rttOptions
	c := &cobra.Command{
		Use:   "rtt [URL]",
		Short: "Measure what a client waits for over distance: direct and through the edge, over each protocol",
		Long: "Measure what a client waits for over distance, in a lab on this machine (see bench lab): directly at the origin and\n" +
			"through the edge, over each protocol, for a hit, a miss on a warm and one on a cold pool; and count the round trips on\n" +
			"the wire. Needs root, or a user who may make user namespaces and open /dev/net/tun; exit status 2 says what to do, 1\n" +
			"that something does not hold that must.\n\n" +
			"With a URL, measure visits to that from here instead. Round trips are not counted then.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.target(c.Flags(), args); err != nil {
				return err
			}
			if o.url != nil {
				return benchURL(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
			}
			return benchRTT(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.hither, "hither", "", "the program to measure (default: hither beside this program)")
	f.DurationVar(&o.distances.ClientEdge, "client-edge", 10*time.Millisecond, "round trip between client and edge")
	f.DurationVar(&o.distances.EdgeOrigin, "edge-origin", 200*time.Millisecond, "round trip between edge and origin")
	f.DurationVar(&o.distances.ClientOrigin, "client-origin", 200*time.Millisecond, "round trip between client and origin")
	f.Float64Var(&o.loss, "loss", 0, "share of packets that get lost, on all three: 0.01 is one of a hundred")
	f.IntVar(&o.samples, "samples", 20, "how often each case is measured, but for those on a cold pool")
	f.IntVar(&o.cold, "cold-samples", 5, "how often each case on a cold pool is measured; each time edge and origin start anew")
	f.StringSliceVar(&o.size, "size", []string{"1KiB", "1MiB"}, "sizes of the objects")
	f.StringVar(&o.svg, "svg", "", "write a picture of the first size to this `FILE`")
	f.StringVar(&o.directText, "direct", "", "with a URL: the `URL` of the same file without an edge, to compare with")
	f.StringVar(&o.resolver, "resolver", "", "with a URL: the DNS server to ask, `ADDR` or ADDR:PORT (default: the machine's)")
	f.StringVar(&o.ca, "ca", "", "with a URL: trust the certificates in this `FILE` (default: the machine's)")
	f.StringArrayVar(&o.published, "published", nil, "with a URL: `ADDR=ADDR`: connect to the second where DNS says the first, as from inside a network that is published elsewhere")
	outputFlag(c, &o.output)
	return c
}

// Bounds of what can be measured: an object must fit into an edge's cache many times.
const (
	maxDistance = 10 * time.Second
	maxSamples  = 1000
	maxSize     = 8 << 20
)

// check finds what is wrong with the options.
func (o *rttOptions) check() error {
	d := o.distances
	switch {
	case min(d.ClientEdge, d.EdgeOrigin, d.ClientOrigin) < 0 || max(d.ClientEdge, d.EdgeOrigin, d.ClientOrigin) > maxDistance:
		return fmt.Errorf("distances go from 0s to %v", maxDistance)
	case !(o.loss >= 0 && o.loss <= 0.2):
		return fmt.Errorf("--loss %v: want a share from 0 to 0.2", o.loss)
	case o.samples < 1 || o.samples > maxSamples:
		return fmt.Errorf("--samples %d: want 1 to %d", o.samples, maxSamples)
	case o.cold < 0 || o.cold > maxSamples:
		return fmt.Errorf("--cold-samples %d: want 0 to %d", o.cold, maxSamples)
	case len(o.size) == 0:
		return errors.New("--size: want at least one")
	}
	for _, text := range o.size {
		var size deploy.Size
		if err := size.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("--size: %w", err)
		}
		if size < 1 || size > maxSize {
			return fmt.Errorf("--size %s: want 1B to %v", text, deploy.Size(maxSize))
		}
		if slices.Contains(o.sizes, size) {
			return fmt.Errorf("--size %s: named twice", text)
		}
		o.sizes = append(o.sizes, size)
	}
	if err := checkPicture(o.svg); err != nil {
		return err
	}
	return findHither(&o.hither)
}

// benchRTT makes a lab, measures in it, and prints what it found.
func benchRTT(ctx context.Context, o rttOptions, stdout, stderr io.Writer) (err error) {
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
	plan := rtt.Options{
		Distances: o.distances, Loss: o.loss, Sizes: o.sizes, Samples: o.samples, Cold: o.cold, Program: o.hither, Dir: folder.Dir,
	}
	p := &progress{to: stderr, of: plan.Steps()}
	plan.Step = func(what string) { p.step("%s", what) }
	result, err := rtt.Measure(ctx, plan)
	switch {
	case errors.Is(err, lab.ErrUnavailable):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
	return newRTTDocument(o, result).print(o, stdout)
}

// print writes the result as it was asked for, and tells whether everything holds.
func (d *rttDocument) print(o rttOptions, stdout io.Writer) (err error) {
	if o.output == "json" {
		err = printDocument(stdout, "bench-rtt", d)
	} else {
		err = d.table(stdout)
	}
	if err == nil && !d.holds() {
		err = errDoesNotHold
	}
	return asWell(err, writePicture(o.svg, d.picture))
}
