package ops

// Status is the document "status", which `hither status` prints. A node's own socket answers with the one
// node; the command joins what several answered.
type Status struct {
	Network  string       `json:"network"`
	Revision int          `json:"revision"` // the newest that any of the nodes runs
	Hub      Hub          `json:"hub"`
	Nodes    []NodeStatus `json:"nodes"`
}

// Hub is a node's connection to the fleet's hub.
type Hub struct {
	Connected bool `json:"connected"`
}

// NodeStatus is one node. What a role does not have, or what was not measured, is
// absent.
type NodeStatus struct {
	Node     string  `json:"node"` // ROLE-NAME
	Role     string  `json:"role"`
	PoP      string  `json:"pop,omitempty"`
	PID      int     `json:"pid"`
	Version  string  `json:"version"`
	State    State   `json:"state"`
	Revision int     `json:"revision"`       // the fleet's number of the network file in use; 0 where it came from a file and has none
	Hash     string  `json:"hash,omitempty"` // of that file
	Refused  *string `json:"refused"`        // why the last network file offered was not taken; null when it was
	Load     float64 `json:"load,omitempty"` // 1.0 = full

	RequestsTotal int64            `json:"requests_total"`
	HitsTotal     int64            `json:"hits_total"`
	BytesTotal    int64            `json:"bytes_total"` // content sent to clients
	Connections   map[string]int64 `json:"connections"` // by protocol
	FirstByte     *Quantiles       `json:"first_byte_ms,omitempty"`

	Origins      []OriginStatus      `json:"origins,omitempty"`
	ShieldOf     []string            `json:"shield_of,omitempty"` // origins from which other PoPs fetch through this one
	Certificates []CertificateStatus `json:"certificates,omitempty"`
	Problems     []string            `json:"problems"` // one line each, for people
}

// Quantiles are of the last requests, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// OriginStatus is a node's pool of connections to an origin.
type OriginStatus struct {
	Origin          string `json:"origin"`
	Connections     int    `json:"connections"`
	HandshakesTotal uint64 `json:"handshakes_total"`
	RequestsTotal   uint64 `json:"requests_total"`
	Up              bool   `json:"up"`
}

// CertificateStatus is a name's certificate as the node serves it.
type CertificateStatus struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"` // local, acme or file
	DaysLeft int    `json:"days_left"`
}
