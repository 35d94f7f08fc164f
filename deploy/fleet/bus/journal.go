package bus

import (
	"fmt"
	"time"
)

// Limits of an order and a batch, so that a message stays far below what NATS takes.
const (
	MostOrders     = 512     // orders of one batch
	MostOrderBytes = 8 << 10 // the value of an order: a URL, a tag, a host

	mostNumber = 1 << 62 // of an order, so that none that follows is too large
)

// An Order is what every PoP is told to forget.
type Order struct {
	Kind  string `json:"kind"`            // url, tag, prefix, host or all
	Value string `json:"value,omitempty"` // a URL with or without scheme, a tag, how URLs begin, a host; "" with all
	Soft  bool   `json:"soft,omitempty"`  // stale instead of gone
}

// A Batch is one entry of the journal: orders that were given at about the same time. Order i has the number First+i; the
// entry's own is its sequence in the stream, without gaps.
type Batch struct {
	Journal string    `json:"journal"` // which journal: a new one begins where the stream was lost or restored
	First   uint64    `json:"first"`
	At      time.Time `json:"at"` // by the control's clock; for people
	Orders  []Order   `json:"orders"`
}

// Leap is the number with which orders go on behind an entry that cannot be read any more, as when a quiet journal has aged away: none up to it can have
// been given, for no entry has more than MostOrders.
func Leap(sequence uint64) uint64 { return sequence*MostOrders + 1 }

// Check says what is wrong with a batch that was read.
func (b *Batch) Check() error {
	if b.Journal == "" || len(b.Journal) > 64 || b.First == 0 || b.First > mostNumber {
		return fmt.Errorf("bus: an entry of journal %.64q with the number %d", b.Journal, b.First)
	}
	if len(b.Orders) == 0 || len(b.Orders) > MostOrders {
		return fmt.Errorf("bus: an entry with %d orders", len(b.Orders))
	}
	for _, o := range b.Orders {
		if len(o.Value) > MostOrderBytes {
			return fmt.Errorf("bus: an order with %d bytes", len(o.Value))
		}
	}
	return nil
}

// A Position is how far a node has come in a journal: all entries up to Sequence have had their effect. The zero Position is
// that of a node which has never heard of a journal.
type Position struct {
	Journal  string `json:"journal"`
	Sequence uint64 `json:"sequence"`
}

// A Receipt is a node's word that its look-ups find nothing any more of what the journal names up to At. It is sent after each
// entry, or for several at once, and stands in every [Report] too.
type Receipt struct {
	At   Position `json:"at"`
	Done []Done   `json:"done,omitempty"` // of the entries since the last receipt
}

// Done is what one order did at a node.
type Done struct {
	ID      uint64  `json:"id"`
	Objects int     `json:"objects"`         // responses found stored, each variant one
	Fills   int     `json:"fills,omitempty"` // requests to an origin under way whose responses are not stored
	MS      float64 `json:"ms"`
	Error   string  `json:"error,omitempty"` // the order meant nothing here, such as a host that no site has
}

// HeadEvery is how often the control says how long the streams are.
const HeadEvery = 2 * time.Second

// A Head is the control's heartbeat: whoever has less than it says has missed something and reads it.
type Head struct {
	Journal Position  `json:"journal"` // of its last entry
	Tables  uint64    `json:"tables"`  // the last sequence of StreamTables
	Target  uint64    `json:"target"`  // the sequence in StreamTables at which the target stands
	At      time.Time `json:"at"`
}
