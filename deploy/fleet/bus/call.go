package bus

import "encoding/json"

// A Call is a request to a node's admin socket that comes over the bus, at [CallSubject].
type Call struct {
	Method string          `json:"method"` // GET or POST
	Path   string          `json:"path"`   // such as /v1/status, with its query
	Body   json.RawMessage `json:"body,omitempty"`
}

// An Answer is what a node, or the control, answers a request with.
type Answer struct {
	Status int             `json:"status"`          // of HTTP
	Error  string          `json:"error,omitempty"` // where Status is not 2xx
	Doc    json.RawMessage `json:"doc,omitempty"`
}
