package hub

import (
	"crypto/subtle"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"hither/deploy/fleet"
)

// Reasons for which somebody, or what somebody says, is refused or cut off: the keys of [Hub.Rejected].
const (
	RejectedHandshake   = "handshake"   // no TLS, broken off, or too slow
	RejectedNone        = "nobody"      // TLS without a certificate
	RejectedCertificate = "certificate" // of another fleet, too old, or of a role that has nothing to say here
	RejectedRevoked     = "revoked"
	RejectedToken       = "token"    // within this process, without the control's token
	RejectedBanned      = "banned"   // it was cut off less than banTime ago
	RejectedFlood       = "flood"    // it sent or asked for more than its due
	RejectedReplaced    = "replaced" // as many connections of its name came after it as may be
	RejectedKicked      = "kicked"   // see Kick
	RejectedDenied      = "denied"   // a message, a subscription or a read that its role may not; the connection stays
	RejectedGarbage     = "garbage"  // what is no NATS, or too large
)

// How many connections one name may have at once, of those that live; when one more comes, the oldest ends. A node has one, and for a while that before it
// of which the server does not know yet that it is dead. An operator may have several windows open.
const (
	mostOfNode     = 2
	mostOfOperator = 16
)

// The door is who is inside.
type door struct {
	mu      sync.Mutex               // guards what follows
	live    map[uint64]*visitor      // by the server's number of the connection
	banned  map[fleet.Peer]time.Time // until when; certified names alone come here, so it has as many entries as the fleet has nodes
	refused map[string]int64
}

// A visitor is a connection that was let in.
type visitor struct {
	peer  fleet.Peer
	from  string // address, without port
	since time.Time
	seen  bool // by watch

	faults int64 // errors that it was told, since watch looked last
	last   used  // at the time of the last look
	spent  spent
}

// String says who it is, for people.
func (v *visitor) String() string { return v.peer.String() + " from " + v.from }

// Check decides who is let in; it makes a Hub the server's CustomClientAuthentication.
func (h *Hub) Check(c server.ClientAuthentication) bool {
	cs := c.GetTLSConnectionState()
	if cs == nil {
		// Within this process. Over TCP there is no way around TLS.
		if subtle.ConstantTimeCompare([]byte(c.GetOpts().Token), []byte(h.token)) != 1 {
			h.refuse(RejectedToken, "somebody in this process who is not the control")
			return false
		}
		c.RegisterUser(&server.User{Username: "control", Permissions: permissions(ControlPermissions())})
		return true
	}
	peer, err := fleet.PeerOf(*cs) // verified by the handshake
	if err != nil {
		h.refuse(RejectedCertificate, host(c.RemoteAddress()), "error", err)
		return false
	}
	v := &visitor{peer: peer, from: host(c.RemoteAddress()), since: time.Now()}
	if why := h.admit(c.GetID(), v); why != "" {
		h.refuse(why, v.String())
		return false
	}
	// Once more, now that it is among those whom Kick ends: its handshake may have been long before its first word.
	if err := h.o.Identity.Refused(cs); err != nil {
		h.refuse(RejectedRevoked, v.String(), "error", err)
		h.end(c.GetID())
		return false
	}
	c.RegisterUser(&server.User{Username: peer.String(), Permissions: permissions(PermissionsOf(peer))})
	return true
}

// admit notes a visitor, or says why it is not let in.
func (h *Hub) admit(id uint64, v *visitor) (refused string) {
	h.door.mu.Lock()
	if until, ok := h.door.banned[v.peer]; ok {
		if v.since.Before(until) {
			h.door.mu.Unlock()
			return RejectedBanned
		}
		delete(h.door.banned, v.peer)
	}
	h.door.live[id] = v
	h.door.mu.Unlock()
	h.leave(id, v.peer)
	h.door.mu.Lock()
	var oldest uint64
	count, elsewhere := 0, ""
	for other, w := range h.door.live {
		if w.peer != v.peer {
			continue
		}
		count++
		if w.from != v.from {
			elsewhere = w.from
		}
		if oldest == 0 || w.since.Before(h.door.live[oldest].since) {
			oldest = other
		}
	}
	h.door.mu.Unlock()
	most := mostOfNode
	if v.peer.Role == fleet.RoleOperator {
		most = mostOfOperator
	}
	if count > most {
		h.refuse(RejectedReplaced, v.String(), "error", "more connections of its name came than it may have; the oldest ends")
		h.end(oldest)
	}
	if elsewhere != "" && v.peer.Role != fleet.RoleOperator {
		h.log.say("twice", v.peer.String(), "one node's name is in use from two addresses at once; if it did not just move, its identity is in the wrong hands: hither fleet revoke",
			"node", v.peer.String(), "from", v.from, "and", elsewhere)
	}
	return ""
}

// leave forgets the connections of a name that have come to their end since watch looked last. Somebody who gives one short command after the other
// would otherwise have many, and one that lives be ended for them. id is the one that comes.
func (h *Hub) leave(id uint64, peer fleet.Peer) {
	var others []uint64
	h.door.mu.Lock()
	for other, v := range h.door.live {
		if v.peer == peer && other != id {
			others = append(others, other)
		}
	}
	h.door.mu.Unlock()
	// Without the lock: the server has one of its own, and may say something under it that is counted here.
	others = slices.DeleteFunc(others, func(other uint64) bool { return h.nats.GetClient(other) != nil })
	h.door.mu.Lock()
	defer h.door.mu.Unlock()
	for _, other := range others {
		delete(h.door.live, other)
	}
}

// end cuts a connection off. It returns at once: the server may be about to let it in, and holds its lock meanwhile.
func (h *Hub) end(ids ...uint64) {
	h.door.mu.Lock()
	for _, id := range ids {
		delete(h.door.live, id)
	}
	h.door.mu.Unlock()
	if len(ids) > 0 {
		go func() {
			for _, id := range ids {
				h.nats.DisconnectClientByID(id) // the error is that it has gone
			}
		}()
	}
}

// refuse counts somebody, or what somebody said, that was refused or cut off, and says so once a minute for each reason and who. What else the
// line has may be another each time.
func (h *Hub) refuse(reason, who string, why ...any) {
	h.door.mu.Lock()
	h.door.refused[reason]++
	h.door.mu.Unlock()
	h.log.say("refused "+reason, who, "the hub refused somebody", append([]any{"reason", reason, "who", who}, why...)...)
}

// fault counts an error that a connection was told of.
func (h *Hub) fault(id uint64, from, text string) {
	h.door.mu.Lock()
	v := h.door.live[id]
	if v != nil {
		v.faults++
	}
	h.door.mu.Unlock()
	reason, who := RejectedGarbage, from
	switch {
	case v != nil:
		who = v.String()
	case strings.HasPrefix(text, server.ErrAuthentication.Error()):
		return // Check has said why
	}
	if strings.Contains(text, "Violation") {
		reason = RejectedDenied
	}
	h.refuse(reason, who, "error", text)
}

// RejectedReasons are all that [Hub.Rejected] may have.
func RejectedReasons() []string {
	return []string{
		RejectedHandshake, RejectedNone, RejectedCertificate, RejectedRevoked, RejectedToken, RejectedBanned, RejectedFlood, RejectedReplaced, RejectedKicked,
		RejectedDenied, RejectedGarbage,
	}
}

// Rejected returns how many, and how much that they said, were refused or cut off since the start, by reason.
func (h *Hub) Rejected() map[string]int64 {
	h.door.mu.Lock()
	defer h.door.mu.Unlock()
	return maps.Clone(h.door.refused)
}

// Connected returns who is connected now, with how many connections each.
func (h *Hub) Connected() map[fleet.Peer]int {
	h.door.mu.Lock()
	defer h.door.mu.Unlock()
	all := make(map[fleet.Peer]int)
	for _, v := range h.door.live {
		all[v.peer]++
	}
	return all
}

// Kick ends the connections of a node. It may come again at once, where its identity is taken still: with [fleet.Identity.OnRevoked] it ends those of
// whoever is revoked.
func (h *Hub) Kick(peer fleet.Peer) {
	h.door.mu.Lock()
	all := maps.Clone(h.door.live)
	h.door.mu.Unlock()
	for id, v := range all {
		if v.peer == peer {
			h.refuse(RejectedKicked, v.String())
			h.end(id)
		}
	}
}
