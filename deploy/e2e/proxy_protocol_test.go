//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// haproxyDefaults is what every HAProxy here has.
const haproxyDefaults = `global
    maxconn 500
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    source NET.7.7
`

// beforeEdge is HAProxy in front of an edge, with version 1 on one port and version 2, with a checksum, on another, and in front of the
// edge's plain port. Its own checks of the edge begin with a header that names nobody (LOCAL).
const beforeEdge = haproxyDefaults + `
listen first
    bind NET.7.1:8443
    server edge NET.1.1:8443 send-proxy check check-send-proxy inter 500ms
listen second
    bind NET.7.2:8443
    server edge NET.1.1:8443 send-proxy-v2 proxy-v2-options crc32c check check-send-proxy inter 500ms
listen plain
    bind NET.7.1:8080
    server edge NET.1.1:8080 send-proxy-v2
listen bare
    bind NET.7.3:8443
    server edge NET.1.1:8443
`

// beforeGateway is HAProxy between the edges and the gateway.
const beforeGateway = haproxyDefaults + `
listen gateway
    bind NET.7.9:9443
    server gateway NET.0.1:9443 send-proxy-v2
`

// beforeApp is HAProxy in front of the application, which takes no connection without a header, and tells who it was for.
const beforeApp = haproxyDefaults + `
listen app
    mode http
    bind NET.7.4:3000 accept-proxy
    http-request set-header X-Announced %[src]
    server app APP
`

// haproxy starts HAProxy with a configuration for a net.
func haproxy(t *testing.T, conf, net127 string, ready ...string) {
	t.Helper()
	path := peer(t, "haproxy", "haproxy")
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(conf, "NET", net127)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, path, "-db", "-f", file)
	for _, at := range ready {
		if !until(readyTime, func() bool { return listens(net127 + at) }) {
			t.Fatalf("%s is not ready:\n%s", p.cmd, p.stderr)
		}
	}
}

// TestProxyProtocol puts HAProxy in front of an edge, between the edges and the gateway, and in front of the application: everybody who looks sees the
// client, not HAProxy.
func TestProxyProtocol(t *testing.T) {
	scenario(t, "proxy-protocol")
	const net127 = "127.65"
	a := newApp(t, net127)
	a.mux.HandleFunc("/told/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Announced"))
	})
	haproxy(t, beforeGateway, net127, ".7.9:9443")
	haproxy(t, strings.Replace(beforeApp, "APP", strings.TrimPrefix(a.url, "http://"), 1), net127, ".7.4:3000")
	n := run(t, setup{net: net127, origin: "http://" + net127 + ".7.4:3000", edit: []string{
		"      instances: [{", "      proxy_protocol: v2\n      instances: [{",
		"balance: {algorithm: p2c-ewma}", "balance: {algorithm: p2c-ewma, health: {path: /once/up, interval: 500ms, timeout: 400ms}}",
		"listen: {https: 8443,", "listen: {proxy_protocol: [" + net127 + ".7.0/24], https: 8443,",
		`gateway: {addresses: ["` + net127 + `.0.1:9443"]`, `gateway: {addresses: ["` + net127 + `.7.9:9443"], bind: ["` + net127 + `.0.1:9443"], proxy_protocol: [` + net127 + `.7.7/32]`,
		"connections_per_address: 1000", "connections_per_address: 2",
	}})
	haproxy(t, beforeEdge, net127, ".7.1:8080")
	log := filepath.Join(n.state("edge-fra"), "access.log")
	rejected := func(node, reason string) *meter {
		t.Helper()
		name := map[bool]string{true: "hither_edge_rejected_total", false: "hither_origin_rejected_total"}[node == "edge-fra"]
		return n.meter(t, node, name, "reason", reason)
	}
	missing, atGateway := rejected("edge-fra", "proxy-protocol"), rejected("origin-us", "proxy-protocol")

	t.Log("more clients than one address may have connections: each is seen as itself")
	var want []string
	for i := range 8 {
		front := []string{net127 + ".7.1:8443", net127 + ".7.2:8443"}[i%2]
		client := netip.MustParseAddr(fmt.Sprintf("%s.9.%d", net127, i+1))
		for _, proto := range []string{"h1", "h2"} {
			v := n.visitor(t, visit{proto: proto, pops: []string{"fra"}, from: client})
			v.edges = []string{front}
			path := fmt.Sprintf("/told/%d/%s", i, proto)
			if got := string(v.must(t, path).body); got != client.String()+" "+client.String() {
				t.Errorf("%s by %s: the application is told of %q, not twice of %s", path, front, got, client)
			}
			want = append(want, client.String()+" "+path)
		}
	}
	t.Log("a third connection of one of them")
	many := rejected("edge-fra", "connections-per-address")
	third := n.visitor(t, visit{proto: "h2", pops: []string{"fra"}, from: netip.MustParseAddr(net127 + ".9.1")})
	third.edges = []string{net127 + ".7.1:8443"}
	if got, err := third.get(t.Context(), "/once/third"); err == nil {
		t.Errorf("it is let in, with status %d", got.status)
	}
	many.expect(t, 1)

	t.Log("the plain port")
	if got := plainLocation(t, net127+".9.20", net127+".7.1:8080"); got != site+"/once/plain" {
		t.Errorf("sent to %q", got)
	}
	want = append(want, net127+".9.20 /once/plain")

	t.Log("nobody in front: others need no header, and none is asked of HTTP/3")
	for i, proto := range protocols {
		client := fmt.Sprintf("%s.9.%d", net127, 30+i)
		n.visitor(t, visit{proto: proto, pops: []string{"fra"}, from: netip.MustParseAddr(client)}).must(t, "/once/"+proto)
		want = append(want, client+" /once/"+proto)
	}

	var seen []string
	if !until(10*time.Second, func() bool {
		seen = nil
		entries, err := logLines(log)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			seen = append(seen, fmt.Sprint(e["client"], " ", e["target"]))
		}
		slices.Sort(want)
		slices.Sort(seen)
		return slices.Equal(seen, want)
	}) {
		t.Errorf("the access log has\n%s\nnot\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	if !until(10*time.Second, func() bool { return a.times("/once/up") > 0 }) {
		t.Error("no check of the gateway's comes through the HAProxy in front of the application")
	}
	// HAProxy's checks say that they are nobody's, and all edges reach the gateway through it.
	missing.expect(t, 0)
	atGateway.expect(t, 0)

	t.Log("HAProxy that forgets the header, and an edge's neighbour that has HAProxy's address")
	bare := n.visitor(t, visit{proto: "h2", pops: []string{"fra"}, from: netip.MustParseAddr(net127 + ".9.40")})
	bare.edges = []string{net127 + ".7.3:8443"}
	if got, err := bare.get(t.Context(), "/once/bare"); err == nil {
		t.Errorf("without a header: status %d", got.status)
	}
	missing.expect(t, 1)
	near := n.visitor(t, visit{proto: "h2", pops: []string{"fra"}, from: netip.MustParseAddr(net127 + ".7.7")})
	if got, err := near.get(t.Context(), "/once/near"); err == nil {
		t.Errorf("from HAProxy's address: status %d", got.status)
	}
	missing.expect(t, 1)

	t.Log("a stranger's header is no TLS and no HTTP")
	for port, begins := range map[int]string{8443: "", 8080: "HTTP/1.1 400 "} {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(net127 + ".9.50")}}).Dial("tcp", n.at("1.1", port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(hangTime))
		io.WriteString(c, "PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\nGET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if got, err := io.ReadAll(c); !strings.HasPrefix(string(got), begins) || begins == "" && len(got) > 0 {
			t.Errorf("port %d answers %q, %v", port, got, err)
		}
	}
	missing.expect(t, 0)

	t.Log("status tells what waits for a new start")
	n.put(t, edited(t, n.file(t), "proxy_protocol: ["+net127+".7.0/24]", "proxy_protocol: []"))
	if out, stderr, code := call(t, "check", n.path()); code != 0 {
		t.Errorf("check: %d %s%s", code, out, stderr)
	}
	n.reload(t, "network file read again")
	if !until(10*time.Second, func() bool {
		out, _, _ := call(t, "status", "--state", n.dir, "-o", "json")
		var doc struct{ Nodes []map[string]any }
		return json.Unmarshal([]byte(out), &doc) == nil && strings.Contains(fmt.Sprint(find(doc.Nodes, "edge-fra")), "listen")
	}) {
		t.Error("the status does not say that `listen` waits for a new start")
	}
}

// plainLocation asks a plain port for /once/plain from an address, and returns where it sends the client.
func plainLocation(t *testing.T, from, to string) string {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: hangTime}
	tr := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}
	r, err := http.NewRequest(http.MethodGet, "http://"+to+"/once/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("Location")
}
