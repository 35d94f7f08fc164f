// Package discover looks up the addresses behind a name, again and again.
//
// [Watcher] asks a [Resolver] for A, AAAA or SRV records and hands on what it may use of the answer, whenever that has
// changed. It is careful with what DNS says: an answer that could not be had changes nothing, one that is empty has to be
// said three times, and one with a thousand addresses or with ones outside the allowed networks is used in part, and
// counted. [System] is the resolver of the machine, with the TTLs that the standard library's does not tell.
package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Config is what a Watcher needs to know.
type Config struct {
	// Name to look up. A name without a dot at its end may be completed by the resolver's search list.
	Name string

	// Type of the look-up: A, AAAA, or SRV (RFC 2782), whose targets are looked up in both families.
	Type string

	// Port of the addresses; needed for A and AAAA. SRV records have their own.
	Port uint16

	// Networks that addresses must be in. nil = all unicast ones but loopback and link-local: a name that somebody else
	// answers for must not lead to this machine.
	Networks []netip.Prefix

	// Most is how many addresses are used. 0 = 64. Of more, those of the lowest priority, and among equals always the same
	// ones of this node, by rendezvous of address and Node.
	Most int

	// Node is this node's name, so that several do not all use the same part of a large answer.
	Node string

	// Resolver that is asked. nil = &System{}.
	Resolver Resolver

	// Now is the clock of Status. nil = time.Now.
	Now func() time.Time

	// Log is told when what was found changes, and when look-ups begin to fail and work again. nil = nowhere.
	Log *slog.Logger
}

// Found is one address behind the name.
type Found struct {
	Addr     netip.AddrPort
	Target   string // the name that has it: the target of an SRV record, or the name itself
	Weight   int    // of its SRV record; 1 for weight 0, which is to have little and not none (RFC 2782), and without SRV
	Priority int    // of its SRV record: lower ones first; 0 without SRV
}

// Resolver answers one question. It may be asked from several goroutines at once.
//
// Lookup returns an error when there is no answer to rely on (a timeout, SERVFAIL, a broken message). That a name or type
// does not exist is an answer without records.
type Resolver interface {
	Lookup(ctx context.Context, name, qtype string) (Answer, error)
}

// Answer is what a name server said.
type Answer struct {
	Addrs    []netip.Addr // of A and AAAA
	Services []Service    // of SRV
	TTL      time.Duration
	Rcode    string // NOERROR or NXDOMAIN
}

// Service is an SRV record.
type Service struct {
	Target                 string // "." = the service is decidedly not available (RFC 2782)
	Port, Priority, Weight uint16
}

// Results of a look-up, of which each has one: the label values of its counter.
var results = []string{"ok", "empty", "error", "truncated", "refused"}

// Results is what a look-up can end with: everything used; nothing found; no answer; more found than Most; some or all
// outside Networks.
func Results() []string { return results }

// Watcher keeps what is behind one name. It is safe for concurrent use.
type Watcher struct {
	cfg Config

	// These are Run's own.
	last     map[string][]netip.Addr // addresses of SRV targets when they were known last
	used     []Found
	known    bool      // used was handed on
	empties  int       // answers in a row without anything to use
	emptied  time.Time // when that began
	failures int       // look-ups in a row without an answer

	mu     sync.Mutex
	status Status
}

// Status is a snapshot for metrics and explanations.
type Status struct {
	Name, Type   string
	Found        []Found
	Looked       time.Time // when an answer came last; zero = never
	Error        string    // why none came since then; "" = it did
	Problems     []string  // what of the answer is not used, and why
	LookupsTotal map[string]uint64
}

// New checks cfg. All mistakes of it are in the error.
func New(cfg Config) (*Watcher, error) {
	var wrong []error
	if _, ok := dns.IsDomainName(cfg.Name); !ok || cfg.Name == "" || cfg.Name == "." {
		wrong = append(wrong, fmt.Errorf("discover: %q is no name", cfg.Name))
	} else if _, err := netip.ParseAddr(cfg.Name); err == nil {
		wrong = append(wrong, fmt.Errorf("discover: %s is an address, not a name", cfg.Name))
	}
	switch cfg.Type {
	case "SRV":
	case "A", "AAAA":
		if cfg.Port == 0 {
			wrong = append(wrong, fmt.Errorf("discover: type %s needs a port", cfg.Type))
		}
	default:
		wrong = append(wrong, fmt.Errorf("discover: type %q is none of A, AAAA, SRV", cfg.Type))
	}
	if cfg.Most < 0 {
		wrong = append(wrong, fmt.Errorf("discover: at most %d addresses are none", cfg.Most))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	if cfg.Most == 0 {
		cfg.Most = 64
	}
	if cfg.Resolver == nil {
		cfg.Resolver = &System{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{cfg: cfg, last: map[string][]netip.Addr{}}
	w.status = Status{Name: cfg.Name, Type: cfg.Type, LookupsTotal: map[string]uint64{}}
	for _, r := range results {
		w.status.LookupsTotal[r] = 0
	}
	return w, nil
}
