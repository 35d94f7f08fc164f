package deploy

// Site is something served: host names, where its content comes from, and how it is
// cached and protected.
type Site struct {
	// Name of the site, the first part of every cache key. Never reuse the name of a former site for another customer.
	Name string `yaml:"name" jsonschema:"required" check:"name"`

	// Hosts by which clients ask for it: exact names, or `*.example.org` for any one label in that place. All mean the same objects.
	Hosts []string `yaml:"hosts" jsonschema:"required,minItems=1" check:"host"`

	// DNS is `own` when the hosts must lie in zones of this file, `elsewhere` when other servers answer for them (by a CNAME to a steered name, say). Default own. Without zones in the file it does not matter.
	DNS string `yaml:"dns" jsonschema:"enum=own,enum=elsewhere"`

	// Origin names where its content comes from.
	Origin string `yaml:"origin" jsonschema:"required"`

	// Trust names the trust domain whose PoPs serve it. Default main.
	Trust string `yaml:"trust" check:"name"`

	// TLS is the policy of its connections.
	TLS TLS `yaml:"tls"`

	// EarlyData is `safe` when GET, HEAD and OPTIONS may come as 0-RTT data (RFC 8470), `off` when nothing may. Default safe.
	EarlyData string `yaml:"early_data" jsonschema:"enum=safe,enum=off"`

	// Cache is how its responses are stored.
	Cache SiteCache `yaml:"cache"`

	// Compress is what the edge encodes of what it has stored.
	Compress Compress `yaml:"compress"`

	// Rules for some of its paths; the first that matches counts. Optional.
	Rules []Rule `yaml:"rules"`
}

// TLS is the policy of a site's connections. Hosts of one policy may share a
// connection; others answer 421.
type TLS struct {
	// Min is the lowest TLS version: "1.3" or "1.2", in quotes. Default "1.3".
	Min string `yaml:"min" jsonschema:"enum=1.3,enum=1.2"`

	// Certificate is where the site's certificates come from: `local` (the network's own site authority), `acme`, or `{cert: FILE, key: FILE}`. Default local.
	Certificate Certificate `yaml:"certificate"`

	// ClientCA is a PEM file; when set, clients must show a certificate of one of its authorities. Optional.
	ClientCA string `yaml:"client_ca" check:"path"`
}

// Certificate says where certificates come from: from a Source, or from two files.
type Certificate struct {
	// Source is "local" or "acme"; "" when Cert and Key are set.
	Source string `yaml:"-"`

	// Cert is a PEM file with the chain, leaf first, as an absolute path.
	Cert string `yaml:"cert" jsonschema:"required" check:"path"`

	// Key is a PEM file with the private key, as an absolute path.
	Key string `yaml:"key" jsonschema:"required" check:"path"`
}

// The sources of certificates.
const (
	CertificateLocal = "local" // made by the network's own site authority
	CertificateACME  = "acme"  // ordered at a public authority (RFC 8555)
)

// SiteCache is how a site's responses are stored. Without rules, what RFC 9111 says
// of the response's own fields counts.
type SiteCache struct {
	// SetCookie is `bypass` when a response with Set-Cookie is never stored, `store` when its other fields decide (RFC 9111 section 7.3). Default bypass.
	SetCookie string `yaml:"set_cookie" jsonschema:"enum=bypass,enum=store"`

	// MaxObject is the largest body that is stored as one object. Larger ones may be stored in slices. Default 1GiB.
	MaxObject Size `yaml:"max_object"`

	// Slice is the size of the slices in which large responses are stored, and parts of what is not stored are asked for: those with a strong entity-tag, of an origin that answers ranges. Smaller where the cache is small. 0B stores no slices, and passes by what is larger than `max_object`. Default 4MiB.
	Slice Size `yaml:"slice"`

	// StaleWhileRevalidate is how long a stale response may be used while it is revalidated, when it does not say so itself (RFC 5861 section 3). Default 0s.
	StaleWhileRevalidate Duration `yaml:"stale_while_revalidate"`

	// StaleIfError is how long a stale response may be used when the origin fails, when it does not say so itself (RFC 5861 section 4). Default 1h.
	StaleIfError Duration `yaml:"stale_if_error"`

	// Negative is for how long errors are stored that say nothing of it themselves: 404, 405, 410, 414, 451, 500 to 504. What they do say counts, also against a rule's `ttl`. Default: as RFC 9111 has it, 404 and the like by a guess where they have Last-Modified, those from 500 on not at all.
	Negative *Duration `yaml:"negative" check:"seconds"`

	// RequestControl is `honour` when a request's own no-cache, max-age, min-fresh, max-stale and Pragma count (RFC 9111 section 5.2.1), `ignore` when they do not: else every client can send its requests to the origin. no-store and only-if-cached always count. Default ignore.
	RequestControl string `yaml:"request_control" jsonschema:"enum=ignore,enum=honour"`

	// MergeSchemes is true when http and https requests share stored responses. Default false.
	MergeSchemes bool `yaml:"merge_schemes"`
}

// Compress is how an edge encodes the content of stored responses (RFC 9110 section 8.4), unless they say no-transform or
// came encoded. The coded content is stored too; it is made behind the first answers that would have it.
type Compress struct {
	// Codings that are made: br, zstd, gzip. Where a request wants several as much, the first of them counts. An empty list turns it off. Default [br, zstd, gzip].
	Codings []string `yaml:"codings" check:"coding"`

	// Types of content that is encoded: `text/css` for one, `text/*` for all of a kind, `*+json` for all with that suffix. Default: text, and what shrinks as text does (JSON, JavaScript, XML, SVG, WebAssembly, fonts without a coding of their own, bitmaps).
	Types []string `yaml:"types" jsonschema:"minItems=1" check:"media"`

	// Min is the smallest content that is encoded. Default 1KiB.
	Min Size `yaml:"min"`

	// Max is the largest content that is encoded. Default 10MiB.
	Max Size `yaml:"max"`
}

// Rule changes how responses for some paths are stored.
type Rule struct {
	// Path pattern, from the first `/` on without the query; `*` stands for any characters, `/` included.
	Path string `yaml:"path" jsonschema:"required"`

	// TTL for which a response is fresh, whatever it says itself, errors left out except 404 and 410. Default: what it says itself. 0s = revalidated on every use.
	TTL *Duration `yaml:"ttl" check:"seconds"`

	// Key changes what of the request is part of the cache key.
	Key RuleKey `yaml:"key"`

	// Bypass is true when nothing is stored and every request goes to the origin. Default false.
	Bypass bool `yaml:"bypass"`

	// Negative is as that of the site's `cache`, for these paths. Default: the site's.
	Negative *Duration `yaml:"negative" check:"seconds"`

	// SetCookie is as that of the site's `cache`, for these paths. Default: the site's.
	SetCookie string `yaml:"set_cookie" jsonschema:"enum=bypass,enum=store"`

	// MaxObject is as that of the site's `cache`, for these paths. Default: the site's.
	MaxObject *Size `yaml:"max_object"`

	// Slice is as that of the site's `cache`, for these paths. Default: the site's.
	Slice *Size `yaml:"slice"`

	// StaleWhileRevalidate is as that of the site's `cache`, for these paths. Default: the site's.
	StaleWhileRevalidate *Duration `yaml:"stale_while_revalidate"`

	// StaleIfError is as that of the site's `cache`, for these paths. Default: the site's.
	StaleIfError *Duration `yaml:"stale_if_error"`
}

// RuleKey changes what of a request is part of its cache key.
type RuleKey struct {
	// Query chooses parameters of the query. Default: the query as it is.
	Query QueryKey `yaml:"query"`

	// Headers are request fields that choose a variant, whether or not responses say so by Vary. At most 8, with `cookies`. What comes to more than 512 bytes in one request is not stored.
	Headers []string `yaml:"headers"`

	// Cookies are those that choose a variant: their names, as they are written. A request in which one is ambiguous (sent twice, say) is not stored. The origin sees all cookies; it must not answer by others without saying so.
	Cookies []string `yaml:"cookies"`

	// Device is true when the class of the client's device chooses a variant: mobile, tablet or desktop, by its User-Agent. The origin is told in the request field Hither-Device. Default false.
	Device bool `yaml:"device"`
}

// QueryKey chooses the query parameters that are part of the cache key: `drop` or
// `keep`, not both, and perhaps their order. A name may end in `*`. The origin is asked
// what the key says.
type QueryKey struct {
	// Drop names parameters that are not part of the key.
	Drop []string `yaml:"drop"`

	// Keep names the only parameters that are. An empty list keeps none.
	Keep []string `yaml:"keep"`

	// Sort is true when parameters are brought into the order of their names, so that all orders are one object; those of one name keep theirs. Default false.
	Sort bool `yaml:"sort"`
}
