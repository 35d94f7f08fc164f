package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/load"
)

// errNoAnswer ends a load that has printed its errors.
var errNoAnswer = fmt.Errorf("%w: nothing was answered", errMeasure)

// loadOptions are what `bench load` can be told.
type loadOptions struct {
	load      load.HTTPLoad
	protocols []string
	file      string // of URLs
	ca        string
	resolver  string
	to        string
	svg       string
	output    string
}

func loadCommand() *cobra.Command {
	var o loadOptions
	c := &cobra.Command{
		Use:   "load URL [URL...]",
		Short: "Load a web server, in a closed loop or at a constant rate, over HTTP/1.1, 2 or 3",
		Long: "Load a web server with GETs for one URL or many of one site, and tell how many it answers and how long they take.\n\n" +
			"In a closed loop each stream of each connection sends the next request when its answer has come, as fast as that goes.\n" +
			"With --rate requests are due at a constant rate, whatever the server does, and response times count from when they\n" +
			"were due: the wait of those that a slow server held up is not left out.\n\n" +
			"Exit status 1 tells that nothing was answered or that the load was stopped, 2 that it cannot be loaded so.",
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.check(args, c.Flags().Changed("protocol")); err != nil {
				return err
			}
			return benchLoad(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.protocols, "protocol", nil, "h1, h2 or h3, or several to load over in turn (default: h2, and h1 for http)")
	f.IntVar(&o.load.Connections, "connections", 8, "how many, opened at once and kept")
	f.IntVar(&o.load.Streams, "streams", 1, "requests at once on each connection of HTTP/2 and 3")
	f.Float64Var(&o.load.Rate, "rate", 0, "requests per second, of all together (default: a closed loop)")
	f.DurationVar(&o.load.For, "for", 10*time.Second, "how long each protocol is measured")
	f.DurationVar(&o.load.WarmUp, "warm-up", time.Second, "how long it is loaded before that, of which nothing counts")
	f.DurationVar(&o.load.Timeout, "timeout", 10*time.Second, "when a request is given up")
	f.StringVar(&o.file, "urls", "", "read URLs from this `FILE`, one a line, the most popular first")
	f.Float64Var(&o.load.Zipf, "zipf", 0, "ask for the nth URL in proportion to 1/n to this `EXPONENT` (default: for all in turn)")
	f.Uint64Var(&o.load.Seed, "seed", 1, "of the order in which --zipf asks; the same makes the same")
	f.BoolVar(&o.load.NewConnections, "new-connections", false, "open a connection for each request, and close it")
	f.BoolVar(&o.load.Resume, "resume", false, "with --new-connections: resume with a ticket of a connection before")
	f.IntSliceVar(&o.load.PIDs, "pid", nil, "the server's process `ID`, or several, for the processor time and memory of them and of all below them")
	f.StringVar(&o.to, "to", "", "connect to this `ADDR` or ADDR:PORT, whatever the URL's host (default: what DNS says)")
	f.StringVar(&o.resolver, "resolver", "", "the DNS server to ask, `ADDR` or ADDR:PORT (default: the machine's)")
	f.StringVar(&o.ca, "ca", "", "trust the certificates in this `FILE` (default: the machine's)")
	f.StringVar(&o.svg, "svg", "", "write a picture of the latencies to this `FILE`")
	outputFlag(c, &o.output)
	return c
}

// check finds what is wrong with the options, and reads what they name.
func (o *loadOptions) check(args []string, chosen bool) (err error) {
	switch {
	case o.file != "" && len(args) > 0:
		return errors.New("URLs and --urls: name them in one way")
	case o.file == "" && len(args) == 0:
		return errors.New("name a URL, or a list of them with --urls FILE")
	case o.load.Connections < 1:
		return fmt.Errorf("--connections %d: want at least 1", o.load.Connections)
	case o.load.Streams < 1:
		return fmt.Errorf("--streams %d: want at least 1", o.load.Streams)
	case o.load.Timeout <= 0:
		return fmt.Errorf("--timeout %v: want more than 0s", o.load.Timeout)
	case o.to != "" && o.resolver != "":
		return errors.New("--to and --resolver: with an address nobody is asked for one")
	}
	if o.load.URLs, err = o.urls(args); err != nil {
		return err
	}
	if !chosen {
		o.protocols = []string{"h2"}
		if o.load.URLs[0].Scheme == "http" {
			o.protocols = []string{"h1"}
		}
	}
	if len(o.protocols) == 0 {
		return errors.New("--protocol: want h1, h2 or h3")
	}
	for i, p := range o.protocols {
		if slices.Contains(o.protocols[:i], p) {
			return fmt.Errorf("--protocol %s: named twice", p)
		}
		one := o.load
		one.Protocol = p
		if err := one.Check(); err != nil {
			return err
		}
	}
	roots, err := readRoots(o.ca)
	if err != nil {
		return err
	}
	o.load.TLS = &tls.Config{RootCAs: roots}
	if o.resolver, err = resolverAddress(o.resolver); err != nil {
		return err
	}
	return checkPicture(o.svg)
}

// urls are those of the call or of its file.
func (o *loadOptions) urls(args []string) (all []*url.URL, err error) {
	if o.file != "" {
		f, err := os.Open(o.file)
		if err != nil {
			return nil, fmt.Errorf("--urls: %w", err)
		}
		defer f.Close()
		return load.ReadURLs(f, o.file)
	}
	for _, text := range args {
		u, err := load.ParseURL(text)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// address is where to connect.
func (o *loadOptions) address(ctx context.Context) (netip.AddrPort, error) {
	u := o.load.URLs[0]
	if o.to == "" {
		to, err := load.Resolve(ctx, u, o.resolver)
		if err != nil {
			return to, fmt.Errorf("%v: %w", u, err)
		}
		return to, nil
	}
	if to, err := netip.ParseAddrPort(o.to); err == nil {
		return to, nil
	}
	addr, err := netip.ParseAddr(o.to)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--to: %w", err)
	}
	bare := *u
	bare.Host = net.JoinHostPort(addr.String(), u.Port())
	return load.Resolve(ctx, &bare, "")
}

// benchLoad loads over each protocol in turn, and prints what it found. When it is stopped it prints what it has found so far.
func benchLoad(ctx context.Context, o loadOptions, stdout, stderr io.Writer) (err error) {
	if o.load.To, err = o.address(ctx); err != nil {
		return err
	}
	doc := newLoadDocument(o)
	for _, p := range o.protocols {
		l := o.load
		l.Protocol = p
		l.Progress = func(at load.HTTPProgress) { tellLoad(stderr, p, l, at) }
		run, wrong := l.Load(ctx)
		if run != nil && run.Requests > 0 {
			doc.add(run)
		}
		switch {
		case wrong != nil && run != nil: // measuring had begun
			err = fmt.Errorf("%w: %w", errMeasure, wrong)
		case wrong != nil:
			err = wrong
		}
		if wrong != nil {
			break
		}
	}
	if len(doc.Rows) == 0 {
		return errors.Join(err)
	}
	doc.Stopped = err != nil
	return asWell(err, doc.print(o, stdout))
}

// tellLoad writes a line of progress.
func tellLoad(w io.Writer, protocol string, l load.HTTPLoad, at load.HTTPProgress) {
	phase := fmt.Sprintf("%s of %s", at.Since.Round(time.Second)-l.WarmUp, l.For)
	if at.WarmUp {
		phase = "warm-up"
	}
	fmt.Fprintf(w, "%s, %s: %.0f answers/s, %d errors\n", protocol, phase, at.Rate, at.Errors)
}
