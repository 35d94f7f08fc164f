//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// badAnswers is what a client gets for what the liar does. A status of 0 is an answer
// that began and was cut: the client must be able to tell. Body is what a whole answer has.
var badAnswers = []struct {
	lie    string
	status int
	body   string
}{
	{lie: "reset-first", status: http.StatusBadGateway},
	{lie: "two-lengths", status: http.StatusBadGateway},
	{lie: "endless-header", status: http.StatusBadGateway},
	{lie: "endless-line", status: http.StatusBadGateway},
	{lie: "endless-hints", status: http.StatusBadGateway},
	{lie: "garbage", status: http.StatusBadGateway},
	{lie: "bad-field", status: http.StatusBadGateway},
	{lie: "trickle", status: http.StatusGatewayTimeout},
	{lie: "silent", status: http.StatusGatewayTimeout},
	{lie: "short"},
	{lie: "short-chunks"},
	{lie: "broken-chunks"},
	{lie: "reset-middle"},
	{lie: "silent-middle"},
	// The first answer is whole by its own length (RFC 9112 section 6.3); what follows it
	// belongs to nobody.
	{lie: "long", status: http.StatusOK, body: "hello"},
	{lie: "two-answers", status: http.StatusOK, body: "/two-answers/"},
}

// TestBadOrigin puts the network in front of an application that lies: the client gets
// a defined answer, a counter says so, and nothing wrong is stored.
func TestBadOrigin(t *testing.T) {
	scenario(t, "bad-origin")
	l := newLiar(t, "127.30")
	n := run(t, setup{net: "127.30", origin: "http://" + l.address, edit: []string{"first_byte: 30s, idle: 30s", "first_byte: 2s, idle: 2s"}})
	pids := []int{n.pid(t, "origin-us"), n.pid(t, "edge-fra")}
	for _, proto := range protocols {
		v := n.via(t, proto, "fra")
		for _, b := range badAnswers {
			path := "/" + b.lie + "/" + proto
			// A gateway that has its wits about it answers for the application, so for the
			// edge a 502 is an answer like any other; a cut is its own verdict.
			label := []string{"proto", proto, "verdict", "error"}
			if b.status != 0 {
				label = []string{"proto", proto, "code", fmt.Sprint(b.status)}
			}
			counter := n.meter(t, "edge-fra", "hither_edge_requests_total", label...)
			for range 2 {
				before := l.times(path)
				got, err := v.get(t.Context(), path)
				want := b.body
				if strings.HasPrefix(want, "/") {
					want += proto
				}
				switch {
				case b.lie == "endless-hints" && err != nil && strings.Contains(err.Error(), "too many 1xx"):
					// The client's own limit (quic-go's is 5) may be lower than ours.
					continue
				case errors.Is(err, context.DeadlineExceeded):
					t.Errorf("%s: hangs", path)
				case b.status == 0 && err == nil:
					t.Errorf("%s: status %d with %d bytes looks whole; %v", path, got.status, len(got.body), got.header)
				case b.status != 0 && (err != nil || got.status != b.status):
					t.Errorf("%s: status %d, not %d; %v", path, got.status, b.status, err)
				case b.status == http.StatusOK && string(got.body) != want:
					t.Errorf("%s: %q, not %q", path, got.body, want)
				case b.status >= 500 && got.header.Get("Proxy-Status") == "":
					t.Errorf("%s: no Proxy-Status with %d; %v", path, got.status, got.header)
				}
				if b.status != http.StatusOK && l.times(path) == before {
					t.Errorf("%s: the application was not asked again: something was stored", path)
				}
			}
			if b.lie != "endless-hints" || proto != "h3" {
				counter.expect(t, 2)
			}
			// The one after it gets its own answer, whatever is left on the connections.
			good := "/good/" + b.lie + "/" + proto
			if got, err := v.get(t.Context(), good); err != nil || got.status != http.StatusOK || string(got.body) != good {
				t.Errorf("after %s: %s: status %d, %q, %v", path, good, got.status, got.body, err)
			}
		}
	}
	t.Log("an application that is down")
	l.close()
	for _, proto := range protocols {
		got, err := n.via(t, proto, "fra").get(t.Context(), "/good/down/"+proto)
		if err != nil || got.status != http.StatusBadGateway || !strings.Contains(got.header.Get("Proxy-Status"), "connection_refused") {
			t.Errorf("%s: status %d, %v; %v", proto, got.status, got.header, err)
		}
		stored, err := n.via(t, proto, "fra").get(t.Context(), "/good/short/"+proto)
		if err != nil || stored.status != http.StatusOK || string(stored.body) != "/good/short/"+proto {
			t.Errorf("%s: what is stored is not answered: status %d, %v", proto, stored.status, err)
		}
	}
	gateway := n.counters(t, "origin-us")
	for _, reason := range []string{
		"origin-reset", "origin-protocol", "origin-header-size", "origin-informational", "origin-timeout", "origin-short", "origin-silent", "origin-unasked", "origin-refused",
	} {
		if gateway.sum("hither_pool_errors_total", "reason", reason) == 0 {
			t.Errorf("the gateway has counted no %s", reason)
		}
	}
	if now := []int{n.pid(t, "origin-us"), n.pid(t, "edge-fra")}; now[0] != pids[0] || now[1] != pids[1] {
		t.Errorf("a node has ended: %v are now %v", pids, now)
	}
	for _, node := range []string{"origin-us", "edge-fra"} {
		if status, _, err := fetch(n.page(node), "/live"); err != nil || status != http.StatusOK {
			t.Errorf("%s: /live %d, %v", node, status, err)
		}
		if rss := n.counters(t, node).sum("process_resident_memory_bytes"); rss <= 0 || rss > 512<<20 {
			t.Errorf("%s has %d bytes of memory after endless headers", node, rss)
		}
	}
}
