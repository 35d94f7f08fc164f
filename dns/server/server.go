// Package server is the dns role assembled: an authoritative server for the network's zones, which answers names
// of sites with the PoPs best for each client.
//
// A question is read ([parse]), its zone found and its name looked up there (dns/zone). A steered name goes on: where is
// the client (dns/geo), which PoPs are up, which of them comes first (dns/steer). Nothing on this path waits: PoPs
// are probed, and targets of ALIAS records looked up, before anybody asks.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/prometheus/client_golang/prometheus"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/dns/geo"
)

// Options say which server this is and what it is given.
type Options struct {
	Name     string          // the server's name in the network file
	State    string          // the node's state folder
	Network  *deploy.Network // the file in use at start
	Identity *fleet.Identity // has the roots that PoPs are probed against
	Version  string          // of the program, for the status
	Log      *slog.Logger    // required
	// Fleet is what the process knows of the fleet, to be shown. Nil: files are counted, and there is no hub.
	Fleet *ops.Fleet
	Ready func() // called once, when questions are answered; optional
	Now   func() time.Time

	// Resolvers are asked for targets of ALIAS records outside our zones, as address:port. Nil: those of /etc/resolv.conf.
	Resolvers []string

	limits limits // a zero one is the usual
}

// A Server is a dns node. Run is called once; the other methods may be called concurrently with it.
type Server struct {
	o       Options
	life    ops.Life
	metrics *ops.Metrics
	count   counters
	admin   *ops.Admin
	page    *ops.Page
	udp     []*udpSocket
	tcp     []*tcpSocket
	prober  *prober
	aliases *aliases
	said    ops.Limiter   // what others say that is wrong is logged once
	drain   chan struct{} // closed when an operator says drain
	stopped chan struct{} // closed when the server has begun to end
	loops   sync.WaitGroup

	world atomic.Pointer[world] // what answers are made of; replaced whole

	mu       sync.Mutex // guards what follows, and makes Reload one step
	health   *health
	told     *told
	unkept   bool     // the drains are others than those in the state folder
	unfollow []func() // ends what Follow began
	revision int      // files taken since the process began; the fleet's number is in o.Fleet
	refused  string
	later    []string
}

// New assembles the server and binds its sockets. What cannot be had is one clear error, and nothing stays open.
func New(o Options) (_ *Server, err error) {
	conf := o.Network.Server(o.Name)
	if conf == nil {
		return nil, fmt.Errorf("dns: the network file has no server %q under `dns.servers`", o.Name)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Resolvers == nil {
		o.Resolvers = systemResolvers()
	}
	o.limits = o.limits.whole()
	s := &Server{o: o, revision: 1, said: ops.Limiter{Log: o.Log}, drain: make(chan struct{}), stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.metrics = ops.NewMetrics("dns-" + o.Name)
	s.count.register(s.metrics)
	o.Fleet.Watch(s.metrics)
	s.aliases = newAliases(o.Now, lookup(o.Resolvers), func(result string) { s.count.aliases.WithLabelValues(result).Inc() })
	roots, err := o.Identity.SiteRoots()
	if err != nil {
		return nil, err
	}
	s.prober = &prober{roots: roots, seen: s.probed, took: s.connected, running: make(map[target]context.CancelFunc)}
	w, err := newWorld(o.Network, o.Now())
	if err != nil {
		return nil, err
	}
	if o.Network.DNS.Geo.Database == "" && len(geo.Countries()) == 0 {
		o.Log.Warn("no client's place is known: this program has no table of countries, and `dns.geo` names no database")
	}
	for _, at := range bindAddresses(conf) {
		u, err := listenUDP(at, o.limits)
		if err != nil {
			return nil, err
		}
		s.udp = append(s.udp, u)
		t, err := listenTCP(at, o.limits)
		if err != nil {
			return nil, err
		}
		s.tcp = append(s.tcp, t)
	}
	s.take(w, func() {})
	s.recall()
	if err := s.operate(conf); err != nil {
		return nil, err
	}
	return s, nil
}

// systemResolvers are this machine's.
func systemResolvers() []string {
	conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range conf.Servers {
		out = append(out, net.JoinHostPort(a, conf.Port))
	}
	return out
}

// Run answers until ctx ends or an operator says drain, and then finishes what was asked.
func (s *Server) Run(ctx context.Context) error {
	for _, u := range s.udp {
		u.serve(s)
	}
	for _, t := range s.tcp {
		t.serve(s)
	}
	s.loops.Go(s.watch)
	s.loops.Go(s.remember)
	s.life.Advance(ops.Ready)
	s.o.Log.Info("ready", "addresses", bindAddresses(s.o.Network.Server(s.o.Name)))
	if s.o.Ready != nil {
		s.o.Ready()
	}
	select {
	case <-ctx.Done():
	case <-s.drain:
	}
	s.life.Advance(ops.Draining)
	s.o.Log.Info("draining")
	close(s.stopped)
	for _, u := range s.udp {
		u.finish()
	}
	for _, t := range s.tcp {
		t.finish()
	}
	s.loops.Wait()
	s.close()
	s.life.Advance(ops.Down)
	s.o.Log.Info("down")
	return nil
}

// Reload takes a new network file while serving: the next question is answered from it. On an error nothing has
// changed.
func (s *Server) Reload(network *deploy.Network) error {
	conf := network.Server(s.o.Name)
	if conf == nil {
		return fmt.Errorf("dns: the new network file has no server %q; it keeps running on the old one", s.o.Name)
	}
	w, err := newWorld(network, s.o.Now())
	if err != nil {
		return err
	}
	s.take(w, func() {
		s.later = restartNeeded(s.o.Network.Server(s.o.Name), conf)
		s.refused = ""
		s.revision++
		s.o.Log.Info("network file taken", "at_next_start", s.later)
	})
	return nil
}

// take makes w what questions are answered from, and probes and looks up what it names. All of it, and what note
// does, is one step: of two files taken at once, one is in use after both.
func (s *Server) take(w *world, note func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health = s.health.of(w.network, w.targets)
	var own []netip.Addr
	if conf := w.network.Server(s.o.Name); conf != nil {
		own = conf.Addresses
	}
	s.told = s.told.of(w, s.o.Name, own, s.o.Now(), s.count.moved)
	s.publish(w)
	s.prober.set(w.targets)
	s.aliases.set(w.aliases)
	note()
}

// Refuse notes why a network file offered was not taken.
func (s *Server) Refuse(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = why.Error()
}

// Admin is where the node answers its operator.
func (s *Server) Admin() *ops.Admin { return s.admin }

// Metrics takes what else the node's page of metrics is to show.
func (s *Server) Metrics() prometheus.Registerer { return s.metrics }

// close releases everything; what was never opened is left out.
func (s *Server) close() {
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, u := range s.udp {
		u.conn.Close()
	}
	for _, t := range s.tcp {
		t.finish()
	}
	s.mu.Lock()
	for _, end := range s.unfollow {
		end()
	}
	s.unfollow = nil
	s.mu.Unlock()
	if s.prober != nil {
		s.prober.close()
	}
	if s.aliases != nil {
		s.aliases.close()
	}
	if s.page != nil {
		s.page.Close(soon)
	}
	if s.admin != nil {
		s.admin.Close(soon)
	}
}
