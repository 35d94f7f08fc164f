package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"hither/deploy"
	"hither/edge/cert"
	"hither/edge/listen"
)

// pairFor makes a certificate for name with a serial number, in PEM.
func pairFor(t *testing.T, name string, serial int64, end time.Time) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

// reading is what a metric has.
func reading(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return value(&out)
}

func parse(t *testing.T, file map[string]any) *deploy.Network {
	t.Helper()
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	network, err := deploy.Parse("test", text)
	if err != nil {
		t.Fatal(err)
	}
	return network
}

// Files of certificates are renewed while clients are connected: those in the state folder, and those that the network file names.
func TestCertificateFiles(t *testing.T) {
	const name = "files.hither.test"
	dir := t.TempDir()
	chainFile, keyFile := filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem")
	write := func(chain, key []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(chainFile, chain, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	end := time.Now().Add(100 * 24 * time.Hour).Truncate(time.Second)
	write(pairFor(t, name, 1001, end))
	var file map[string]any
	p := newPops(t, hello, func(f map[string]any) {
		site := map[string]any{"name": "files", "hosts": []string{name}, "origin": "us", "tls": map[string]any{"certificate": map[string]any{"cert": chainFile, "key": keyFile}}}
		f["sites"] = append(f["sites"].([]map[string]any), site)
		file = f
	})
	n, addr := p.nodes["fra"], "127.0.0.1:"+strconv.Itoa(p.ports["fra"])
	serial := func(name string) int64 {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	until := func(what string, look bool, done func() bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: it does not come", what)
			}
			if look {
				n.lookAtCerts()
			}
		}
	}
	// Clients that came before, over TCP and QUIC.
	var dials atomic.Int64
	conf := &tls.Config{ServerName: name, InsecureSkipVerify: true}
	h2 := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
	defer h2.CloseIdleConnections()
	h3 := &http3.Transport{TLSClientConfig: conf, Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
		dials.Add(1)
		return quic.DialAddr(ctx, addr, c, q)
	}}
	defer h3.Close()
	ask := func() {
		t.Helper()
		for _, c := range []http.RoundTripper{h2, h3} {
			resp, err := (&http.Client{Transport: c, Timeout: 30 * time.Second}).Get("https://" + name + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != "hello" {
				t.Errorf("%q, %v", body, err)
			}
		}
		if dials.Load() != 2 {
			t.Errorf("%d connections for two clients", dials.Load())
		}
	}
	ask()
	taken := reading(t, n.count.certs.WithLabelValues(certTaken))
	if serial(name) != 1001 || taken != 2 || reading(t, n.count.expiry.WithLabelValues(name)) != float64(end.Unix()) {
		t.Errorf("at the start: serial %d, %v taken", serial(name), taken)
	}

	end = end.Add(24 * time.Hour)
	chain, key := pairFor(t, name, 1002, end)
	write(chain, key)
	until("a renewed pair, which nobody tells the node of", false, func() bool { return serial(name) == 1002 })
	ask()
	until("its count", false, func() bool { return reading(t, n.count.certs.WithLabelValues(certTaken)) == taken+1 })
	until("its end", false, func() bool { return reading(t, n.count.expiry.WithLabelValues(name)) == float64(end.Unix()) })

	_, other := pairFor(t, name, 1003, end)
	write(chain, other)
	until("a key that does not fit", true, func() bool { return reading(t, n.count.certs.WithLabelValues(string(cert.Mismatch))) == 1 })
	write(chain[:len(chain)/2], key)
	until("half a file", true, func() bool { return reading(t, n.count.certs.WithLabelValues(string(cert.Damaged))) == 1 })
	status := n.Status().Nodes[0]
	if text := strings.Join(status.Problems, "\n"); !strings.Contains(text, "pair of "+name) || !strings.Contains(text, "the old one stays") {
		t.Errorf("the status does not say it: %q", text)
	}
	if serial(name) != 1002 {
		t.Errorf("serial %d is served", serial(name))
	}

	// A network file that is not taken leaves everything as it was.
	wrong := map[string]any{}
	for k, v := range file {
		wrong[k] = v
	}
	wrong["sites"] = append([]map[string]any{{"name": "new", "hosts": []string{"new.hither.test"}, "origin": "us"}}, file["sites"].([]map[string]any)...)
	if err := n.Reload(parse(t, wrong)); err == nil || !strings.Contains(err.Error(), "site new: no certificate for new.hither.test") {
		t.Errorf("a site without a certificate: %v", err)
	}
	if err := n.Reload(parse(t, file)); err != nil {
		t.Errorf("the files are unfit and the old pair is there: %v", err)
	}
	ask()
	write(pairFor(t, name, 1004, end))
	until("a pair that fits again", true, func() bool { return serial(name) == 1004 })
	if problems := n.Status().Nodes[0].Problems; strings.Contains(strings.Join(problems, "\n"), "certificate") {
		t.Errorf("the status says still %q", problems)
	}

	chain, key = pairFor(t, "www.hither.test", 1005, end)
	if err := cert.Save(n.certsFolder(), "www.hither.test", chain, key); err != nil {
		t.Fatal(err)
	}
	until("a pair in the state folder", true, func() bool { return serial("www.hither.test") == 1005 })
	unreadable := reading(t, n.count.certs.WithLabelValues(string(cert.Unreadable)))
	if err := os.RemoveAll(filepath.Join(n.certsFolder(), "www.hither.test")); err != nil {
		t.Fatal(err)
	}
	until("a folder that is gone", true, func() bool { return reading(t, n.count.certs.WithLabelValues(string(cert.Unreadable))) == unreadable+1 })
	ask()
	if serial("www.hither.test") != 1005 || serial(name) != 1004 || reading(t, n.count.expiry.WithLabelValues("www.hither.test")) != float64(end.Unix()) {
		t.Error("what is served is not what was taken last")
	}
}

// A metric for each of many names would be a page that nobody reads in time: the name whose certificate ends first stands for all.
func TestExpiries(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	var sources []cert.Source
	for i, host := range []string{"early.test", "late.test"} {
		chain, key := pairFor(t, host, 1, now.Add(time.Duration(i+1)*time.Hour))
		if err := cert.Save(dir, host, chain, key); err != nil {
			t.Fatal(err)
		}
		sources = append(sources, cert.Folder(dir, host))
	}
	pairs, _ := cert.Load(sources, nil, now)
	early, _ := pairs.At(0)
	late, _ := pairs.At(1)
	for more, want := range map[int]int{expiriesShown - 1: expiriesShown, expiriesShown: 1} {
		hosts := []string{}
		for i := range more {
			hosts = append(hosts, fmt.Sprintf("h%d.test", i))
		}
		table, err := cert.NewTable(listen.ALPN, cert.Entry{Names: hosts, Certificate: late}, cert.Entry{Names: []string{"early.test"}, Certificate: early})
		if err != nil {
			t.Fatal(err)
		}
		network := parse(t, map[string]any{
			"version": 1, "name": "test", "edge": map[string]any{"listen": map[string]any{"http": 0, "metrics": 0}},
			"pops":    []any{map[string]any{"name": "fra", "place": map[string]any{"lat": 50, "lon": 8}, "addresses": []string{"127.0.0.1"}}},
			"origins": []any{map[string]any{"name": "us", "gateway": map[string]any{"addresses": []string{"127.0.0.1:9"}}, "app": map[string]any{"static": map[string]any{}}}},
			"sites":   []any{map[string]any{"name": "www", "hosts": append(hosts, "early.test"), "origin": "us"}},
		})
		n := &Node{o: Options{Name: "fra"}, network: network, names: cert.NewNames(table, nil), count: newMetrics(prometheus.NewRegistry())}
		n.expiries()
		shown := make(chan prometheus.Metric, 2*expiriesShown)
		n.count.expiry.Collect(shown)
		if len(shown) != want {
			t.Errorf("%d names: %d metrics", more+1, len(shown))
		}
		if want == 1 && reading(t, n.count.expiry.WithLabelValues("")) != float64(early.NotAfter().Unix()) {
			t.Error("it is not the end of the one that ends first")
		}
	}
}
