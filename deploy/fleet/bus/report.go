package bus

import (
	"encoding/json"
	"net/netip"
	"time"
)

// ReportEvery is how often a node reports, give or take a tenth.
const ReportEvery = 2 * time.Second

// A Report is what a node says of itself every [ReportEvery]. Counters count from the start of its process.
type Report struct {
	Status   json.RawMessage `json:"status"` // the document "status" of the node alone, as its socket answers it
	Started  time.Time       `json:"started"`
	State    string          `json:"state"` // starting, ready, draining, down
	Revision int             `json:"revision"`
	Hash     string          `json:"hash"`              // of the network file in use
	Refused  int             `json:"refused,omitempty"` // the revision that it could not take, and why
	Why      string          `json:"why,omitempty"`
	Journal  Position        `json:"journal"`
	Tables   uint64          `json:"tables"` // how far it has come in StreamTables
	Expires  time.Time       `json:"expires"`
	Issued   time.Time       `json:"issued,omitzero"` // the certificate in use
	Trust    string          `json:"trust,omitempty"` // [HashOf] the authorities that it believes

	// Of an edge.
	Load     float64 `json:"load,omitempty"` // 1.0 = full; see CONTRACTS
	Requests int64   `json:"requests,omitempty"`
	Errors   int64   `json:"errors,omitempty"` // answers of 5xx, the origin's too, and those that broke off
	Hits     int64   `json:"hits,omitempty"`
	Active   int64   `json:"active,omitempty"`   // requests under way
	Accepted int64   `json:"accepted,omitempty"` // connections taken

	// Of a DNS server. Nil: of others, and of one that has just begun and takes over what others say here.
	Sheds *Sheds `json:"sheds,omitempty"`
}

// Sheds is how much of the clients of loaded PoPs a DNS server sends on. Of a PoP that is not in it it sends on nobody.
type Sheds struct {
	PoPs map[string]Shed `json:"pops,omitempty"`
}

// A Shed is what is sent on of one PoP's clients.
type Shed struct {
	Part float64 `json:"part"`          // 0 to 0.9
	Way  int8    `json:"way,omitempty"` // 1 = it rises, -1 = it falls, 0 = it rests
}

// An RTTReport is what an edge has measured of the way to its clients: for each prefix the smoothed round trip and of how many
// connections. It names no client: prefixes are /24 and /48.
type RTTReport struct {
	Prefixes []PrefixRTT `json:"prefixes"`
}

// MostPrefixes bounds the prefixes of one report.
const MostPrefixes = 1000

// A PrefixRTT is the way to the clients of one prefix.
type PrefixRTT struct {
	Prefix  netip.Prefix `json:"p"`
	MS      float64      `json:"ms"`
	Samples int          `json:"n"` // connections since the last report
}
