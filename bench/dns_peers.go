package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/load"
	"hither/bench/pairs"
	"hither/bench/peers"
)

// dnsPeersOptions are what `bench dns peers` can be told.
type dnsPeersOptions struct {
	hither, net, output, readme string
	servers                     []string
	pairs                       int
	each                        time.Duration
}

func dnsPeersCommand() *cobra.Command {
	var o dnsPeersOptions
	c := &cobra.Command{
		Use:   "peers",
		Short: "Compare the DNS server with gdnsd, Knot and PowerDNS, in turns",
		Long: "Compare the DNS server with gdnsd, Knot and PowerDNS where they are on this machine: processor time per question, and the\n" +
			"rate, with as many questions as are answered and with one at a time. Servers have one core, dnsperf another; all answer the\n" +
			"same questions from the same knowledge, which is checked first. Measured is in turns, ours and a peer, and compared pair by\n" +
			"pair. There is no target: exit status 1 tells that a server died or answered otherwise, 2 that it cannot be measured here.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchDNSPeers(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.hither, "hither", "", "the program to measure (default: hither beside this program)")
	f.StringVar(&o.net, "net", "127.99", "loopback addresses for the servers, 127.N")
	f.StringSliceVar(&o.servers, "servers", peers.DNSPeers(), "whom to compare with")
	f.IntVar(&o.pairs, "pairs", enough, "how often ours and a peer are measured in each case")
	f.DurationVar(&o.each, "for", 5*time.Second, "how long each measurement takes, in whole seconds")
	f.StringVar(&o.readme, "readme", "", "write the table into this `FILE` as well, between the comments `begin dns-peers` and `end dns-peers`")
	outputFlag(c, &o.output)
	return c
}

// dnsPeersMark is where `--readme` writes.
const dnsPeersMark = "dns-peers"

// check finds what is wrong with the options.
func (o *dnsPeersOptions) check() error {
	switch {
	case o.pairs < 1 || o.pairs > 1000:
		return fmt.Errorf("--pairs %d: want 1 to 1000", o.pairs)
	case o.each < time.Second || o.each > time.Hour || o.each%time.Second != 0:
		return fmt.Errorf("--for %v: want whole seconds, 1s to 1h", o.each)
	case len(o.servers) == 0:
		return errors.New("--servers: want at least one")
	case o.readme != "" && o.pairs < enough:
		return fmt.Errorf("--readme with --pairs %d: what is written down takes at least %d", o.pairs, enough)
	}
	for i, name := range o.servers {
		if !slices.Contains(peers.DNSPeers(), name) {
			return fmt.Errorf("--servers %s: want some of %s", name, strings.Join(peers.DNSPeers(), ","))
		}
		if slices.Contains(o.servers[:i], name) {
			return fmt.Errorf("--servers %s: named twice", name)
		}
	}
	if o.readme != "" {
		if _, _, err := findMarks(o.readme, dnsPeersMark); err != nil {
			return fmt.Errorf("--readme: %w", err)
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

// Cases, with how many questions are open at once.
const (
	caseClosed = "closed loop"
	caseSingle = "one at a time"
)

var dnsCases = map[string]int{caseClosed: 100, caseSingle: 1}

// sampled is how many questions a server must answer rightly before it is measured.
const sampled = 4096

// benchDNSPeers starts the servers, has them agree, measures them, and prints what it found.
func benchDNSPeers(ctx context.Context, o dnsPeersOptions, stdout, stderr io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	b, err := newDNSBench(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	c := &dnsContest{dnsBench: b, o: o, stderr: stderr}
	defer c.stop()
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := load.MoveTo(b.ours); err != nil {
		return err
	}
	plan := c.plan()
	if len(plan.Peers) == 0 {
		return c.report(pairs.Result{}, stdout)
	}
	p := &progress{to: stderr, of: plan.Steps()}
	plan.Step = func(pair int, name, peer, server string) {
		if pair == 0 {
			p.step("%s: warm-up, %s", server, name)
			return
		}
		p.step("hither and %s, pair %d of %d: %s, %s", peer, pair, o.pairs, name, server)
	}
	result, err := plan.Measure(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
	for i := range c.entries {
		if e := &c.entries[i]; result.Failed[e.name] != nil {
			c.fail(e, result.Failed[e.name])
		}
	}
	return c.report(result, stdout)
}

// A dnsContest is servers that are compared.
type dnsContest struct {
	*dnsBench
	o       dnsPeersOptions
	stderr  io.Writer
	places  *peers.Places
	queries *load.Queries
	file    string
	ours    *peers.DNSServer
	entries []dnsEntry
}

// A dnsEntry is a peer: it runs, or it is missing, or it failed.
type dnsEntry struct {
	name    string
	server  *peers.DNSServer
	missing *load.MissingError
	failed  error
}

// prepare makes the questions. A /24 whose clients get several PoPs has no right answer, and is not asked for.
func (c *dnsContest) prepare() (err error) {
	if c.places, err = peers.NewPlaces(c.o.net); err != nil {
		return err
	}
	all, err := load.NewQueries(peers.Name, questions, 1)
	if err != nil {
		return err
	}
	if c.queries, err = all.Keep(func(client netip.Prefix) bool { return c.places.Alike(client) }); err != nil {
		return err
	}
	c.file = filepath.Join(c.dir, "questions")
	return writeQuestions(c.file, c.queries)
}

// start starts all servers that there are, and has them answer a sample. Its error is that of ours, or that there is nobody to
// compare with.
func (c *dnsContest) start(ctx context.Context) error {
	sample, err := c.queries.Sample(sampled)
	if err != nil {
		return err
	}
	home := filepath.Join(c.dir, "hither")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	fmt.Fprintf(c.stderr, "hither: start, and ask %d questions\n", len(sample))
	if c.ours, err = peers.StartHither(ctx, c.o.hither, home, c.o.net, c.theirs); err != nil {
		return err
	}
	if err := c.ours.Agrees(ctx, sample, c.places); err != nil {
		return fmt.Errorf("%w: %w", errMeasure, err)
	}
	var missing []error
	for _, name := range c.o.servers {
		c.entries = append(c.entries, dnsEntry{name: name})
		e := &c.entries[len(c.entries)-1]
		fmt.Fprintf(c.stderr, "%s: start, and ask the same\n", name)
		server, err := peers.StartDNSPeer(ctx, name, filepath.Join(c.dir, name), c.o.net, c.places, c.theirs)
		if err == nil {
			e.server = server
			err = server.Agrees(ctx, sample, c.places)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &e.missing):
			fmt.Fprintln(c.stderr, "bench:", err)
			missing = append(missing, err)
		case err != nil:
			c.fail(e, err)
		}
	}
	if len(missing) == len(c.entries) {
		return fmt.Errorf("there is nobody to compare with: %w", errors.Join(missing...))
	}
	return nil
}

// fail takes a peer out.
func (c *dnsContest) fail(e *dnsEntry, err error) {
	fmt.Fprintln(c.stderr, "bench:", err)
	e.failed = err
	if e.server != nil {
		e.server.Stop()
	}
}

func (c *dnsContest) stop() {
	if c.ours != nil {
		c.ours.Stop()
	}
	for _, e := range c.entries {
		if e.server != nil {
			e.server.Stop()
		}
	}
}

func (c *dnsContest) plan() pairs.Plan {
	p := pairs.Plan{Ours: c.contender(c.ours), Cases: []string{caseClosed, caseSingle}, Pairs: c.o.pairs, For: c.o.each}
	for _, e := range c.entries {
		if e.server != nil && e.failed == nil {
			p.Peers = append(p.Peers, c.contender(e.server))
		}
	}
	return p
}

func (c *dnsContest) contender(s *peers.DNSServer) pairs.Server {
	return pairs.Server{Name: s.Name, Process: s, Load: func(ctx context.Context, name string, d time.Duration) (load.Run, error) {
		return c.dnsperf.Load(ctx, load.DnsperfLoad{
			To: s.Addr, File: c.file, For: d, Outstanding: dnsCases[name], Timeout: time.Second, Core: c.dnsBench.ours,
		})
	}}
}

// report prints the document, and writes it down where all went well.
func (c *dnsContest) report(r pairs.Result, stdout io.Writer) error {
	doc := c.document(r)
	var err error
	if c.o.output == "json" {
		err = printDocument(stdout, "bench-dns-peers", doc)
	} else {
		err = doc.table(stdout)
	}
	if err != nil {
		return err
	}
	for _, e := range c.entries {
		if e.failed != nil {
			return fmt.Errorf("%w: not every server could be measured to the end", errMeasure)
		}
	}
	if c.o.readme == "" {
		return nil
	}
	return writeBetween(c.o.readme, dnsPeersMark, doc.markdown())
}
