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
	for range 10 {
		if err := n.Cool(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Record()
		x := v.overTCP(t, tls.VersionTLS13, "/1KiB.bin")
		rec := l.Stop()
		if !cold(rec) {
			t.Log("the edge was first")
			continue
		}
		p, err := rec.Path(lab.Question{Start: x.start, At: x.first, Port: x.port})
		if err != nil {
			t.Fatal(err)
		}
		// TCP, TLS 1.3, the HTTP/2 settings that the edge waits for, and the request.
		rounds(t, "cold miss", x, p, map[lab.Segment]int{clientEdge: 3, edgeOrigin: 4})
		return
	}
	t.Error("the edge's pool was never cold")
}

// cold reports whether the edge began to connect when the client's request had come, and not before.
func cold(r *lab.Recording) bool {
	var request lab.Packet // the last packet with data that the client sent before its answer
	for _, p := range r.On(clientEdge) {
		if p.From == lab.Edge && p.Payload >= 1<<10 {
			break
		}
		if p.From == lab.Client && p.Payload > 0 {
			request = p
		}
	}
	for _, p := range r.On(edgeOrigin) {
		return p.From == lab.Edge && p.Opens && p.Sent.After(request.Arrived)
	}
	return false
}
