package steer

// A Reason says why a PoP stands where it does in a client's order, and why it is the answer. Its word is a metric's label.
type Reason string

const (
	// Why a PoP stands where it does.

	ReasonNearest  Reason = "nearest"       // first by distance
	ReasonDistance Reason = "distance"      // next by distance; never of an answer, which is then the nearest that is left
	ReasonWeight   Reason = "weight"        // chosen by weight among PoPs of one place
	ReasonPrefix   Reason = "prefix"        // the operator's prefix names it
	ReasonFallback Reason = "fallback"      // the first PoP's fallback names it
	ReasonUnknown  Reason = "unknown-order" // its turn in the order for unknown places
	ReasonRTT      Reason = "rtt"           // its turn by measured round trips, which order the PoPs otherwise than the map
	ReasonExplore  Reason = "explore"       // second by round trips, and first for a while, so that somebody measures it

	// Why a PoP is the answer though others are before it.

	ReasonShed        Reason = "shed"         // those before it send this client on
	ReasonAllDraining Reason = "all-draining" // all that are up drain
	ReasonAllRevoked  Reason = "all-revoked"  // all that are up are of a lost identity
	ReasonAllDown     Reason = "all-down"     // none is up
)

// Text says it to people, for answers.
func (r Reason) Text() string { return reasonTexts[r] }

var reasonTexts = map[Reason]string{
	"":                "no PoP has an address of this family",
	ReasonNearest:     "nearest healthy by distance",
	ReasonWeight:      "by weight among healthy PoPs of the nearest place",
	ReasonPrefix:      "the operator's prefix names it",
	ReasonFallback:    "takes over by fallback",
	ReasonUnknown:     "next in the order for unknown places",
	ReasonRTT:         "nearest healthy by measured round trips",
	ReasonExplore:     "second by round trips, and tried for a while to measure it",
	ReasonShed:        "takes over a part of the clients of a loaded PoP",
	ReasonAllDraining: "all PoPs that are up drain: answered as if none did",
	ReasonAllRevoked:  "all PoPs that are up have lost their identity: answered as if none had",
	ReasonAllDown:     "all PoPs are down: answered as if all were up",
}

// Reasons lists the reasons of answers, for the label set of a metric.
func Reasons() []Reason {
	return []Reason{ReasonNearest, ReasonWeight, ReasonPrefix, ReasonFallback, ReasonUnknown, ReasonRTT, ReasonExplore, ReasonShed, ReasonAllDraining, ReasonAllRevoked, ReasonAllDown}
}

// A Strike says why a PoP is not in an answer though it has its place in the order. The zero Strike is none.
type Strike string

const (
	StrikeSite     Strike = "does not serve the site" // such a PoP has no place in the order either
	StrikeIPv4     Strike = "no IPv4 address"
	StrikeIPv6     Strike = "no IPv6 address"
	StrikeWeight   Strike = "weight 0"
	StrikeDown     Strike = "down"
	StrikeFlapping Strike = "flapping"
	StrikeDraining Strike = "draining"
	StrikeRevoked  Strike = "revoked" // the PoP's identity
	StrikeShed     Strike = "shed"
)
