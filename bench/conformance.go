package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/conformance"
)

// conformanceText is what must be reached, and what is not, each with its reason.
//
//go:embed conformance.txt
var conformanceText []byte

// Where that stands in the repository, and the last result.
const (
	conformanceFile   = "bench/conformance.txt"
	conformanceRecord = "bench/testdata/conformance.json"
)

// conformanceOptions are what `bench conformance` can be told.
type conformanceOptions struct {
	suite, hither, net, output string
	runs                       int
	limit                      time.Duration
	update                     bool
}

func conformanceCommand() *cobra.Command {
	var o conformanceOptions
	c := &cobra.Command{
		Use:   "conformance",
		Short: "Hold an edge's cache to the public suite http-tests/cache-tests",
		Long: "Hold an edge's cache to the public suite http-tests/cache-tests: start its origin and a network in front of it, run its\n" +
			"client against an edge, and compare with " + conformanceFile + ", which names every case that may fail, and why.\n" +
			"Exit status 1 tells that something is not as it says there, 2 that the suite cannot be run here.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchConformance(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.suite, "suite", "", "a checkout of the suite, with node_modules/undici; nothing is written into it")
	f.StringVar(&o.hither, "hither", "", "the program to measure (default: hither beside this program)")
	f.StringVar(&o.net, "net", "127.87", "loopback addresses for the network, 127.N")
	f.IntVar(&o.runs, "runs", 3, "how often the suite is run; all runs must come out the same")
	f.DurationVar(&o.limit, "limit", 10*time.Minute, "how long a run may take; it takes about one minute")
	f.BoolVar(&o.update, "update", false, "write the result to "+conformanceRecord)
	outputFlag(c, &o.output)
	return c
}

// check finds what is wrong with the options.
func (o *conformanceOptions) check() error {
	switch {
	case o.suite == "":
		return errors.New("--suite is missing: give a checkout of http-tests/cache-tests (make conformance SUITE=DIR)")
	case o.runs < 1 || o.runs > 100:
		return fmt.Errorf("--runs %d: want 1 to 100", o.runs)
	case o.limit < time.Second || o.limit > 24*time.Hour:
		return fmt.Errorf("--limit %v: want 1s to 24h", o.limit)
	}
	if o.update {
		if info, err := os.Stat(filepath.Dir(conformanceRecord)); err != nil || !info.IsDir() {
			return fmt.Errorf("--update writes %s, and that folder is not here: call it at the top of the repository", conformanceRecord)
		}
	}
	if o.hither == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.hither = filepath.Join(filepath.Dir(self), "hither")
	}
	return nil
}

// benchConformance runs the suite and prints what came of it.
func benchConformance(ctx context.Context, o conformanceOptions, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	expected, err := conformance.ReadExpected(conformanceFile, conformanceText)
	if err != nil {
		return err
	}
	suite, err := conformance.Open(ctx, o.suite)
	if err != nil {
		return err
	}
	p := &progress{to: stderr, of: o.runs + 1}
	plan := conformance.Plan{
		Suite: suite, Hither: o.hither, Net: o.net, Runs: o.runs, Limit: o.limit,
		Step: func(what string) { p.step("%s", what) },
	}
	result, err := plan.Run(ctx)
	if errors.Is(err, conformance.ErrRun) {
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
	if err != nil {
		return err
	}
	doc := newConformanceDocument(suite, o.runs, result, expected)
	if o.output == "json" {
		err = printDocument(stdout, "bench-conformance", doc)
	} else {
		err = doc.table(stdout)
	}
	if err == nil && o.update {
		err = doc.writeRecord(conformanceRecord)
	}
	if err == nil && len(doc.Faults) > 0 {
		return errDoesNotHold
	}
	return err
}
