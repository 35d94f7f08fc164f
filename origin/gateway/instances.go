package gateway

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

var errNoInstance = errors.New("gateway: no instance takes requests")

// Instance is one HTTP server of an application.
type Instance struct {
	URL    *url.URL // scheme and host; its path is not used
	Weight int      // share of the requests of its group; 0 takes no new request
	Group  int      // a higher one is used when no instance of the lower ones can be reached
}

// InstanceLimits bound what an instance may cost. A zero field takes the default in brackets.
type InstanceLimits struct {
	Connect       time.Duration // TCP and TLS, each [2s]
	FirstByte     time.Duration // from the end of the request to the response's header [29s]
	BodyIdle      time.Duration // silence in the middle of a body [30s]
	HeaderBytes   int64         // of a response's header [64 KiB]
	Informational int           // 1xx responses before the final one [16]
}

// Instances is an http.RoundTripper that takes the instances in turn, each as often as its weight says, and the next one
// when one cannot be connected to and the request has no body. Connections are kept for later requests.
type Instances struct {
	limits    InstanceLimits
	transport *http.Transport

	mu   sync.Mutex
	turn []turn // by group, the lowest first
}

// turn is an instance with its place in the order: smooth weighted round robin, which spreads a heavy one out.
type turn struct {
	Instance
	credit int
}

// NewInstances makes the round tripper. Close it when it is not used any more.
func NewInstances(list []Instance, limits InstanceLimits) *Instances {
	for _, d := range []struct{ v, def *time.Duration }{
		{&limits.Connect, new(2 * time.Second)}, {&limits.FirstByte, new(29 * time.Second)}, {&limits.BodyIdle, new(30 * time.Second)},
	} {
		*d.v = cmp.Or(*d.v, *d.def)
	}
	limits.HeaderBytes, limits.Informational = cmp.Or(limits.HeaderBytes, 64<<10), cmp.Or(limits.Informational, 16)
	in := &Instances{limits: limits}
	for _, i := range list {
		if i.Weight > 0 {
			in.turn = append(in.turn, turn{Instance: i})
		}
	}
	slices.SortStableFunc(in.turn, func(a, b turn) int { return cmp.Compare(a.Group, b.Group) })
	dialer := net.Dialer{Timeout: limits.Connect}
	in.transport = &http.Transport{ // no Proxy: the environment has no say in where requests go
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &turnConn{Conn: c}, nil
		},
		TLSHandshakeTimeout:    limits.Connect,
		ResponseHeaderTimeout:  limits.FirstByte,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        time.Minute,
		MaxIdleConns:           1024,
		MaxIdleConnsPerHost:    256,
		MaxResponseHeaderBytes: limits.HeaderBytes,
		DisableCompression:     true, // what the application encoded is passed on as it is
		Protocols:              new(http.Protocols),
	}
	in.transport.Protocols.SetHTTP1(true)
	return in
}

// Close closes the connections that no request uses.
func (in *Instances) Close() { in.transport.CloseIdleConnections() }

// RoundTrip sends req to the instance whose turn it is.
func (in *Instances) RoundTrip(req *http.Request) (*http.Response, error) {
	order := in.order()
	if len(order) == 0 {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errNoInstance
	}
	var err error
	for _, u := range order {
		var res *http.Response
		if res, err = in.send(req, u); err == nil {
			return res, nil
		}
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" || req.Body != nil && req.Body != http.NoBody || req.Context().Err() != nil {
			break
		}
	}
	return nil, err
}

// order is the instances as they are to be tried: first the one whose turn it is, then the others of its group, then the
// higher groups.
func (in *Instances) order() []*url.URL {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.turn) == 0 {
		return nil
	}
	first, total := 0, 0
	for i := range in.turn {
		t := &in.turn[i]
		if t.Group != in.turn[0].Group {
			break
		}
		t.credit += t.Weight
		total += t.Weight
		if t.credit > in.turn[first].credit {
			first = i
		}
	}
	in.turn[first].credit -= total
	order := []*url.URL{in.turn[first].URL}
	for i, t := range in.turn {
		if i != first {
			order = append(order, t.URL)
		}
	}
	return order
}
