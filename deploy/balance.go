package deploy

// Balance is how a gateway chooses the instance for a request.
type Balance struct {
	// Algorithm that chooses. Default p2c-ewma: of two instances drawn at random the one with the lower latency times requests in flight.
	Algorithm string `yaml:"algorithm" jsonschema:"enum=p2c-ewma,enum=round-robin,enum=weighted-round-robin,enum=least-requests,enum=random,enum=weighted-response-time,enum=maglev,enum=bounded-hash"`

	// Affinity keeps a client with one instance. Optional.
	Affinity *Affinity `yaml:"affinity"`

	// Health asks every instance at intervals whether it is well. Optional: without it, only requests tell.
	Health *Health `yaml:"health"`

	// Eject takes an instance out that fails requests.
	Eject Eject `yaml:"eject"`

	// SlowStart is how long an instance that is new or back takes to reach its full share. Default 10s; 0s = at once.
	SlowStart Duration `yaml:"slow_start"`

	// Rebalance is how long affinity may hold a client to an instance before it is chosen anew. Default 0s = as long as the instance is well.
	Rebalance Duration `yaml:"rebalance"`

	// Expect declares what a good answer is, so that a server which fails fast does not win.
	Expect Expect `yaml:"expect"`
}

// Affinity keeps a client with one instance, by a cookie or by a request field: one
// of the two.
type Affinity struct {
	// Cookie is the name of a cookie that the gateway sets and reads.
	Cookie string `yaml:"cookie"`

	// Header is the name of a request field whose value chooses the instance.
	Header string `yaml:"header"`
}

// Health is an active check of instances.
type Health struct {
	// Type of the check: http (a GET), tcp (a connection), grpc (the gRPC health service). Default http.
	Type string `yaml:"type" jsonschema:"enum=http,enum=tcp,enum=grpc"`

	// Path that an http check asks for. Default /.
	Path string `yaml:"path"`

	// Status that an http check wants. Default 0 = any from 200 to 399.
	Status int `yaml:"status" jsonschema:"minimum=0,maximum=599"`

	// Host is the Host field of an http check and the :authority of a grpc one. Default: that of the instance's URL.
	Host string `yaml:"host"`

	// Body that the answer of an http check must contain. Default: any.
	Body string `yaml:"body"`

	// Service that a grpc check asks for. Default: the server as a whole.
	Service string `yaml:"service"`

	// Interval between checks of one instance. Default 5s.
	Interval Duration `yaml:"interval" check:"positive"`

	// Timeout of one check; at most the interval. Default 2s.
	Timeout Duration `yaml:"timeout" check:"positive"`

	// Fall is how many checks in a row must fail before an instance counts as down. Default 3.
	Fall int `yaml:"fall" jsonschema:"minimum=1,maximum=100"`

	// Rise is how many checks in a row must pass before it counts as up again. Default 2.
	Rise int `yaml:"rise" jsonschema:"minimum=1,maximum=100"`
}

// Eject takes an instance out for a time when its requests fail.
type Eject struct {
	// Consecutive failures that eject an instance. Default 5; 0 = never.
	Consecutive int `yaml:"consecutive" jsonschema:"minimum=0"`

	// Time that the first ejection lasts; it doubles with each further one. Default 10s.
	Time Duration `yaml:"time" check:"positive"`

	// MaxTime is the longest an ejection lasts. Default 5m.
	MaxTime Duration `yaml:"max_time" check:"positive"`

	// MaxPercent of the instances may be out at once. Default 50.
	MaxPercent int `yaml:"max_percent" jsonschema:"minimum=0,maximum=100"`

	// PanicPercent: when fewer of the instances than this are well, all are used. Default 30.
	PanicPercent int `yaml:"panic_percent" jsonschema:"minimum=0,maximum=100"`
}

// Expect declares what a good answer is.
type Expect struct {
	// MinBytes that the body of a 200 must have; a shorter one counts against its instance. Default 0 = any length.
	MinBytes Size `yaml:"min_bytes"`

	// MinRatio is the least share of the length that the other instances give for the same path; a shorter 200 counts against its instance. Default 0 = lengths are not compared.
	MinRatio float64 `yaml:"min_ratio" jsonschema:"minimum=0,maximum=1"`
}

// Retry is when the gateway sends a request to another instance because the first one failed it. A request that may
// have reached an instance is sent again only when its method is idempotent, and none once the client has had a byte.
type Retry struct {
	// Attempts are further ones for one request. Default 2; 0 = none.
	Attempts int `yaml:"attempts" jsonschema:"minimum=0,maximum=10"`

	// Percent of the requests of the last ten seconds that may be sent again or hedged, and 10 requests in any case. Default 20; 0 = none.
	Percent int `yaml:"percent" jsonschema:"minimum=0,maximum=100"`

	// Statuses are answers after which an idempotent request without content goes to another instance. Default 502, 503 and 504; [] = none.
	Statuses []int `yaml:"statuses" jsonschema:"minimum=400,maximum=599"`

	// Hedge is how long a GET or HEAD may wait for its first byte before a second instance is asked too; the first answer wins. Default 0s = never.
	Hedge Duration `yaml:"hedge"`
}
