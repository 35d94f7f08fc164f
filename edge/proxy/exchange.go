package proxy

import (
	"net/http"
	"net/netip"
	"time"

	"hither/cache"
)

// An Exchange is one request and its response, as the log line and the counters will
// tell it. It belongs to the goroutine that serves the request and is complete when
// Config.End receives it; it is not valid after End returns.
type Exchange struct {
	Start  time.Time  // when the request's field section was complete
	Node   string     // the node's name
	Site   string     // the site's name; "" where none was found
	Origin string     // the origin that was asked; "" where none was
	Client netip.Addr // the peer's address, or what a trusted proxy said of it

	Proto    string // "h1", "h2", "h3"
	TLS      string // "1.2", "1.3"; "" for plain HTTP
	Early    bool   // arrived as early data (RFC 8470)
	Inner    bool   // another PoP of the network asks, for which this one is the origin's shield
	Self     bool   // about this node and no site's content: OPTIONS with Max-Forwards 0 (RFC 9110 section 7.6.2)
	Method   string
	Host     string // the authority as the client sent it
	Target   string // path and query as the client sent them
	Referer  string
	Agent    string // User-Agent
	Protocol string // "HTTP/1.1", "HTTP/2.0", "HTTP/3.0", for the combined format

	Status  int           // final status sent; 0 where the connection ended before one
	Verdict cache.Verdict // what the cache did
	Reason  cache.Reason  // why; "" where the verdict says it all
	Fault   error         // what went wrong at the origin or here; nil where nothing did

	Coding cache.Coding // of content that this node encoded; Identity where it sent what it had from the origin, or nothing

	BytesIn   int64         // request content read
	BytesOut  int64         // response content written
	FirstByte time.Duration // from Start to the final status line
	Total     time.Duration // from Start to the end
	Wait      time.Duration // from the request to the origin to its field section; 0 where none was asked

	w        http.ResponseWriter
	r        *http.Request
	content  content   // the request's, where it has any
	upstream int       // the origin's status; 0 where it gave none
	stale    bool      // something stale was stored when the origin was asked
	demanded bool      // something fresh was, which the request did not want as it is
	variant  bool      // other variants are stored
	partial  bool      // something fresh was stored that lies in slices, and not all of those that are wanted
	astray   error     // slices of one version could not be had, and nothing was sent
	encoding encoding  // of a response that streams
	keyed    bool      // the client may be told the key, and wants it
	key      cache.Key // of what answers, or was looked up
}

// found notes what was stored when the request was looked up.
func (x *Exchange) found(l cache.Look, demand cache.Demand) {
	x.key = l.Key
	if x.astray != nil { // why the origin was asked at first is why it still is
		return
	}
	x.stale, x.variant, x.demanded = l.Object != nil, l.Key.Vary != "", l.Why(demand) != ""
}
