package proxy

import (
	"strings"
	"time"

	"hither/cache"
	"hither/edge/compress"
)

// An Explanation is what the edge would do with a request now, and why: the core of the
// document "explain-request". Members that end in _ms are durations.
type Explanation struct {
	At    time.Time      `json:"at"` // by the clock that the edge tells ages by
	Asked ExplainedAsked `json:"asked"`
	Site  *ExplainedSite `json:"site"` // null: no site has the host
	Rule  *ExplainedRule `json:"rule"` // null: none of the site's rules matches the path
	Key   *ExplainedKey  `json:"key"`  // null where the request is refused before it has one

	Stored    *ExplainedStored    `json:"stored"`    // null where the store is not asked
	Freshness *ExplainedFreshness `json:"freshness"` // of the stored response; null where there is none
	Part      *ExplainedPart      `json:"part"`      // of the stored response, that would answer; null where there is none
	Encoding  *ExplainedEncoding  `json:"encoding"`  // of that; null where there is none

	// Verdict is what the edge does: hit, updating, revalidate, miss, bypass or refused. Reason is the word for the log
	// that goes with it, Why the same in a sentence. Status is the final one, 0 where it is the origin's to say.
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Why     string `json:"why"`
	Status  int    `json:"status"`

	// Origin is the one that would be asked, and Conditions what a stored response would be validated by.
	Origin     string   `json:"origin,omitempty"`
	Conditions []string `json:"conditions,omitempty"`
	Location   string   `json:"location,omitempty"` // of a redirection to https

	// Log are the verdicts that the access log may have of it: one, where the origin has no part in it.
	Log []ExplainedOutcome `json:"log"`
	// CacheStatus is this node's member of the field (RFC 9211), "" where it sends none. CacheStatusOpen: it only begins
	// so, and the origin's answer makes the rest, or the key does, which only a trusted client is told.
	CacheStatus     string `json:"cache_status"`
	CacheStatusOpen bool   `json:"cache_status_open"`
}

// ExplainedAsked is the request in short. Its fields are not repeated.
type ExplainedAsked struct {
	Method string `json:"method"`
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	Target string `json:"target"`
}

// ExplainedSite is the site that a host belongs to.
type ExplainedSite struct {
	Name    string `json:"name"`
	Matched string `json:"matched"` // the host in the network file: a name, or *. and a name
}

// ExplainedRule is the first of a site's rules that matches.
type ExplainedRule struct {
	Number int      `json:"number"` // from 1
	Path   string   `json:"path"`
	TTL    *float64 `json:"ttl_ms"` // null: the response's own
	Bypass bool     `json:"bypass"`
	Drop   []string `json:"drop,omitempty"`
	Keep   []string `json:"keep,omitempty"`
	Sort   bool     `json:"sort,omitempty"`
	// Choose are the fields and cookies ("Cookie;NAME") that choose a variant whether or not responses say Vary.
	Choose []string `json:"choose,omitempty"`

	// What it says in the place of the site; absent: the site's word counts.
	Negative        *float64 `json:"negative_ms,omitempty"`
	WhileRevalidate *float64 `json:"stale_while_revalidate_ms,omitempty"`
	IfError         *float64 `json:"stale_if_error_ms,omitempty"`
	SetCookie       *bool    `json:"set_cookie,omitempty"` // may be stored
	MaxObject       *int64   `json:"max_object_bytes,omitempty"`
	Slice           *int64   `json:"slice_bytes,omitempty"`
}

// ExplainedKey is the cache key and what was made of the request for it.
type ExplainedKey struct {
	Site       string            `json:"site"`
	Class      string            `json:"method_class"`
	Scheme     string            `json:"scheme"` // "": the site merges http and https
	Path       string            `json:"path"`   // and query
	Normalised bool              `json:"normalised"`
	Dropped    []string          `json:"dropped,omitempty"` // query parameters that the rule left out
	Vary       []ExplainedChoice `json:"vary,omitempty"`    // what chooses among the variants
	Origin     string            `json:"origin_target"`     // what the origin would be asked for
}

// ExplainedChoice is a request field that chooses a variant.
type ExplainedChoice struct {
	Field   string `json:"field"`
	CountAs string `json:"counts_as"` // of all lists of one meaning; weights in thousandths
	Sent    bool   `json:"sent"`      // absence is a value of its own
}

// ExplainedStored is what lies at the key.
type ExplainedStored struct {
	Kind     string             `json:"kind"` // response, pass or nothing
	Language string             `json:"language,omitempty"`
	PassLeft *float64           `json:"pass_ms,omitempty"` // until requests queue for the key again; 0: over
	Filling  bool               `json:"filling"`           // a request to the origin is under way for it
	Slices   *ExplainedSlices   `json:"slices,omitempty"`  // of the response, where it lies in slices
	Variants []ExplainedVariant `json:"variants"`          // at most 10
	Total    *int               `json:"variants_total"`    // null where the store cannot tell
}

// ExplainedVariant is a stored response.
type ExplainedVariant struct {
	Chosen       bool              `json:"chosen"`
	Vary         []ExplainedChoice `json:"vary,omitempty"`
	Status       int               `json:"status"`
	Bytes        int64             `json:"body_bytes"`
	Type         string            `json:"content_type,omitempty"`
	Encoding     string            `json:"content_encoding,omitempty"`
	Language     string            `json:"content_language,omitempty"`
	ETag         string            `json:"etag,omitempty"`
	LastModified string            `json:"last_modified,omitempty"`
	Tags         []string          `json:"tags,omitempty"`        // Surrogate-Key and Cache-Tag
	SoftPurged   *time.Time        `json:"soft_purged,omitempty"` // stale since then, whatever its lifetime
	Received     time.Time         `json:"received"`
	Age          float64           `json:"age_ms"`
	TTL          float64           `json:"ttl_ms"` // negative: stale for so long
}

// ExplainedFreshness is the sum of RFC 9111 section 4.2, term by term.
type ExplainedFreshness struct {
	Date     time.Time `json:"date"`
	Received time.Time `json:"received"`
	AgeValue float64   `json:"age_value_ms"`
	AgeMost  bool      `json:"age_value_at_most"` // it was no more than that, and had no part in the sum
	Apparent float64   `json:"apparent_age_ms"`
	Delay    float64   `json:"response_delay_ms"`
	Initial  float64   `json:"corrected_initial_age_ms"`
	Resident float64   `json:"resident_time_ms"`
	Current  float64   `json:"current_age_ms"`
	Lifetime float64   `json:"freshness_lifetime_ms"`
	Source   string    `json:"source"` // s-maxage, max-age, expires, heuristic, rule, negative, none, earlier-rules
	Field    string    `json:"field,omitempty"`
	Line     string    `json:"field_value,omitempty"`
	TTL      float64   `json:"ttl_ms"`
	NoCache  bool      `json:"no_cache"`
	Fresh    bool      `json:"fresh"`

	WhileRevalidate ExplainedWindow `json:"stale_while_revalidate"`
	IfError         ExplainedWindow `json:"stale_if_error"`
}

// ExplainedWindow is a window of RFC 5861, from the end of the lifetime on.
type ExplainedWindow struct {
	Length float64 `json:"length_ms"`
	Open   bool    `json:"open"` // now
	By     string  `json:"by"`   // response, site (or its rule), earlier-rules; or what closed it: no-cache must-revalidate proxy-revalidate s-maxage never-fresh negative
}

// ExplainedPart is what of a stored response answers the request.
type ExplainedPart struct {
	Status int    `json:"status"`
	Bytes  int64  `json:"bytes"`
	Range  string `json:"content_range,omitempty"`
	// Parts are the Content-Range of each part, where there are several (multipart/byteranges); Bytes counts what is around them as well.
	Parts []string `json:"parts,omitempty"`
	Why   string   `json:"why"`
}

// ExplainedEncoding is what Accept-Encoding comes to for the stored response (RFC 9110 section 12.5.3).
type ExplainedEncoding struct {
	Coding string `json:"coding"` // that this edge made and sends: br, zstd, gzip; identity: it sends what it has from the origin
	Wanted string `json:"wanted"` // what the request would have of what is made here
	Reason string `json:"reason"` // why coding is identity; "" where it is not, or nothing is sent
	Why    string `json:"why"`
}

// ExplainedOutcome is what the access log may say.
type ExplainedOutcome struct {
	Verdict string  `json:"verdict"`
	Reason  *string `json:"reason"` // null: the origin's answer makes it
	When    string  `json:"when"`
}

func explainedEncoding(e encoding) *ExplainedEncoding {
	why := encodingWords[e.why]
	if e.why == "" {
		if why = "wanted most, and stored"; e.coding == cache.Identity {
			why = "no content is sent"
		}
	}
	return &ExplainedEncoding{Coding: e.coding.String(), Wanted: e.want.String(), Reason: string(e.why), Why: why}
}

var encodingWords = map[compress.Reason]string{
	compress.Off:         "the site encodes nothing (sites[].compress.codings)",
	compress.Status:      "only responses with status 200 are encoded",
	compress.Type:        "its Content-Type is none of the site's (sites[].compress.types)",
	compress.Small:       "its content is smaller than the site's least (sites[].compress.min)",
	compress.Large:       "its content is larger than the site's most (sites[].compress.max)",
	compress.Coded:       "the origin encoded it: it is passed on as it is",
	compress.Part:        "the origin sent a part",
	compress.NoTransform: "no-transform, of the response or the request (RFC 9110 section 7.7)",
	compress.Digest:      "it has a digest or signature of its content as it came",
	compress.NotAsked:    "Accept-Encoding wants no coding that is made here (RFC 9110 section 12.5.3)",
	compress.Ranged:      "parts are those of the content as it came",
	compress.Sliced:      "it is stored in slices, as it came",
	compress.NotYet:      "the coded content is not stored: a GET begins to make it behind its answer, where the encoder is free",
	compress.NoGain:      "the coded content was hardly smaller, or could not be made",
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func explainedRule(s *Site, r *Rule) *ExplainedRule {
	if r == nil {
		return nil
	}
	x := &ExplainedRule{
		Path: r.Path, Bypass: r.Bypass, Drop: r.Query.Drop, Keep: r.Query.Keep, Sort: r.Query.Sort, Choose: r.Choose.names, TTL: perhaps(r.TTL), Negative: perhaps(r.Negative),
		WhileRevalidate: perhaps(r.WhileRevalidate), IfError: perhaps(r.IfError), SetCookie: r.SetCookie, MaxObject: r.MaxObject, Slice: r.Slice,
	}
	for i := range s.Rules {
		if &s.Rules[i] == r {
			x.Number = i + 1
		}
	}
	return x
}

// perhaps is the milliseconds of a duration, where there is one.
func perhaps(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	ms := millis(*d)
	return &ms
}

// secret are request fields of which other clients' values are not shown.
var secret = map[string]bool{"Cookie": true, "Authorization": true, "Proxy-Authorization": true}

// explainedChoices are those of a variant that was chosen by a request of this operator, or of others.
func explainedChoices(list []cache.Choice, others bool) []ExplainedChoice {
	out := make([]ExplainedChoice, len(list))
	for i, c := range list {
		out[i] = ExplainedChoice{c.Name, c.Value, c.Sent}
		if others && (secret[c.Name] || strings.HasPrefix(c.Name, cookiePrefix)) && c.Sent {
			out[i].CountAs = "(not shown)"
		}
	}
	return out
}

func explainedFreshness(f cache.Freshness, l cache.Look) *ExplainedFreshness {
	return &ExplainedFreshness{
		Date: f.Date.UTC(), Received: l.Object.Received.UTC(), AgeValue: millis(f.AgeValue), AgeMost: f.AgeMost, Apparent: millis(f.Apparent), Delay: millis(f.Delay),
		Initial: millis(f.Initial), Resident: millis(f.Resident), Current: millis(f.Current),
		Lifetime: millis(f.Lifetime), Source: f.Source.String(), Field: f.Field, Line: f.Line, TTL: millis(f.TTL), NoCache: f.NoCache, Fresh: l.Fresh(),
		WhileRevalidate: ExplainedWindow{millis(f.WhileRevalidate), l.Updating(), string(f.WhileRevalidateBy)},
		IfError:         ExplainedWindow{millis(f.IfError), l.IfError(), string(f.IfErrorBy)},
	}
}
