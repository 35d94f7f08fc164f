package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/edge/node"
)

// shieldName is the second edge of a script with the line "shield", through which the first fetches.
const shieldName = "iad"

// A shield is that edge. The methods of a nil shield do nothing: most scripts have none.
type shield struct {
	https, inner uint16
	setup        *setup
	auth         *authority
	state        string       // its folder; "" while it does not run
	stop         func() error // ends it
}

// pops is its entry in the network file.
func (s *shield) pops(addr netip.Addr) []map[string]any {
	if s == nil {
		return nil
	}
	type m = map[string]any
	return []m{{
		"name": shieldName, "place": m{"lat": 38.95, "lon": -77.45}, "addresses": []string{addr.String()},
		"listen": m{"https": max(s.https, 1), "http": 0, "metrics": 0, "inner": max(s.inner, 2)},
	}}
}

// names adds to an origin that it is its shield.
func (s *shield) names(origin map[string]any) map[string]any {
	if s != nil {
		origin["shield"] = shieldName
	}
	return origin
}

// begin starts it.
func (s *shield) begin(st *setup, a *authority) error {
	if s == nil {
		return nil
	}
	if s.setup, s.auth = st, a; s.inner == 0 {
		ports, err := freePorts(st.addr, 2)
		if err != nil {
			return err
		}
		s.https, s.inner = ports[0], ports[1]
	}
	state, err := os.MkdirTemp("", "edge-")
	if err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(a.shield, "certs"), filepath.Join(state, "certs")); err != nil {
		return err
	}
	id, err := fleet.LoadIdentity(filepath.Join(a.shield, "identity")) // one for each, which it changes
	if err != nil {
		return err
	}
	network, _, err := st.network(9, 0, 0) // the first edge's ports are not its own to know
	if err != nil {
		return err
	}
	return s.run(network, id, state)
}

func (s *shield) run(network *deploy.Network, id *fleet.Identity, state string) error {
	ready := make(chan struct{})
	n, err := node.New(node.Options{
		Name: shieldName, State: state, Network: network, Identity: id, Version: "script", Log: slog.New(slog.DiscardHandler),
		Now: s.setup.clock.now, Ready: func() { close(ready) },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	<-ready
	s.state, s.stop = state, func() error {
		cancel()
		<-ended // what a drain cuts is the script's own leavings
		return os.RemoveAll(state)
	}
	return nil
}

// end stops it, if it runs.
func (s *shield) end() error {
	if s == nil || s.state == "" {
		return nil
	}
	s.state = ""
	return s.stop()
}

// purge tells it what the edge will be told.
func (s *shield) purge(ctx context.Context, call node.PurgeCall) error {
	if s == nil || s.state == "" {
		return nil
	}
	var refused *ops.Refusal
	if err := ops.Dial(s.state).Post(ctx, "/v1/purge", call, new(json.RawMessage)); err != nil && !errors.As(err, &refused) {
		return err
	}
	return nil
}

// shielded is the step: "shield" says that there is one, "shield down" ends it as a drain does, "shield up" begins another one
// that has nothing stored.
func (r *run) shielded(s *step) error {
	sh := r.setup.shield
	switch {
	case s.arg(1) == "":
		return nil
	case sh == nil:
		return errors.New("there is no shield; write the line `shield`")
	case s.arg(1) == "down":
		return sh.end()
	case s.arg(1) == "up":
		return sh.begin(r.setup, r.auth)
	}
	return fmt.Errorf("shield %s: down or up", s.arg(1))
}
