package accesslog

import "time"

// A Line is the JSON form of an exchange. Members that were not measured, or that mean
// nothing for the exchange, are absent and never 0 or "". What the client sent stands in
// host, target, referer and user_agent as it came, each cut after 4096 bytes.
type Line struct {
	Time   time.Time `json:"time"`             // when the request's field section was complete; RFC 3339, UTC, µs
	Node   string    `json:"node"`             // the node's name
	Site   string    `json:"site,omitempty"`   // the site's name in the network file; absent where the host is of none
	Origin string    `json:"origin,omitempty"` // the origin that was asked; absent where none was
	Client string    `json:"client,omitempty"` // IP address, as the site's trusted proxies tell it

	Proto     string `json:"proto"`         // h1, h2, h3
	TLS       string `json:"tls,omitempty"` // 1.2, 1.3; absent for plain HTTP
	Early     bool   `json:"early,omitempty"`
	Inner     bool   `json:"inner,omitempty"` // another PoP sent it here, and has a line of its own for the client
	Method    string `json:"method"`
	Host      string `json:"host,omitempty"`
	Target    string `json:"target"` // path and query
	Referer   string `json:"referer,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	Cut       bool   `json:"cut,omitempty"` // one of the client's strings is longer than what stands here

	Status  int    `json:"status,omitempty"` // sent to the client; absent where the connection ended before
	Verdict string `json:"verdict"`          // what the cache did: hit stale updating revalidated miss expired bypass refused error
	Reason  string `json:"reason,omitempty"` // why, in one word
	Error   string `json:"error,omitempty"`  // what went wrong, for people

	RequestBytes  int64 `json:"request_bytes"`  // content read from the client
	ResponseBytes int64 `json:"response_bytes"` // content written to the client

	FirstByteMS  *float64 `json:"first_byte_ms,omitempty"`  // from time to the status line; absent where none was sent
	OriginWaitMS *float64 `json:"origin_wait_ms,omitempty"` // from the request to the origin to its status; absent where none was asked
	TotalMS      float64  `json:"total_ms"`                 // from time to the end
}
