package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"hither/deploy/fleet"
	"hither/origin/pool"
)

// A gateway that takes connections and says nothing is not waited for while another one answers; nor is it asked by requests that
// would each dial.
func TestDownIsNotWaitedFor(t *testing.T) {
	f := newFarSide(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var dials atomic.Int64
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			c.Close()
		}
	}()
	one := f.gateway("one", nil)
	network, _ := f.network(nil, one.addr)
	o := network.Origin("us")
	n := &Node{o: Options{Name: "fra", Identity: f.edge, Network: network}}
	x, err := newOrigin(o, []gateway{
		{name: "edge/iad", role: fleet.RoleEdge, node: "iad", addresses: []string{ln.Addr().String()}, weight: 1},
		{name: "us", role: fleet.RoleOrigin, node: "us", addresses: []string{one.addr}, weight: 1, group: 1},
	}, n.poolConfig(o), f.edge, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	line := func(name string) *line {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, l := range x.lines {
			if l.gateway == name {
				return l
			}
		}
		t.Fatalf("no line to %s", name)
		return nil
	}
	shield, us := line("edge/iad"), line("us")
	until(t, "one is up and the other is not", func() bool { return us.Status().Up && shield.Down() != nil })
	before := dials.Load()
	const requests = 200
	for range requests {
		r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://www.hither.test/", strings.NewReader("x"))
		_, err := shield.RoundTrip(r)
		var e *pool.Error
		if !errors.As(err, &e) || !e.Retryable() {
			t.Fatalf("%v", err)
		}
	}
	if n := dials.Load() - before; n > requests/4 { // the pool's own, again and again
		t.Errorf("%d dials for %d requests", n, requests)
	}
	for range 20 {
		expectFrom(t, x, "one")
	}
	// Nobody else is there: whoever asks waits for the next dial.
	us.Close()
	if x.another(shield) {
		t.Error("a gateway that was closed is another way")
	}
}
