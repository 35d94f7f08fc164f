package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/load"
	"hither/bench/overload"
	"hither/bench/peers"
)

// dnsOptions are what `bench dns` can be told.
type dnsOptions struct {
	hither, net, output string
	rounds              int
	each                time.Duration
}

// questions is how many different ones are asked: as many /24 spread over the world find all parts of a table.
const questions = 1 << 16

func dnsCommand() *cobra.Command {
	var o dnsOptions
	c := &cobra.Command{
		Use:   "dns",
		Short: "Measure the DNS server: where it saturates, below that and far above",
		Long: "Measure the DNS server: the rate where it saturates, whether it loses a question at 0.9 of that, and what it answers at\n" +
			"1.5 times as much. Server and clients have a core each; questions carry client subnets from all over the world.\n" +
			"Exit status 1 tells that something does not hold that must, 2 that it cannot be measured here.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchDNS(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.hither, "hither", "", "the program to measure (default: hither beside this program)")
	f.StringVar(&o.net, "net", "127.99", "loopback addresses for the server, 127.N")
	f.IntVar(&o.rounds, "rounds", 3, "how often everything is measured")
	f.DurationVar(&o.each, "for", 10*time.Second, "how long each measurement takes, in whole seconds")
	outputFlag(c, &o.output)
	c.AddCommand(dnsPeersCommand())
	return c
}

// check finds what is wrong with the options.
func (o *dnsOptions) check() error {
	switch {
	case o.rounds < 1 || o.rounds > 1000:
		return fmt.Errorf("--rounds %d: want 1 to 1000", o.rounds)
	case o.each < time.Second || o.each > time.Hour || o.each%time.Second != 0:
		return fmt.Errorf("--for %v: want whole seconds, 1s to 1h", o.each)
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

// benchDNS starts a server, measures it, and prints what it found.
func benchDNS(ctx context.Context, o dnsOptions, stdout, stderr io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	b, err := newDNSBench(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	queries, err := load.NewQueries(peers.Name, questions, 1)
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "questions")
	if err := writeQuestions(file, queries); err != nil {
		return err
	}
	server, err := peers.StartHither(ctx, o.hither, b.dir, o.net, b.theirs)
	if err != nil {
		return err
	}
	defer server.Stop()
	if err := load.MoveTo(b.ours); err != nil {
		return err
	}
	plan := overload.Plan{Server: server, Rounds: o.rounds, For: o.each, Clients: overload.Clients{
		Closed: func(ctx context.Context, rate float64, d time.Duration) (load.Run, error) {
			return b.dnsperf.Load(ctx, load.DnsperfLoad{To: server.Addr, File: file, Rate: rate, For: d, Outstanding: 100, Timeout: time.Second, Core: b.ours})
		},
		Open: func(ctx context.Context, rate float64, d time.Duration) (load.Run, error) {
			return load.OpenLoop{To: server.Addr, Queries: queries, Rate: rate, For: d, Grace: time.Second}.Load(ctx)
		},
		Drops: func() (int64, error) { return load.Drops(server.Addr) },
	}}
	p := &progress{to: stderr, of: plan.Steps()}
	plan.Step = func(round int, what string) {
		if round == 0 {
			p.step("%s: %s", server.Name, what)
			return
		}
		p.step("%s, round %d of %d: %s", server.Name, round, o.rounds, what)
	}
	result, err := plan.Measure(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
	doc := newDNSDocument(server, b.dnsperf.Version, queries.Len(), o, result)
	if o.output == "json" {
		err = printDocument(stdout, "bench-dns", doc)
	} else {
		err = doc.table(stdout)
	}
	if err == nil && !doc.holds() {
		return errDoesNotHold
	}
	return err
}

// A dnsBench is what a DNS server is measured with: dnsperf, a core for clients and another one for servers, and a folder for all that
// is written.
type dnsBench struct {
	dnsperf      load.Dnsperf
	ours, theirs int
	dir          string
	folder       *peers.Folder
}

func newDNSBench(ctx context.Context) (*dnsBench, error) {
	dnsperf, err := load.FindDnsperf(ctx)
	if err != nil {
		return nil, err
	}
	cores, err := load.Cores()
	if err != nil {
		return nil, err
	}
	if len(cores) < 2 {
		return nil, errors.New("server and client take a core each, and this program may use one only")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	folder, err := peers.NewFolder(self)
	if err != nil {
		return nil, err
	}
	return &dnsBench{dnsperf: dnsperf, ours: cores[len(cores)-1], theirs: cores[0], dir: folder.Dir, folder: folder}, nil
}

func (b *dnsBench) close() error { return b.folder.Close() }

// writeQuestions makes the file that dnsperf reads.
func writeQuestions(name string, q *load.Queries) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	_, err = q.WriteTo(b)
	return errors.Join(err, b.Flush(), f.Close())
}
