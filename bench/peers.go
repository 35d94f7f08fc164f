package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/contest"
	"hither/bench/load"
	"hither/bench/peers"
)

// peersMark is where the table stands in a README.
const peersMark = "peers"

// peersOptions are what `bench peers` can be told.
type peersOptions struct {
	hither, net, output, log, readme string
	only, servers                    []string
	pairs, idle                      int
	each                             time.Duration

	cases []contest.Case // that only says
	peers []peers.WebPeer
}

// enough pairs are needed for a claim, and for what is written down.
const enough = 7

func peersCommand() *cobra.Command {
	var o peersOptions
	c := &cobra.Command{
		Use:   "peers",
		Short: "Measure the edge against nginx, HAProxy, Varnish, Traffic Server and Caddy",
		Long: "Measure what the edge spends on a request against nginx, HAProxy, Varnish with hitch, Traffic Server and Caddy, those of\n" +
			"them that are on this machine: hits, misses, requests passed on, handshakes, idle connections. Server and clients have\n" +
			"a core each; ours and a peer take turns. Exit status 1 tells that a server died or did not do what a case says, 2\n" +
			"that it cannot be measured here.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return benchPeers(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.hither, "hither", "", "the program to measure (default: hither beside this program)")
	f.StringVar(&o.net, "net", "127.98", "loopback addresses for the servers, 127.N")
	f.StringSliceVar(&o.only, "only", nil, "measure these `CASES` only, each KIND[/PROTOCOL[/SIZE]], as hit or proxy/h2 or hit/h1/16k")
	f.StringSliceVar(&o.servers, "servers", nil, "measure against these `SERVERS` only, of nginx, haproxy, varnish, trafficserver, caddy")
	f.IntVar(&o.pairs, "pairs", enough, "how often each case is measured, ours and a peer in turns")
	f.DurationVar(&o.each, "for", 3*time.Second, "how long each of both takes, in whole seconds")
	f.IntVar(&o.idle, "connections", 2000, "how many idle connections are held")
	f.StringVar(&o.log, "log", "off", "access logs of all servers, `on` or off")
	f.StringVar(&o.readme, "readme", "", "write the table into this `FILE`, between the lines that mark its place")
	outputFlag(c, &o.output)
	return c
}

// check finds what is wrong with the options.
func (o *peersOptions) check() (err error) {
	switch {
	case o.pairs < 1 || o.pairs > 1000:
		return fmt.Errorf("--pairs %d: want 1 to 1000, and %d for a claim", o.pairs, enough)
	case o.each < time.Second || o.each > time.Hour || o.each%time.Second != 0:
		return fmt.Errorf("--for %v: want whole seconds, 1s to 1h", o.each)
	case o.idle < 100 || o.idle > 20_000:
		return fmt.Errorf("--connections %d: want 100 to 20000", o.idle)
	case o.log != "on" && o.log != "off":
		return fmt.Errorf("--log %q: want on or off", o.log)
	}
	if o.cases, err = contest.Select(o.only); err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	known := make([]string, 0, len(peers.WebPeers()))
	for _, p := range peers.WebPeers() {
		known = append(known, p.Name)
		if len(o.servers) == 0 || slices.Contains(o.servers, p.Name) {
			o.peers = append(o.peers, p)
		}
	}
	for _, name := range o.servers {
		if !slices.Contains(known, name) {
			return fmt.Errorf("--servers: no server %q: want some of %s", name, strings.Join(known, ", "))
		}
	}
	if o.readme != "" {
		if o.pairs < enough {
			return fmt.Errorf("--readme with --pairs %d: what is written down takes at least %d", o.pairs, enough)
		}
		if _, _, err := findMarks(o.readme, peersMark); err != nil {
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

// find looks for all programs that are needed. Peers that are not there are in the document; none at all is an error.
func (o *peersOptions) find(ctx context.Context, d *peersDocument) (there []peers.WebPeer, clients contest.Clients, err error) {
	ours, err := peers.HitherVersion(ctx, o.hither)
	if err != nil {
		return nil, clients, err
	}
	d.Servers = append(d.Servers, peersServer{Name: ourName, Version: ours})
	for _, p := range o.peers {
		version, err := p.Version(ctx)
		var missing *load.MissingError
		if errors.As(err, &missing) {
			if len(o.servers) > 0 {
				return nil, clients, err
			}
			d.Servers = append(d.Servers, peersServer{Name: p.Name, Missing: true, Package: missing.Package})
			continue
		}
		if err != nil { // it would not start either
			d.Servers = append(d.Servers, peersServer{Name: p.Name, Note: p.Note})
			d.fail(p.Name, err)
			continue
		}
		there = append(there, p)
		d.Servers = append(d.Servers, peersServer{Name: p.Name, Version: version, Note: p.Note})
	}
	if len(there) == 0 && len(d.Errors) > 0 {
		return nil, clients, errors.New(d.Errors[0].Error)
	}
	if len(there) == 0 {
		return nil, clients, errors.New("no peer is on this machine: install the Debian package nginx, haproxy, varnish (with hitch), trafficserver or caddy")
	}
	if slices.ContainsFunc(o.cases, func(c contest.Case) bool { return c.Client == "wrk" }) {
		if clients.Wrk, err = load.FindWrk(ctx); err != nil {
			return nil, clients, err
		}
		d.Clients["wrk"] = clients.Wrk.Version
	}
	if slices.ContainsFunc(o.cases, func(c contest.Case) bool { return c.Client == "h2load" }) {
		if clients.H2load, err = load.FindH2load(ctx); err != nil {
			return nil, clients, err
		}
		d.Clients["h2load"] = clients.H2load.Version
	}
	return there, clients, nil
}

// benchPeers measures ours against each peer, and prints what it found.
func benchPeers(ctx context.Context, o peersOptions, stdout, stderr io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	d := &peersDocument{
		Commit: version(), Machine: load.Machine(), Pairs: o.pairs, Seconds: o.each.Seconds(), Log: o.log == "on", Idle: o.idle, Clients: make(map[string]string),
	}
	there, clients, err := o.find(ctx, d)
	if err != nil {
		return err
	}
	b, folder, err := o.bench()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	d.Memory = folder.Memory
	up, err := o.ready(ctx, b, &clients)
	if err != nil {
		return err
	}
	defer up.Stop()
	var all []*contest.Contest
	p := &progress{to: stderr}
	for _, peer := range there {
		c := o.contest(b, &clients, up, peer)
		c.Step = func(one contest.Case) { p.step("%s and %s: %v", ourName, peer.Name, one) }
		p.of += len(c.Suited())
		all = append(all, c)
	}
	fmt.Fprintf(stderr, "%d cases, %d x 2 x %v each: about %v\n", p.of, o.pairs, o.each, o.estimate(all).Round(10*time.Second))
	d.tell(stderr)
	for i, c := range all {
		rows, err := c.Measure(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.add(there[i].Name, rows)
		who := there[i].Name
		if start := new(contest.StartError); errors.As(err, &start) {
			who = start.Server
		}
		if err != nil {
			d.fail(who, err)
		}
		d.tell(stderr)
		if who == ourName {
			break // there is nothing to compare with
		}
	}
	d.finish()
	if o.output == "json" {
		err = printDocument(stdout, "bench-peers", d)
	} else {
		err = d.table(stdout)
	}
	if err != nil {
		return err
	}
	return d.write(&o)
}

// write writes the table down, if it was asked for and nothing failed. Its error says what did.
func (d *peersDocument) write(o *peersOptions) error {
	if len(d.Errors) > 0 {
		left := ""
		if o.readme != "" {
			left = "; " + o.readme + " is left as it was"
		}
		return fmt.Errorf("%w: %s, as said above%s", errMeasure, d.lacks(), left)
	}
	if o.readme == "" {
		return nil
	}
	return writeBetween(o.readme, peersMark, d.markdown(o.command()))
}

// lacks says how much has no figures: an error of a server alone is that of all its cases that have none.
func (d *peersDocument) lacks() string {
	var cases, servers int
	for _, e := range d.Errors {
		if e.Case != "" {
			cases++
		} else {
			servers++
		}
	}
	counted := func(n int, one, many string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, many)
	}
	switch {
	case servers == 0:
		return counted(cases, "case has", "cases have") + " no figures"
	case cases == 0:
		return counted(servers, "server was", "servers were") + " not measured to the end"
	}
	return counted(cases, "case has", "cases have") + " no figures, and " + counted(servers, "server was", "servers were") + " not measured to the end"
}

// command is how to make the same again.
func (o *peersOptions) command() string {
	words := []string{"bin/bench peers"}
	for _, f := range []struct {
		name, value string
		usual       bool
	}{
		{"only", strings.Join(o.only, ","), len(o.only) == 0},
		{"servers", strings.Join(o.servers, ","), len(o.servers) == 0},
		{"pairs", fmt.Sprint(o.pairs), o.pairs == enough},
		{"for", o.each.String(), o.each == 3*time.Second},
		{"connections", fmt.Sprint(o.idle), o.idle == 2000},
		{"log", o.log, o.log == "off"},
	} {
		if !f.usual {
			words = append(words, "--"+f.name+" "+f.value)
		}
	}
	return strings.Join(words, " ")
}
