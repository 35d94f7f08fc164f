package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/trace"
	"hither/deploy"
)

// traceOptions are what `bench trace` can be told.
type traceOptions struct {
	files, policies, size, limit []string
	skip                         bool
	output, svg, readme          string

	sizes  []trace.Size // that size says
	limits []float64    // that limit says
}

func traceCommand() *cobra.Command {
	var o traceOptions
	c := &cobra.Command{
		Use:   "trace FILE...",
		Short: "Replay traces of requests through the real store, and count hits beside those of other policies",
		Long: "Replay traces of requests through the real store, and count hits and their bytes beside those of FIFO, LRU, S3-FIFO,\n" +
			"W-TinyLFU, and a cache that evicts nothing. A trace has a line for each request, `time,key,size`, plain or packed with\n" +
			"gzip; time is in seconds, a key with a comma is in quotes. Other packings come through a pipe:\n\n" +
			"    zstd -dc trace.csv.zst | bin/bench trace /dev/stdin\n\n" +
			"The store takes objects of up to its size. The others are replayed with that limit, which is the same rule for all, and\n" +
			"with one of an eighth (--object-limit). Where all of them were, and the size is 1 % of a trace's\n" +
			"unique bytes or more, the store must be at most .02 behind the most hits of any, and .01 behind the bytes of LRU: else\n" +
			"the exit status is 1. Exit status 2 tells what is wrong with a call or a trace, with file and line.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("trace: want a FILE with lines of time,key,size")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.files = args
			return benchTrace(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.size, "sizes", []string{"0.1%", "1%", "10%"}, "sizes of the caches, in percent of a trace's unique bytes, or as 64MiB")
	f.StringSliceVar(&o.policies, "policies", trace.Names, "what to replay through; hither is the real store")
	f.StringSliceVar(&o.limit, "object-limit", []string{"12.5%", "100%"}, "largest object that policies take, in percent of the size; the store has its own, 100%")
	f.BoolVar(&o.skip, "skip-broken", false, "leave out and count the lines that are broken, instead of ending at the first")
	f.StringVar(&o.svg, "svg", "", "write a picture to this `FILE`")
	f.StringVar(&o.readme, "readme", "", "write the table into this `FILE`, between its marks for trace")
	outputFlag(c, &o.output)
	return c
}

// maxReplays bounds lists that a typing error made long.
const maxReplays = 32

// check finds what is wrong with the options.
func (o *traceOptions) check() error {
	if len(o.size) == 0 || len(o.size) > maxReplays {
		return fmt.Errorf("--sizes: want 1 to %d", maxReplays)
	}
	for _, text := range o.size {
		size, err := parseCacheSize(text)
		if err != nil {
			return fmt.Errorf("--sizes: %w", err)
		}
		if slices.Contains(o.sizes, size) {
			return fmt.Errorf("--sizes %s: named twice", text)
		}
		o.sizes = append(o.sizes, size)
	}
	if len(o.policies) == 0 {
		return fmt.Errorf("--policies: want some of %s", strings.Join(trace.Names, ", "))
	}
	for i, name := range o.policies {
		if !slices.Contains(trace.Names, name) {
			return fmt.Errorf("--policies %s: want some of %s", name, strings.Join(trace.Names, ", "))
		}
		if slices.Contains(o.policies[:i], name) {
			return fmt.Errorf("--policies %s: named twice", name)
		}
	}
	if len(o.limit) == 0 || len(o.limit) > maxReplays {
		return fmt.Errorf("--object-limit: want 1 to %d", maxReplays)
	}
	for _, text := range o.limit {
		share, err := parsePercent(text)
		if err != nil {
			return fmt.Errorf("--object-limit: %w", err)
		}
		if slices.Contains(o.limits, share) {
			return fmt.Errorf("--object-limit %s: named twice", text)
		}
		o.limits = append(o.limits, share)
	}
	slices.Sort(o.limits)
	if o.readme != "" {
		// Before the work, not behind it.
		if _, _, err := findMarks(o.readme, traceMark); err != nil {
			return fmt.Errorf("--readme: %w", err)
		}
	}
	return checkPicture(o.svg)
}

// parseCacheSize reads a share, as 0.1%, or bytes, as 64MiB.
func parseCacheSize(text string) (trace.Size, error) {
	if strings.HasSuffix(text, "%") {
		share, err := parsePercent(text)
		return trace.Size{Share: share}, err
	}
	var size deploy.Size
	if err := size.UnmarshalText([]byte(text)); err != nil {
		return trace.Size{}, err
	}
	if size < 1 {
		return trace.Size{}, fmt.Errorf("%s: want at least a byte", text)
	}
	return trace.Size{Bytes: int64(size)}, nil
}

// parsePercent reads a share of the whole, as 12.5%.
func parsePercent(text string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !strings.HasSuffix(text, "%") || !(percent >= 0.0001 && percent <= 100) {
		return 0, fmt.Errorf("%s: want a percentage from 0.0001%% to 100%%", text)
	}
	return percent / 100, nil
}

// traceMark names the place of the table in a README.
const traceMark = "trace"

// benchTrace reads all traces, replays them, and prints what it counted.
func benchTrace(ctx context.Context, o traceOptions, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	var traces []*trace.Trace
	requests := 0
	for _, name := range o.files {
		fmt.Fprintf(stderr, "reading %s\n", name)
		t, err := trace.Read(ctx, name, o.skip)
		var line *trace.LineError
		switch {
		case errors.As(err, &line) && !o.skip:
			return fmt.Errorf("%w (mend the line, or leave such ones out with --skip-broken)", err)
		case err != nil:
			return err
		}
		if requests += t.Requests(); requests > trace.MaxRequests {
			return fmt.Errorf("%s: with it there are more than %d requests: replay fewer files at a time", name, trace.MaxRequests)
		}
		traces = append(traces, t)
	}
	plan := trace.Options{Policies: o.policies, Sizes: o.sizes, Limits: o.limits}
	p := &progress{to: stderr, of: plan.Steps() * len(traces)}
	d := newTraceDocument()
	for _, t := range traces {
		what, said := "", time.Time{}
		plan.Step = func(r trace.Result) {
			what, said = fmt.Sprintf("%s: %s", t.File, replayWords(r)), time.Now()
			p.step("%s", what)
		}
		plan.Progress = func(done float64) {
			if time.Since(said) >= 5*time.Second {
				said = time.Now()
				p.n--
				p.step("%s, %.0f %% done", what, 100*done)
			}
		}
		results, err := plan.Run(ctx, t)
		if err != nil {
			return fmt.Errorf("%w: %w", errMeasure, err)
		}
		d.add(t, results)
	}
	return d.print(o, stdout)
}

// replayWords say what a replay is.
func replayWords(r trace.Result) string {
	switch r.Policy {
	case trace.Infinite:
		return policyWords[r.Policy]
	case trace.Store:
		return fmt.Sprintf("%s of %s", policyWords[r.Policy], decimal(r.Size))
	}
	return fmt.Sprintf("%s of %s, objects to %s", policyWords[r.Policy], decimal(r.Size), percent(r.Limit))
}

// print writes the result as it was asked for.
func (d *traceDocument) print(o traceOptions, stdout io.Writer) (err error) {
	if o.output == "json" {
		err = printDocument(stdout, "bench-trace", d)
	} else {
		err = d.table(stdout)
	}
	if o.readme != "" {
		if wrong := writeBetween(o.readme, traceMark, d.markdown()); wrong != nil {
			err = asWell(err, fmt.Errorf("--readme: %w", wrong))
		}
	}
	if !d.holds() {
		err = asWell(err, errDoesNotHold)
	}
	return asWell(err, writePicture(o.svg, d.picture))
}
