package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/dns/server"
	"hither/edge/accesslog"
	"hither/edge/node"
	"hither/origin/gateway"
)

// nodeOptions are the flags of a node's process.
type nodeOptions struct {
	name, state, network string
	accessLog            string
	format               accesslog.Format
	level                ops.Level
	linkFD               int
	checks               []deploy.Check // of the role, beyond what the file itself shows
}

func nodeFlags(c *cobra.Command, o *nodeOptions) {
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "the node's name in the network file")
	f.StringVar(&o.state, "state", "", "state folder `DIR` of the node, with its identity, as hither fleet init makes it")
	f.StringVar(&o.network, "network", "", "network file (default: the last good one in the state folder)")
	f.Var(&o.level, "log-level", "debug, info, warn or error")
	f.IntVar(&o.linkFD, "link-fd", 0, "")
	f.MarkHidden("link-fd")
	c.MarkFlagRequired("name")
	c.MarkFlagRequired("state")
}

// checks are what the roles find in a network file beyond its own check.
var checks = []deploy.Check{node.Check, gateway.Check, server.Check}

func edgeCommand() *cobra.Command {
	o := nodeOptions{checks: []deploy.Check{node.Check}}
	c := &cobra.Command{
		Use:   "edge --name POP --state DIR",
		Short: "Run the edge node of one PoP",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runNode(c.Context(), o, "edge", newEdge) },
	}
	nodeFlags(c, &o)
	c.Flags().StringVar(&o.accessLog, "access-log", "-", "file for the access log; - is standard output, \"\" is none")
	c.Flags().Var(&o.format, "access-format", "json or combined")
	return c
}

func originCommand() *cobra.Command {
	o := nodeOptions{checks: []deploy.Check{gateway.Check}}
	c := &cobra.Command{
		Use:   "origin --name GATEWAY --state DIR",
		Short: "Run one gateway of an origin",
		Long:  "Run one gateway of an origin. The first of an origin has the origin's name.",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runNode(c.Context(), o, "origin", newOrigin) },
	}
	nodeFlags(c, &o)
	return c
}

func dnsCommand() *cobra.Command {
	o := nodeOptions{checks: []deploy.Check{server.Check}}
	c := &cobra.Command{
		Use:   "dns --name SERVER --state DIR",
		Short: "Run one DNS server of the network",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runNode(c.Context(), o, "dns", newDNS) },
	}
	nodeFlags(c, &o)
	return c
}

// A role is a node of some role, assembled.
type role interface {
	Run(context.Context) error
	Reload(*deploy.Network) error
	Refuse(error)
	Status() ops.Status
	Admin() *ops.Admin
	Metrics() prometheus.Registerer
}

// given is what every role is assembled from.
type given struct {
	o        nodeOptions
	network  *deploy.Network
	identity *fleet.Identity
	log      *slog.Logger
	access   *accesslog.Log // nil = none
	ready    func()
	goes     func() // to be called when it begins to drain
	fleet    *ops.Fleet
}

// runNode is the life of a node's process: its network file, its parts, its signals.
func runNode(ctx context.Context, o nodeOptions, roleName string, assemble func(given) (role, error)) error {
	node := roleName + "-" + o.name
	log := ops.NewLogger(os.Stderr, o.level, node)
	defer ops.Libraries(&ops.Limiter{Log: log})()
	identity, err := fleet.LoadIdentity(filepath.Join(o.state, "identity"))
	if err != nil {
		return usage("%v", err)
	}
	if identity.Role != roleName || identity.Name != o.name {
		return usage("the identity in %s is %s's, not %s's", o.state, identity.Peer, node)
	}
	p := newProcess(o, identity, log)
	if err := p.load(); err != nil {
		return err
	}
	access, err := openAccessLog(o, log)
	if err != nil {
		return err
	}
	if access != nil {
		defer access.Close()
	}
	link := openLink(o.linkFD)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	link.lifeline(cancel)
	if p.files.Network() == nil {
		if err := p.await(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	r, err := assemble(given{o, p.files.Network(), identity, log, access, link.ready, p.say, &p.fleet})
	if err != nil {
		return usage("%v", err)
	}
	p.take(r)
	reload := func() error {
		if access != nil {
			if err := access.Reopen(); err != nil {
				log.Warn("access log", "error", err)
			}
		}
		return p.reload()
	}
	return ops.Run(ctx, log, reload, p.run)
}

// openAccessLog opens what --access-log names.
func openAccessLog(o nodeOptions, log *slog.Logger) (*accesslog.Log, error) {
	limiter := &ops.Limiter{Log: log}
	c := accesslog.Config{Format: o.format, Fault: func(err error) { limiter.Warn("access log lines are lost", "error", err) }}
	switch o.accessLog {
	case "":
		return nil, nil
	case "-":
		c.Out = os.Stdout
	default:
		c.Path = o.accessLog
	}
	access, err := accesslog.Open(c)
	if err != nil {
		return nil, usage("--access-log: %v", err)
	}
	return access, nil
}

// A link is a node's end of the socket pair that `hither up` gave it. The zero link is
// that of a node which nobody waits for.
type link struct{ f *os.File }

func openLink(fd int) link {
	if fd == 0 {
		return link{}
	}
	return link{os.NewFile(uintptr(fd), "link")}
}

// ready tells the parent that the node answers.
func (l link) ready() {
	if l.f != nil {
		io.WriteString(l.f, "ready\n")
	}
}

// lifeline calls end when the parent is gone, however it went.
func (l link) lifeline(end func()) {
	if l.f == nil {
		return
	}
	go func() {
		bufio.NewReader(l.f).ReadByte()
		end()
	}()
}

func newEdge(g given) (role, error) {
	settings := g.network.EdgeOf(g.o.name)
	ops.LimitMemory(int64(settings.Cache.MemoryLimit))
	ops.PaceCollector()
	return node.New(node.Options{
		Name: g.o.name, State: g.o.state, Network: g.network, Identity: g.identity,
		Version: version(), Log: g.log, AccessLog: g.access, Ready: g.ready, Goes: g.goes, Fleet: g.fleet,
	})
}

func newOrigin(g given) (role, error) {
	return gateway.New(gateway.Options{
		Name: g.o.name, State: g.o.state, Network: g.network, Identity: g.identity,
		Version: version(), Log: g.log, Ready: g.ready, Fleet: g.fleet,
	})
}

func newDNS(g given) (role, error) {
	return server.New(server.Options{
		Name: g.o.name, State: g.o.state, Network: g.network, Identity: g.identity,
		Version: version(), Log: g.log, Ready: g.ready, Fleet: g.fleet,
	})
}

// commit is set by the Makefile.
var commit string

// version is the commit the program was built from, or the module's version.
func version() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
