// Package node is one PoP assembled: sockets, certificates, the request path, its cache
// and the pools of connections to the origins, from start over ready to drained.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hither/cache"
	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/edge/accesslog"
	"hither/edge/cert"
	"hither/edge/listen"
	"hither/edge/proxy"
	"hither/origin/upstream"
)

// Options say which PoP a node is and what it is given.
type Options struct {
	Name      string          // the PoP's name in the network file
	State     string          // the node's state folder, which has its certificates
	Network   *deploy.Network // the file in use at start
	Identity  *fleet.Identity // what the node proves itself with towards origins
	Version   string          // of the program, for the status
	Log       *slog.Logger    // required
	AccessLog *accesslog.Log  // optional; its owner closes it
	// Fleet is what the process knows of the fleet, to be shown. Nil: files are counted, and there is no hub.
	Fleet *ops.Fleet
	// Ready is called once, when clients are answered. Optional.
	Ready func()
	// Goes is called once, when the node begins to drain, and must not wait for anything. Optional.
	Goes func()
	// Now is the clock of cache and tickets. Default time.Now.
	Now func() time.Time
}

// A Node is an edge node. Run is called once; the other methods may be called
// concurrently with it.
type Node struct {
	o       Options
	edge    deploy.Edge
	life    ops.Life
	metrics *ops.Metrics
	count   *metrics
	tally   tally
	ways    ways // to clients
	admin   *ops.Admin
	page    *ops.Page
	store   cache.Store
	kept    bool      // something was on disk at the start
	began   time.Time // by the process's clock
	orders  orderLog
	cache   *cache.Cache
	proxy   *proxy.Proxy
	names   *cert.Names
	front   *listen.Front
	inner   *listen.Front // for other PoPs; nil where the PoP is no shield
	drain   chan struct{} // closed when an operator says drain
	warming chan struct{} // one for each request of Warm
	leaving atomic.Bool   // it drains; as life has it, for the request path

	told     chan struct{} // closed when an operator says that no client is sent here any more
	toldOnce sync.Once

	journal atomic.Pointer[journalOf] // nil: the node has no part in one

	mu       sync.Mutex // guards what follows, and serialises Reload
	network  *deploy.Network
	revision int // files taken since the process began; the fleet's number is in o.Fleet
	refused  string
	later    []string // settings changed in the file that need a new start
	pairs    cert.Pairs
	origins  map[string]*origin
}

// New assembles the node and binds its sockets. What cannot be had is one clear error,
// and nothing stays open.
func New(o Options) (_ *Node, err error) {
	pop := o.Network.PoP(o.Name)
	if pop == nil {
		return nil, fmt.Errorf("node: the network file has no PoP %q", o.Name)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := &Node{
		o: o, edge: o.Network.EdgeOf(o.Name), drain: make(chan struct{}), told: make(chan struct{}), warming: make(chan struct{}, warmAtOnce),
		network: o.Network, revision: 1, began: time.Now(),
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	n.metrics = ops.NewMetrics("edge-" + o.Name)
	n.count = newMetrics(n.metrics)
	var epoch uint64
	if n.store, epoch, err = n.newStore(); err != nil {
		return nil, err
	}
	// A fill may be as large as the store: it may take seven eighths of Filling. What slow clients alone keep alive gets a quarter.
	// Where nothing is stored, fills have what a Config gives them.
	memory := int64(n.edge.Cache.Memory)
	n.cache = cache.New(cache.Config{Store: n.store, Filling: memory + (memory+6)/7, Loose: memory / 4, Now: o.Now, Epoch: epoch})
	if n.origins, err = n.makeOrigins(o.Network, nil); err != nil {
		return nil, err
	}
	table, err := n.table(o.Network)
	if err != nil {
		return nil, err
	}
	tickets := cert.NewTickets(0, o.Now)
	n.names = cert.NewNames(table, tickets)
	if err := n.listen(pop); err != nil {
		return nil, err
	}
	watchCache(n.metrics, n.cache, n.store)
	watchEncoding(n.metrics, n.proxy)
	watchTickets(n.metrics, tickets)
	n.metrics.MustRegister(originCollector{n})
	if o.AccessLog != nil {
		watchLog(n.metrics, o.AccessLog)
	}
	o.Fleet.Watch(n.metrics)
	n.expiries()
	return n, n.operate(pop)
}

// listen binds the sockets in front of the request path.
func (n *Node) listen(pop *deploy.PoP) error {
	https := addresses(pop, n.edge.Listen.HTTPS)
	hooks := n.tally.hooks(n.count)
	hooks.RTT = n.ways.heard
	n.proxy = proxy.New(proxy.Config{
		Node: n.o.Name, CDN: n.o.Network.CDNID, Cache: n.cache, Sites: sitesOf(n.o.Network, pop, n.origins), AltSvc: altSvc(n.edge.Listen.Public),
		Port: n.edge.Listen.Public, Trusted: n.edge.Trusted, Now: n.o.Now, End: n.ended,
		Draining: n.leaving.Load, Background: upstream.Background,
	})
	front, err := listen.Listen(listen.Config{
		HTTPS: https, QUIC: https, HTTP: addresses(pop, n.edge.Listen.HTTP),
		Handler: n.tally.around(n.proxy), Plain: n.tally.around(redirect{n.proxy}), TLS: n.names.Config,
		ProxyProtocol: n.edge.Listen.ProxyProtocol, Limits: limits(n.edge.Limits), Logger: n.o.Log, Hooks: hooks,
	})
	n.front = front
	if err != nil {
		return err
	}
	return n.listenInner(pop)
}

// operate opens what the operator uses.
func (n *Node) operate(pop *deploy.PoP) (err error) {
	admin := ops.NewAdmin()
	admin.Handle("GET /v1/status", n.statusCall)
	admin.Handle("POST /v1/drain", n.drainCall)
	admin.Handle("POST /v1/explain/request", n.explainCall)
	admin.Handle("GET /v1/explain/origin", n.explainOriginCall)
	admin.Handle("POST /v1/purge", n.purgeCall)
	admin.Handle("POST /v1/warm", n.warmCall)
	if err := admin.Open(n.o.State); err != nil {
		return err
	}
	n.admin = admin
	if port := n.edge.Listen.Metrics; port != 0 {
		addr := netip.AddrPortFrom(n.edge.Listen.MetricsAddress, uint16(port))
		n.page, err = ops.OpenPage(addr.String(), "edge-"+n.o.Name, &n.life, n.metrics)
	}
	return err
}

// ended takes a finished exchange. What was asked about the node itself is no traffic: DNS servers ask every few seconds,
// and each would stand in every log.
func (n *Node) ended(x *proxy.Exchange) {
	if x.Self {
		n.count.probes.Inc()
		n.tally.probed()
		return
	}
	n.count.count(x)
	n.tally.count(x)
	if n.o.AccessLog != nil {
		n.o.AccessLog.Write(x)
	}
}

// warmTime is how long a starting node waits for its origins before it serves without
// them: what is stored, and stale answers, need no origin.
const warmTime = 3 * time.Second

// Run serves until ctx ends or an operator says drain, and then drains: first it says so to whoever asks about the node, and goes on
// as before until no client can be sent here any more; then it sends its clients away.
func (n *Node) Run(ctx context.Context) error {
	served := n.serve()
	meter, stopMeter := context.WithCancel(context.Background())
	defer stopMeter()
	go n.tally.meter(meter)
	n.warm(ctx)
	n.life.Advance(ops.Ready)
	n.o.Log.Info("ready", "https", n.front.HTTPS(), "http", n.front.HTTP(), "quic", n.front.QUIC(), "inner", n.innerAddresses())
	if n.o.Ready != nil {
		n.o.Ready()
	}
	var err error
	var notice time.Duration
	select {
	case <-ctx.Done():
		notice = n.farewell(ctx)
	case <-n.drain:
		notice = n.notice()
	case err = <-served:
		n.o.Log.Error("serving ended", "error", err)
	}
	err = errors.Join(err, n.takeLeave(ctx, notice))
	n.close()
	n.life.Advance(ops.Down)
	n.o.Log.Info("down")
	return err
}

// warm opens the connections to the origins.
func (n *Node) warm(ctx context.Context) {
	n.life.Expect("connections to the origins")
	ctx, cancel := context.WithTimeout(ctx, warmTime)
	defer cancel()
	n.mu.Lock()
	origins := slices.Collect(maps.Values(n.origins))
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, x := range origins {
		wg.Go(func() {
			if err := x.warm(ctx); err != nil {
				n.o.Log.Warn("an origin does not answer; serving what is stored", "error", err)
			}
		})
	}
	wg.Wait()
}

// close releases everything; what was never opened is left out.
func (n *Node) close() {
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, f := range n.fronts() {
		f.Close()
	}
	if n.proxy != nil {
		n.proxy.Close()
	}
	n.mu.Lock()
	for _, x := range n.origins {
		x.close()
	}
	n.mu.Unlock()
	if n.page != nil {
		n.page.Close(soon)
	}
	if n.admin != nil {
		n.admin.Close(soon)
	}
	n.closeStore()
}

// Admin is where the node answers its operator.
func (n *Node) Admin() *ops.Admin { return n.admin }

// Metrics takes what else the node's page of metrics is to show.
func (n *Node) Metrics() prometheus.Registerer { return n.metrics }

// certsFolder is where a node's certificates lie.
func (n *Node) certsFolder() string { return filepath.Join(n.o.State, "certs") }
