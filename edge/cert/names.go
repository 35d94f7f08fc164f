package cert

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
)

// Names answers handshakes from the current [Table] and lets its ticket keys roll. It is safe
// for concurrent use.
type Names struct {
	tickets *Tickets
	refusal *tls.Config

	table atomic.Pointer[Table]

	mu sync.Mutex
	// turn is the tickets' turn whose keys the table's configurations have. Written under mu, read without.
	turn atomic.Uint64
}

// NewNames serves t, nil being a table without names, with keys from tickets, nil being a chain of its own.
func NewNames(t *Table, tickets *Tickets) *Names {
	if tickets == nil {
		tickets = NewTickets(0, nil)
	}
	n := &Names{
		tickets: tickets,
		// crypto/tls answers a configuration without certificates with unrecognized_name
		// (RFC 6066 section 3). Without tickets disabled it would look for keys elsewhere first.
		refusal: &tls.Config{MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true},
	}
	n.Swap(t)
	return n
}

// Swap replaces the table. Handshakes that have begun end with the old one; connections and
// tickets live on.
func (n *Names) Swap(t *Table) {
	if t == nil {
		t = &Table{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	turn := n.tickets.present()
	for _, c := range t.configs {
		c.quic.UnwrapSession = n.tickets.unwrap(c.quic) // nobody serves with it yet
	}
	n.setKeys(t)
	n.turn.Store(turn)
	n.table.Store(t)
}

// Table returns the current table.
func (n *Names) Table() *Table { return n.table.Load() }

// Config returns the configuration of a connection; it has the shape of listen.Config.TLS. A name we do
// not have, and no name, get one without certificates, which refuses them. The error is always nil.
func (n *Names) Config(hello *tls.ClientHelloInfo, quic bool) (*tls.Config, error) {
	n.Roll()
	found := n.table.Load().find(hello.ServerName)
	switch {
	case found == nil || hello.ServerName == "":
		return n.refusal, nil
	case quic:
		return found.conf.quic, nil
	}
	return found.conf.tcp, nil
}

// Roll brings the ticket keys to the present epoch. Config does so by itself: call Roll at times where old keys
// shall also be erased while no client comes. It reports whether keys have changed.
func (n *Names) Roll() bool {
	if n.tickets.present() == n.turn.Load() {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	turn := n.tickets.present()
	if turn == n.turn.Load() {
		return false
	}
	n.setKeys(n.table.Load())
	n.turn.Store(turn)
	return true
}

// setKeys sets the keys on configurations which may be serving. crypto/tls reads them once per handshake, under
// its own lock (Config.SetSessionTicketKeys); quic-go clones the configuration for each handshake, keys included.
// Called with mu held.
func (n *Names) setKeys(t *Table) {
	for _, c := range t.configs {
		if c.policy.cas != nil {
			continue
		}
		keys := n.tickets.keys(c.policy.info())
		c.tcp.SetSessionTicketKeys(keys)
		c.quic.SetSessionTicketKeys(keys)
		clear(keys)
	}
}
