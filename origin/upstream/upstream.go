// Package upstream sends each request to one of several instances, as an http.RoundTripper: it lets the request in
// (origin/limit), chooses the instance (origin/balance), sends it over that instance's connections (a [Sender], as a rule
// an origin/pool), judges the answer, and tries another one where a table of reasons allows it.
package upstream

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"hither/origin/balance"
	"hither/origin/health"
	"hither/origin/limit"
)

// Config says where requests go and what happens when that fails. Zero fields take the default in brackets.
type Config struct {
	Origin string // its name, in errors and log; required
	Node   string // the name of this node, in errors and log; may be empty

	// Instances at the start; Set changes them.
	Instances []Instance

	// Sender makes the connections to an instance when it joins; they are drained when it has gone. Required.
	Sender func(Instance) (Sender, error)

	Balance  balance.Config // Now is taken from below
	Affinity Affinity
	Retry    Retry

	Limit *limit.Config // how many requests at once, and who waits; nil = no limit
	Check *health.Check // active checks of instances; nil = none

	// Linger is how long an instance that has gone may finish what it has; then its connections are cut. [5m]
	Linger time.Duration

	Now func() time.Time // [time.Now]
	Log *slog.Logger     // [nowhere]
}

// Sender carries requests to one instance. *pool.Pool is one. Errors of RoundTrip and of bodies are *pool.Error. One with a
// method Up() bool, which says false where no connection is open and none could be made of late, is asked last for what another
// one could not be connected to for.
type Sender interface {
	http.RoundTripper

	// Drain refuses new requests, waits for those in flight or for ctx, and closes.
	Drain(ctx context.Context) error

	// Close closes at once.
	Close() error
}

// Instance is one server that can answer.
type Instance struct {
	ID       string      // host:port, or a gateway's name: label, key, and what explanations say
	URL      *url.URL    // scheme and address: what senders dial and checks ask
	TLS      *tls.Config // for https: whom we show and accept
	Protocol string      // h1, h2, h2c or h3, as origin/pool has them; "" = h1 for http, h2 for https
	Weight   int         // see balance.Instance
	Group    int
}

// Affinity keeps a client with one instance.
type Affinity struct {
	Cookie    string        // name of the cookie that is set and read; "" = none
	Key       []byte        // hides the instance in the cookie; all nodes with the same instances need the same [the origin's name]
	Header    string        // name of the request field whose value chooses; "" = none
	Rebalance time.Duration // how long the cookie may hold a client; 0 = as long as the instance is well
}

// Retry bounds further attempts of one request.
type Retry struct {
	Attempts int           // further ones for one request; negative = none [2]
	Percent  int           // of the requests of the last ten seconds that may be retried or hedged, and 10 in any case; negative = none [20]
	Statuses []int         // answers after which an idempotent request without content goes elsewhere; nil = [502, 503, 504], empty = none
	Hedge    time.Duration // a safe request without a first byte after this long is sent to a second instance too; 0 = never
}
