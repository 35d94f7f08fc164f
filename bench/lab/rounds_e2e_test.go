//go:build e2e

package lab_test

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"hither/bench/lab"
)

const (
	near = 10 * time.Millisecond
	far  = 60 * time.Millisecond
)

var (
	clientEdge   = lab.Between(lab.Client, lab.Edge)
	edgeOrigin   = lab.Between(lab.Edge, lab.Origin)
	clientOrigin = lab.Between(lab.Client, lab.Origin)

	distances = map[lab.Segment]time.Duration{clientEdge: near, edgeOrigin: far, clientOrigin: far}
)

// rounds asserts the round trips of a path on each segment, and logs them in a line that `make e2e` looks for.
func rounds(t *testing.T, name string, x visit, p lab.Path, want map[lab.Segment]int) {
	t.Helper()
	var counted []string
	distance := time.Duration(0)
	for _, s := range lab.Segments() {
		got := p.RoundTrips(s)
		if got != want[s] {
			t.Errorf("%s: %d round trips on %v, want %d", name, got, s, want[s])
		}
		if got > 0 {
			counted = append(counted, fmt.Sprintf("%d on %v", got, s))
		}
		distance += time.Duration(got) * distances[s]
	}
	t.Logf("%s: round trips: %s", name, strings.Join(counted, ", "))
	// Round trips that were made take their time, on the client's clock too: so none can be counted that was not.
	if waited := x.first.Sub(x.start); waited < distance {
		t.Errorf("%s: %v were counted, which take %v, and the client waited for %v", name, counted, distance, waited)
	}
}

func TestRoundTripsDirect(t *testing.T) {
	l := start(t, lab.Options{Segments: lab.Distances(near, far, far)})
	v := direct(t, l)
	for _, c := range []struct {
		name    string
		version uint16
		want    int
	}{{"TLS 1.2", tls.VersionTLS12, 4}, {"TLS 1.3", tls.VersionTLS13, 3}} {
		x, p, _ := v.measure(t, func() visit { return v.overTCP(t, c.version, "/") })
		rounds(t, c.name+" direct", x, p, map[lab.Segment]int{clientOrigin: c.want})
	}
	x, p, _ := v.measure(t, func() visit { return v.overQUIC(t, "/") })
	rounds(t, "HTTP/3 direct", x, p, map[lab.Segment]int{clientOrigin: 2})

	v.tls.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	v.overQUIC(t, "/")
	x, p, _ = v.measure(t, func() visit { return v.overQUIC(t, "/") })
	if !x.early {
		t.Error("no 0-RTT")
	}
	rounds(t, "0-RTT direct", x, p, map[lab.Segment]int{clientOrigin: 1})
}

func TestRoundTripsThroughTheEdge(t *testing.T) {
	l := start(t, lab.Options{Segments: lab.Distances(near, far, far)})
	n := network(t, l)
	found(t, l)
	v := throughEdge(t, l, n)
	v.overTCP(t, tls.VersionTLS13, "/1KiB.bin")
	cases := []struct {
		name  string
		visit func(path string) visit
		want  int
	}{
		{"TLS 1.2", func(path string) visit { return v.overTCP(t, tls.VersionTLS12, path) }, 4},
		{"TLS 1.3", func(path string) visit { return v.overTCP(t, tls.VersionTLS13, path) }, 3},
		{"HTTP/3", func(path string) visit { return v.overQUIC(t, path) }, 2},
		{"0-RTT", func(path string) visit {
			v := v
			v.tls = v.tls.Clone()
			v.tls.ClientSessionCache = tls.NewLRUClientSessionCache(10)
			v.overQUIC(t, "/1KiB.bin")
			settle(t, l)
			x := v.overQUIC(t, path)
			if !x.early {
				t.Error("no 0-RTT")
			}
			return x
		}, 1},
	}
	for _, c := range cases {
		x, p, rec := v.measure(t, func() visit { return c.visit("/1KiB.bin") })
		if x.status != 200 || !strings.Contains(x.verdict, "hit") || x.body != 1<<10 {
			t.Errorf("%s hit: status %d, %d bytes, Cache-Status: %s", c.name, x.status, x.body, x.verdict)
		}
		rounds(t, c.name+" hit", x, p, map[lab.Segment]int{clientEdge: c.want})
		bytes := 0
		for _, o := range rec.On(edgeOrigin) {
			bytes += o.Payload
		}
		if bytes != 0 {
			t.Errorf("%s hit: %d bytes went over %v", c.name, bytes, edgeOrigin)
		}
		t.Logf("%s hit: %d bytes on %v", c.name, bytes, edgeOrigin)
		x, p, _ = v.measure(t, func() visit { return c.visit("/1KiB.bin?" + strings.ReplaceAll(c.name, " ", "")) })
		if x.status != 200 || !strings.Contains(x.verdict, "fwd=uri-miss") || x.body != 1<<10 {
			t.Errorf("%s miss: status %d, %d bytes, Cache-Status: %s", c.name, x.status, x.body, x.verdict)
		}
		rounds(t, c.name+" miss", x, p, map[lab.Segment]int{clientEdge: c.want, edgeOrigin: 1})
	}
}

// found fails the test unless the lab's DNS server leads the client to the edge.
func found(t *testing.T, l *lab.Lab) {
	t.Helper()
	c, err := l.At(lab.Client).DialContext(t.Context(), "tcp", lab.Host+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if to := c.RemoteAddr().String(); to != "198.18.0.2:443" {
		t.Errorf("%s is %s", lab.Host, to)
	}
	if n := l.Count(lab.Client, lab.DNS); n.Packets == 0 {
		t.Error("nobody asked the DNS server")
	}
}

// throughEdge is a visitor of the site.
func throughEdge(t *testing.T, l *lab.Lab, n *lab.Network) visitor {
	t.Helper()
	roots, err := n.Roots()
	if err != nil {
		t.Fatal(err)
	}
	return visitor{lab: l, to: netip.AddrPortFrom(lab.Edge.Addr(), 443), tls: &tls.Config{RootCAs: roots, ServerName: lab.Host}}
}

// network runs hither in a lab, with its connections open. It ends with the test.
func network(t *testing.T, l *lab.Lab) *lab.Network {
	t.Helper()
	n, err := l.StartNetwork(t.Context(), lab.NetworkOptions{Program: program(t), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// program is the path of hither, as `make build` makes it.
func program(t *testing.T) string {
	t.Helper()
	const path = "../../bin/hither"
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; `make build` makes it", err)
	}
	return path
}
