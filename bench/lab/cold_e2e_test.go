//go:build e2e

package lab_test

import (
	"crypto/tls"
	"testing"

	"hither/bench/lab"
)

func TestRoundTripsOnAColdPool(t *testing.T) {
	l := start(t, lab.Options{Segments: lab.Distances(near, far, far)})
	n := network(t, l)
	v := throughEdge(t, l, n)
	// The edge may dial by itself in the moment between the origin's start and the request, and then is not cold.
	for range 3 {
		if err := n.Cool(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Record()
		x := v.overTCP(t, tls.VersionTLS13, "/1KiB.bin")
		p, err := l.Stop().Path(lab.Question{Start: x.start, At: x.first, Port: x.port})
		if err == nil && p.RoundTrips(clientEdge) < 3 {
			t.Log("the edge was first")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		// TCP, TLS 1.3, the HTTP/2 settings that the edge waits for, and the request.
		rounds(t, "cold", p, map[lab.Segment]int{clientEdge: 3, edgeOrigin: 4})
		return
	}
	t.Error("the edge's pool was never cold")
}
