package node

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"hither/cache"
	"hither/deploy"
	"hither/deploy/fleet"
	"hither/edge/listen"
	"hither/edge/proxy"
)

// Who may ask a shield by its listener for other PoPs: edges of the fleet and of its trust domain, by the node's own name.
func TestInnerListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	ln.Close()
	type m = map[string]any
	place, listens := m{"lat": 50, "lon": 8}, m{"https": 8443, "metrics": 0}
	file, err := json.Marshal(m{
		"version": 1, "name": "test", "edge": m{"listen": listens},
		"pops": []m{
			{"name": "fra", "place": place, "addresses": []string{"127.67.1.1"}},
			{"name": "iad", "place": place, "addresses": []string{"127.0.0.1"}, "listen": m{"inner": addr.Port}},
			{"name": "gru", "place": place, "addresses": []string{"127.67.1.3"}, "trust": "other"},
		},
		"origins": []m{{"name": "us", "shield": "iad", "gateway": m{"addresses": []string{"127.0.0.1:9"}}, "app": m{"static": m{}}}},
		"sites":   []m{{"name": "www", "hosts": []string{"www.hither.test"}, "origin": "us"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	network, err := deploy.Parse("test", file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := fleet.Init(network, file, dir); err != nil {
		t.Fatal(err)
	}
	identity := func(node string) *fleet.Identity {
		id, err := fleet.LoadIdentity(filepath.Join(dir, "nodes", node, "identity"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	var log journal
	n := &Node{
		o:    Options{Name: "iad", Network: network, Identity: identity("edge-iad"), Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now},
		edge: network.EdgeOf("iad"), network: network, count: newMetrics(prometheus.NewRegistry()),
		proxy: proxy.New(proxy.Config{Node: "iad", Cache: cache.New(cache.Config{}), Sites: proxy.NewSites(), Port: 8443}),
	}
	defer n.proxy.Close()
	if err := n.listenInner(network.PoP("iad")); err != nil {
		t.Fatal(err)
	}
	served := n.serve()
	defer func() {
		n.inner.Close()
		<-served
	}()
	ask := func(conf *tls.Config) (int, error) {
		tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("https://" + addr.String() + "/")
		if err != nil {
			return 0, err
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	// A site that is not there is a site of another trust domain.
	if status, err := ask(identity("edge-fra").ClientTLS(fleet.RoleEdge, "iad")); status != http.StatusMisdirectedRequest || err != nil {
		t.Errorf("another PoP: %d, %v", status, err)
	}
	for _, node := range []string{"edge-gru", "origin-us"} {
		if status, err := ask(identity(node).ClientTLS(fleet.RoleEdge, "iad")); err == nil {
			t.Errorf("%s is answered %d", node, status)
		}
	}
	if status, err := ask(&tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Errorf("nobody is answered %d", status)
	}
	if status, err := ask(identity("edge-fra").ClientTLS(fleet.RoleEdge, "gru")); err == nil {
		t.Errorf("iad is taken for gru, and answers %d", status)
	}
	revoke := func(node string, status int) {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: identity(node).ClientTLS(fleet.RoleEdge, "iad"), ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		for _, revoked := range []map[string]time.Time{nil, {node: time.Now()}} {
			if err := n.o.Identity.SetRevoked(revoked); err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(httptest.NewRequest("GET", "https://"+addr.String()+"/", nil))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if want := map[bool]int{false: http.StatusMisdirectedRequest, true: status}[revoked != nil]; resp.StatusCode != want {
				t.Errorf("%s, revoked %t: %d, wanted %d", node, revoked != nil, resp.StatusCode, want)
			}
		}
	}
	revoke("edge-fra", http.StatusServiceUnavailable)
	counted := func(reason listen.Reason) float64 {
		var m dto.Metric
		if err := n.count.rejected.WithLabelValues(string(reason)).Write(&m); err != nil {
			t.Fatal(err)
		}
		return value(&m)
	}
	if tls, revoked := counted(listen.ReasonTLS), counted(rejectedRevoked); tls < 3 || revoked != 1 {
		t.Errorf("%v strangers and %v requests of one that was revoked are counted", tls, revoked)
	}
	if refused, gone := strings.Count(log.String(), "a connection was refused"), strings.Count(log.String(), "a request was refused"); refused != 1 || gone != 1 {
		t.Errorf("they are in %d and %d lines:\n%s", refused, gone, log.String())
	}
}

// A journal is what has been logged, by whomever.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
