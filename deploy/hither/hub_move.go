package main

import (
	"errors"
	"net/http"

	"hither/deploy/fleet/control"
	"hither/deploy/ops"
)

// moves has a gateway take the hub from another one, and end the one that has moved away from it: calls of the control alone,
// which come over the bus.
func (p *process) moves(admin *ops.Admin) {
	p.taker = control.NewTaker(control.TakerOptions{Identity: p.identity, State: p.o.state, Network: p.files.Network, Log: p.log})
	admin.Handle("POST /v1/hub/take", func(r *http.Request) (string, any, error) {
		var part control.Part
		if err := ops.DecodeBody(r, &part); err != nil {
			return "", nil, err
		}
		doc, err := p.taker.Take(part)
		return "take", doc, asRefusal(err)
	})
	admin.Handle("GET /v1/hub/take", func(*http.Request) (string, any, error) { return "take", p.taker.Doc(), nil })
	admin.Handle("POST /v1/hub/end", func(*http.Request) (string, any, error) {
		moved, err := control.HubMoved(p.o.state)
		switch {
		case err != nil:
			return "", nil, err
		case p.files.Network().Hub.EmbeddedIn == p.identity.Name:
			return "", nil, &ops.Refusal{Status: http.StatusConflict, Cause: errHubHere}
		case moved != nil:
			if err := control.EndMoved(p.o.state); err != nil {
				return "", nil, err
			}
			p.log.Info("the hub that was here is not needed any more", "is in", moved.Gateway)
			p.changed.ring()
		}
		return "take", p.taker.Doc(), nil
	})
}

// asRefusal makes a control's refusal the admin socket's.
func asRefusal(err error) error {
	if r := (*control.Refusal)(nil); errors.As(err, &r) {
		return &ops.Refusal{Status: r.Status, Cause: r.Cause}
	}
	return err
}
