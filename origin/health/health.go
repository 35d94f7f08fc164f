// Package health asks instances at intervals whether they are well, and reports who changed: by a GET, a TCP connection,
// or the gRPC health service.
//
// Checks have brought down more than they saved where they were careless, so: an instance is down only after several
// failures in a row, a check that times out while requests are answered says nothing, each instance gets one check at a
// time, over a connection of the check's own, and the moments of checks are drawn by chance, so that those of many nodes
// do not come together. The package opens sockets to the instances and to nothing else: no proxy of the environment, no
// redirect followed.
package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Check says what is asked and what counts as well.
type Check struct {
	Type     string        // http, tcp or grpc; "" = http
	Path     string        // http: path and query of the GET; "" = /
	Host     string        // http, grpc: the Host field or :authority; "" = the instance's
	Status   int           // http: the status wanted; 0 = any from 200 to 399
	Body     string        // http: what the first 64 KiB of the content must contain; "" = anything
	Service  string        // grpc: the service asked for; "" = the server as a whole
	Interval time.Duration // between two checks of an instance, give or take a tenth; 0 = 5 s
	Timeout  time.Duration // of one check, at most the interval; 0 = 2 s, or the interval where that is less
	Fall     int           // failures in a row after which an instance is down; 0 = 3
	Rise     int           // passes in a row after which it is up again; 0 = 2

	// ProxyProtocol is v1 or v2 where instances want a header of the PROXY protocol first: a check's says that the connection
	// is the checker's own (UNKNOWN, LOCAL). "" = none.
	ProxyProtocol string
}

// Target is an instance to ask.
type Target struct {
	ID  string      // its name in reports
	URL *url.URL    // http or https, and its address; path and query are not used
	TLS *tls.Config // for https: whom we show and accept, with the server name; nil = the system's roots
	H2  bool        // http: HTTP/2 without TLS, by prior knowledge (RFC 9113 section 3.3); gRPC is that anyway
}

// Options are what a Checker tells and asks. All may be nil.
type Options struct {
	// Report is called when an instance went down or came up, from one goroutine at a time for an instance. Until its first
	// report an instance is up.
	Report func(id string, up bool, why string)

	// Alive says whether requests to the instance had good answers lately and no bad one.
	Alive func(id string) bool

	// Now is the clock of Status. nil = time.Now.
	Now func() time.Time

	// Log is told what Report is told.
	Log *slog.Logger
}

// Checker asks. It is safe for concurrent use.
type Checker struct {
	check Check
	opt   Options
	gate  chan struct{} // checks under way
	probe func(context.Context, *instance) error
	work  sync.WaitGroup

	mu        sync.Mutex
	ctx       context.Context // Run's; nil before
	ended     bool            // Run waits for the loops: none is begun any more
	instances map[string]*instance
}

// together is how many checks are under way at once.
const together = 16

// instance is a Target and what is known of it.
type instance struct {
	Target
	client *http.Client       // its loop's
	stop   context.CancelFunc // ends its loop; nil = none runs
	status Status             // guarded by Checker.mu
}

// Status is what is known of one instance.
type Status struct {
	ID           string
	Up           bool
	Why          string    // the last failure; "" = none since it is up
	Last         time.Time // of the last check's end; zero = none yet
	Passes       int       // in a row
	Fails        int       // in a row
	PassTotal    uint64
	FailTotal    uint64
	TimeoutTotal uint64 // those that did not count included
	ExcusedTotal uint64 // timeouts that did not count, as requests were answered
}

// New checks check. All mistakes of it are in the error.
func New(check Check, opt Options) (*Checker, error) {
	var wrong []error
	bad := func(format string, a ...any) { wrong = append(wrong, fmt.Errorf("health: "+format, a...)) }
	or(&check.Type, "http")
	or(&check.Path, "/")
	or(&check.Interval, 5*time.Second)
	or(&check.Timeout, min(2*time.Second, check.Interval))
	or(&check.Fall, 3)
	or(&check.Rise, 2)
	if !slices.Contains([]string{"http", "tcp", "grpc"}, check.Type) {
		bad("type %q is none of http, tcp, grpc", check.Type)
	}
	if _, err := url.ParseRequestURI(check.Path); err != nil || !strings.HasPrefix(check.Path, "/") {
		bad("%q is no path", check.Path)
	}
	if check.Status != 0 && (check.Status < 200 || check.Status > 599) {
		bad("no final response has the status %d", check.Status)
	}
	if check.Interval < 0 || check.Timeout < 0 || check.Timeout > check.Interval {
		bad("the timeout of %v is not within the interval of %v", check.Timeout, check.Interval)
	}
	if check.Fall < 0 || check.Rise < 0 {
		bad("fall %d and rise %d are not both positive", check.Fall, check.Rise)
	}
	if !slices.Contains([]string{"", "v1", "v2"}, check.ProxyProtocol) {
		bad("PROXY protocol %q is neither v1 nor v2", check.ProxyProtocol)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	if opt.Report == nil {
		opt.Report = func(string, bool, string) {}
	}
	if opt.Alive == nil {
		opt.Alive = func(string) bool { return false }
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Checker{check: check, opt: opt, gate: make(chan struct{}, together), instances: map[string]*instance{}}
	c.probe = map[string]func(context.Context, *instance) error{"http": c.http, "tcp": c.tcp, "grpc": c.grpc}[check.Type]
	return c, nil
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Set says who is asked from now on. Who stays, by ID, keeps what is known of it; who is gone is reported no more.
func (c *Checker) Set(targets []Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := map[string]*instance{}
	for _, t := range targets {
		old := c.instances[t.ID]
		if old != nil && old.same(t) {
			now[t.ID] = old
			delete(c.instances, t.ID)
			continue
		}
		in := &instance{Target: t, client: c.client(t), status: Status{ID: t.ID, Up: true}}
		if old != nil {
			in.status = old.status
		}
		now[t.ID] = in
	}
	for _, gone := range c.instances {
		if gone.stop != nil {
			gone.stop()
		}
	}
	c.instances = now
	c.start()
}

func (i *instance) same(t Target) bool {
	return i.URL.String() == t.URL.String() && i.TLS == t.TLS && i.H2 == t.H2
}

// Run asks until ctx ends, and returns when nothing is under way any more. Call it once.
func (c *Checker) Run(ctx context.Context) {
	c.mu.Lock()
	c.ctx = ctx
	c.start()
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.work.Wait()
}

// start begins the loops of instances that have none.
func (c *Checker) start() {
	if c.ctx == nil || c.ended {
		return
	}
	for _, in := range c.instances {
		if in.stop == nil {
			var ctx context.Context
			ctx, in.stop = context.WithCancel(c.ctx)
			c.work.Go(func() { c.loop(ctx, in) })
		}
	}
}

// Status is what is known of all instances, in the order of their IDs.
func (c *Checker) Status() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Status
	for _, in := range c.instances {
		all = append(all, in.status)
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.ID, b.ID) })
	return all
}
