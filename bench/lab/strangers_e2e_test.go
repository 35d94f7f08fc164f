//go:build e2e

package lab_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"hither/bench/lab"
	stranger "hither/bench/visit"
)

// TestStrangersMakeNoHandshake has a thousand clients that the edge has never seen ask for what it does not have, and counts
// connections to the origin on the wire and handshakes by the edge's own count.
func TestStrangersMakeNoHandshake(t *testing.T) {
	const strangers, atOnce = 1000, 20
	l := start(t, lab.Options{Segments: lab.Distances(near, far, far)})
	n := network(t, l)
	roots, err := n.Roots()
	if err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	before := handshakes(t, n)
	l.Record()
	next := make(chan int)
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for i := range next {
				at := l.At(lab.Client)
				c := &stranger.Client{
					Dial: at.DialContext, ListenUDP: func() (net.PacketConn, error) { return at.ListenUDP(0) },
					To: netip.AddrPortFrom(lab.Edge.Addr(), 443), TLS: &tls.Config{RootCAs: roots, ServerName: lab.Host},
				}
				p := []stranger.Protocol{stranger.TLS13, stranger.H3, stranger.TLS12}[i%3]
				v, err := c.Visit(t.Context(), p, fmt.Sprintf("/1KiB.bin?%d", i))
				if err != nil || v.Status != 200 || v.Bytes != 1<<10 || !strings.Contains(v.Verdict, "fwd=uri-miss") {
					t.Errorf("stranger %d over %v: status %d, %d bytes, Cache-Status: %s, %v", i, p, v.Status, v.Bytes, v.Verdict, err)
				}
			}
		})
	}
	for i := range strangers {
		if i == strangers/2 && os.Getenv(plants) == "connection" {
			c, err := l.At(lab.Edge).DialContext(t.Context(), "tcp", netip.AddrPortFrom(lab.Origin.Addr(), 9443).String())
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		next <- i
	}
	close(next)
	all.Wait()
	opened := 0
	for _, p := range l.Stop().On(edgeOrigin) {
		if p.Opens && p.From == lab.Edge {
			opened++
		}
	}
	shaken := handshakes(t, n) - before
	if opened != 0 || shaken != 0 {
		t.Errorf("%d connections opened to the origin, %d handshakes", opened, shaken)
	}
	t.Logf("%d strangers: %d handshakes with the origin, %d connections opened to it", strangers, shaken, opened)
}

// handshakes is how many the edge has made with the origin.
func handshakes(t *testing.T, n *lab.Network) uint64 {
	t.Helper()
	s, err := n.Status(t.Context(), lab.Edge)
	if err != nil || len(s.Origins) != 1 {
		t.Fatal(s.Origins, err)
	}
	return s.Origins[0].HandshakesTotal
}
