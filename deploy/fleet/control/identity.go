package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// identities have what the operator's authority says about identities reach the nodes, by the tables that all of them follow.
type identities struct{ c *Control }

func newIdentities(c *Control) *identities {
	i := &identities{c}
	c.verbs["revoke"], c.verbs["renew"], c.verbs["trust"], c.verbs["export"] = i.revoke, i.renew, i.trust, i.export
	return i
}

// mostAhead is how far an operator's clock may be ahead where it says until when identities are revoked.
const mostAhead = 24 * time.Hour

// A Revoke asks that an identity be taken no more.
type Revoke struct {
	Node  string    `json:"node"` // ROLE-NAME
	Why   string    `json:"why,omitempty"`
	Until time.Time `json:"until,omitzero"`  // at least what was issued until then; the control's own clock counts where it is later
	Force bool      `json:"force,omitempty"` // also the control's own node, and who asks
}

// A Revoked is the answer: the identities that were issued until then are refused by all nodes which have come as far in the tables.
type Revoked struct {
	Node   string    `json:"node"`
	Until  time.Time `json:"until"`
	Tables uint64    `json:"tables"`
}

func (i *identities) revoke(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var r Revoke
	if err := readCall(body, &r); err != nil {
		return nil, err
	}
	peer, err := fleet.ParseNode(r.Node)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "control: revoke: %w", err)
	}
	now := i.c.o.Now()
	if r.Until.After(now.Add(mostAhead)) {
		return nil, refuse(http.StatusBadRequest, "control: revoke %v: until %v is more than %v ahead of the clock here", peer, r.Until, mostAhead)
	}
	if len(r.Why) > 1000 {
		r.Why = r.Why[:1000]
	}
	hub := i.c.o.Network().Hub.EmbeddedIn
	switch {
	case r.Force:
	case r.Node == i.c.o.Identity.String():
		return nil, refuse(http.StatusConflict, "control: revoke %v: it is the node in which the control runs, and nobody would hear it any more; say --force, and be at its machine with a new identity", peer)
	case peer.Role == fleet.RoleOrigin && peer.Name == hub:
		return nil, refuse(http.StatusConflict, "control: revoke %v: it has the hub in it, which no node would reach any more; move the hub first, or say --force", peer)
	case peer.Role == fleet.RoleOperator && peer.Name == by:
		return nil, refuse(http.StatusConflict, "control: revoke %v: that is who asks; another operator can do it, or say --force", peer)
	}
	for {
		until := now
		if r.Until.After(until) {
			until = r.Until
		}
		old, at, err := i.value(ctx, bus.TableRevoked, r.Node)
		if err != nil {
			return nil, err
		}
		if old.Until.After(until) {
			until = old.Until
		}
		tables, err := i.c.append(ctx, bus.TableSubject(bus.TableRevoked, r.Node), bus.Encode(bus.Revocation{Until: until.UTC(), By: by, Why: r.Why}), bus.ExpectKey(at))
		if errors.Is(err, bus.ErrChanged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		i.c.o.Log.Warn("an identity was revoked", "node", r.Node, "until", until.UTC(), "by", by, "why", r.Why, "forced", r.Force)
		if peer.Role == fleet.RoleEdge {
			if tables, err = i.c.drains.revoked(ctx, peer.Name, until, by); err != nil {
				return nil, fmt.Errorf("control: %v is revoked, and whether DNS leaves the PoP out is not known; tell it again: %w", peer, err)
			}
		}
		return Revoked{r.Node, until.UTC(), tables}, nil
	}
}

// value reads what is revoked under a key now, and the sequence at which it lies; both are zero where nothing is.
func (i *identities) value(ctx context.Context, table, key string) (r bus.Revocation, at uint64, err error) {
	all, err := i.c.o.Conn.Last(ctx, bus.StreamTables, bus.TableSubject(table, key))
	if err != nil || len(all) == 0 {
		return r, 0, err
	}
	m := all[len(all)-1]
	if len(m.Data) > 0 {
		if err := bus.Decode(m.Data, &r); err != nil {
			i.c.o.Log.Warn("a value of a table cannot be read and is replaced", "table", table, "key", key, "error", err)
		}
	}
	return r, m.Sequence, nil
}

// A Renew gives nodes their next certificates.
type Renew struct {
	Certificates map[string][]byte `json:"certificates"` // by ROLE-NAME, PEM
}

// A Told is the answer to what was told to all nodes: those have heard it who have come as far in the tables.
type Told struct {
	Tables uint64 `json:"tables"`
}

func (i *identities) renew(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var r Renew
	if err := readCall(body, &r); err != nil {
		return nil, err
	}
	if len(r.Certificates) == 0 {
		return nil, refuse(http.StatusBadRequest, "control: renew: a request without certificates")
	}
	for node, certificate := range r.Certificates { // all or none
		if err := i.c.o.Identity.CheckRenewal(node, certificate); err != nil {
			return nil, refuse(http.StatusBadRequest, "control: renew: %w", err)
		}
	}
	var told Told
	for node, certificate := range r.Certificates {
		at, err := i.c.append(ctx, bus.TableSubject(bus.TableCertificate, node), bus.Encode(bus.Renewal{Certificate: certificate}), bus.Expectation{})
		if err != nil {
			return nil, err
		}
		told.Tables = max(told.Tables, at)
		i.c.o.Log.Info("an identity was renewed", "node", node, "by", by)
	}
	return told, nil
}

func (i *identities) trust(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var t bus.Trust
	if err := readCall(body, &t); err != nil {
		return nil, err
	}
	if err := i.c.o.Identity.CheckTrust(t.Authorities, t.Cross); err != nil {
		return nil, refuse(http.StatusBadRequest, "control: trust: %w", err)
	}
	at, err := i.c.append(ctx, bus.TableSubject(bus.TableTrust, bus.TrustKey), bus.Encode(bus.Trust{Authorities: t.Authorities, Cross: t.Cross, At: i.c.o.Now().UTC()}), bus.Expectation{})
	if err != nil {
		return nil, err
	}
	i.c.o.Log.Warn("the authorities that nodes believe are others", "trust", bus.HashOf(t.Authorities), "by", by)
	return Told{at}, nil
}
