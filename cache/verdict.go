package cache

// A Verdict says what the cache did for a request. Its word stands in the access
// log and the metrics; [Verdict.Forward] gives RFC 9211's word for the same.
type Verdict uint8

const (
	// Miss: nothing usable was stored; the answer came from the origin.
	Miss Verdict = iota
	// Hit: answered from the cache, fresh.
	Hit
	// Stale: answered from the cache past its lifetime because the origin failed
	// (RFC 5861 section 4).
	Stale
	// Updating: answered stale while a revalidation runs behind (RFC 5861 section 3).
	Updating
	// Revalidated: stored, stale, and confirmed by the origin's 304.
	Revalidated
	// Expired: stored and stale; the origin sent a new response.
	Expired
	// Bypass: the cache was not consulted, for the reason beside it.
	Bypass
	// Refused: the edge answered by itself without asking anyone.
	Refused
	// Failed: no response could be had; its word is "error".
	Failed
)

var verdictWords = [...]string{
	Miss: "miss", Hit: "hit", Stale: "stale", Updating: "updating", Revalidated: "revalidated",
	Expired: "expired", Bypass: "bypass", Refused: "refused", Failed: "error",
}

// String returns the verdict's word in logs and metrics.
func (v Verdict) String() string { return verdictWords[v] }

// Verdicts lists every word, for the label set of a metric.
func Verdicts() []string { return verdictWords[:] }

// Forward returns the fwd parameter of RFC 9211 section 2.2 for a request that went
// to the origin, or "" where the answer came from the cache.
func (v Verdict) Forward() string {
	switch v {
	case Miss, Failed:
		return "uri-miss"
	case Revalidated, Expired:
		return "stale"
	case Bypass:
		return "bypass"
	default:
		return ""
	}
}

// A Reason is the one word behind a verdict's slash; "" where there is none to give.
type Reason string

// The reasons why a request or a response is not for the cache, or why the answer is
// what it is. Words of faults of an origin come from its error ("origin-reset").
const (
	ReasonMethod        Reason = "method"         // the method's answers are not stored
	ReasonRequestBody   Reason = "request-body"   // a GET or HEAD with content
	ReasonNoStore       Reason = "no-store"       // RFC 9111 sections 5.2.1.5 and 5.2.2.5
	ReasonPrivate       Reason = "private"        // section 5.2.2.7
	ReasonAuthorization Reason = "authorization"  // section 3.5
	ReasonSetCookie     Reason = "set-cookie"     // the site's setting
	ReasonVaryStar      Reason = "vary-star"      // section 4.1
	ReasonRange         Reason = "range"          // a part was asked for, or sent
	ReasonTooLarge      Reason = "too-large"      // above the site's or the store's limit, or not yet worth the room it takes in a full store
	ReasonRule          Reason = "rule"           // the site's rule says bypass
	ReasonOriginError   Reason = "origin-error"   // the origin answered 5xx
	ReasonHitForMiss    Reason = "hit-for-miss"   // the last response could not be reused
	ReasonCollapsed     Reason = "collapsed"      // served from a fill another request began
	ReasonStatus        Reason = "status"         // a status that is not stored
	ReasonNoLifetime    Reason = "no-lifetime"    // neither freshness nor a validator to store it for
	ReasonOnlyIfCached  Reason = "only-if-cached" // section 5.2.1.7
	ReasonVary          Reason = "vary"           // another variant than the fill's
	ReasonUnframed      Reason = "unframed"       // the body ends where the connection does: whole or not, nobody knows
	ReasonMemory        Reason = "memory"         // fills in flight hold all the memory they may
	ReasonMaxStale      Reason = "max-stale"      // the request takes what is stale (section 5.2.1.2)
	ReasonKey           Reason = "key"            // what would be in the key is too long, ambiguous, or not what the origin sees
	ReasonTags          Reason = "tags"           // more tags, or longer ones, than can be purged by
	ReasonPrecondition  Reason = "precondition"   // If-Match and the like are the origin's to judge (section 4.3.2)
	ReasonVersion       Reason = "version"        // the slices of a response that could be had were of different versions
)
