//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// An upstream is a peer that answers for an application. It listens for HTTP/1.1 at port
// 3001 of its address, for HTTP/2 without TLS at 3002, and for HTTP/2 and 1.1 with TLS
// at 3003.
type upstream struct {
	name    string
	address string
	hints   bool // it has 103
	h3      bool // it has HTTP/3, at 3003
	sockets bool // it has a WebSocket

	// restart restarts it as its operator does, without an end of service; nil = it has no way.
	restart func(t *testing.T)
}

// upstreamFile is what every peer has at /file.
var upstreamFile = bytes.Repeat([]byte("sixteen bytes ..\n"), 1<<16)

const upstreamText = "text of an application\n"

// upstreamFolder is a folder with what peers serve, and a certificate for their addresses
// which also signs itself.
func upstreamFolder(t *testing.T, addresses ...string) (dir string, own tls.Certificate) {
	t.Helper()
	dir = t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"cert.pem": cert, "key.pem": private, "pair.pem": append(bytes.Clone(cert), private...),
		"www/file": upstreamFile, "www/text": []byte(upstreamText),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if own, err = tls.X509KeyPair(cert, private); err != nil {
		t.Fatal(err)
	}
	return dir, own
}

// filled copies a peer's configuration into dir with its places filled in.
func filled(t *testing.T, dir, name string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "upstreams", name))
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, name)
	if err := os.WriteFile(to, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// awaited waits until all three ports of a peer take connections.
func (u *upstream) awaited(t *testing.T, p *process) {
	t.Helper()
	for _, port := range []string{"3001", "3002", "3003"} {
		if !until(20*time.Second, func() bool { return listens(net.JoinHostPort(u.address, port)) }) {
			t.Fatalf("%s does not listen at port %s: %s%s", u.name, port, p.stdout, p.stderr)
		}
	}
}

func nginxUpstream(t *testing.T, address, dir, app string) *upstream {
	t.Helper()
	nginx := peer(t, "nginx", "nginx-light")
	conf := filled(t, dir, "nginx.conf", "@DIR@", dir, "@AT@", address, "@APP@", app)
	u := &upstream{name: "nginx", address: address}
	master := start(t, nginx, "-p", dir, "-c", conf)
	u.awaited(t, master)
	workers := func() []string {
		pid := master.cmd.Process.Pid
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(list))
	}
	u.restart = func(t *testing.T) {
		t.Helper()
		old := workers()
		// An old worker ends when it has answered what it had.
		defer func() {
			if !until(20*time.Second, func() bool {
				now := workers()
				return len(now) > 0 && !slices.ContainsFunc(old, func(w string) bool { return slices.Contains(now, w) })
			}) {
				t.Errorf("of the workers %q, after a reload %q are left", old, workers())
			}
		}()
		if text, err := exec.CommandContext(t.Context(), nginx, "-p", dir, "-c", conf, "-s", "reload").CombinedOutput(); err != nil {
			t.Errorf("nginx -s reload: %v\n%s", err, text)
		}
	}
	return u
}

func haproxyUpstream(t *testing.T, address, dir, app string) *upstream {
	t.Helper()
	haproxy := peer(t, "haproxy", "haproxy")
	conf := filled(t, dir, "haproxy.cfg", "@DIR@", dir, "@AT@", address, "@APP@", app)
	u := &upstream{name: "haproxy", address: address}
	now := start(t, haproxy, "-db", "-f", conf)
	u.awaited(t, now)
	u.hints = true
	u.restart = func(t *testing.T) {
		t.Helper()
		before := now
		now = start(t, haproxy, "-db", "-f", conf, "-sf", strconv.Itoa(before.cmd.Process.Pid))
		if status := before.status(t); status != 0 {
			t.Errorf("the old haproxy ended with status %d: %s", status, before.stderr)
		}
	}
	return u
}

func nodeUpstream(t *testing.T, address, dir string) *upstream {
	t.Helper()
	u := &upstream{name: "node", address: address, hints: true, sockets: true}
	p := start(t, peer(t, "node", "nodejs"), filepath.Join("testdata", "upstreams", "node.js"), address, dir)
	u.awaited(t, p)
	return u
}

// goUpstream is net/http's server, in the test's process; it is the application behind
// those peers that need one, too.
func goUpstream(t *testing.T, address, dir string, own tls.Certificate) *upstream {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/file", http.FileServer(http.Dir(filepath.Join(dir, "www"))))
	mux.Handle("/text", http.FileServer(http.Dir(filepath.Join(dir, "www"))))
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // of HTTP/1.1
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		io.WriteString(w, upstreamText)
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, upstreamText)
		http.NewResponseController(w).Flush()
		w.Header().Set("X-Sum", "42")
	})
	stored := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
	conf := &tls.Config{Certificates: []tls.Certificate{own}}
	for port, protocols := range map[string]func(*http.Protocols){
		"3001": func(p *http.Protocols) { p.SetHTTP1(true) },
		"3002": func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
		"3003": func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) },
	} {
		ln, err := net.Listen("tcp", net.JoinHostPort(address, port))
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: stored, TLSConfig: conf.Clone(), Protocols: new(http.Protocols)}
		protocols(s.Protocols)
		done := make(chan struct{})
		go func() {
			if port == "3003" {
				s.ServeTLS(ln, "", "")
			} else {
				s.Serve(ln)
			}
			close(done)
		}()
		t.Cleanup(func() {
			s.Close()
			<-done
		})
	}
	pc, err := net.ListenPacket("udp", net.JoinHostPort(address, "3003"))
	if err != nil {
		t.Fatal(err)
	}
	three := &http3.Server{Handler: stored, TLSConfig: http3.ConfigureTLSConfig(conf.Clone())}
	done := make(chan struct{})
	go func() {
		three.Serve(pc)
		close(done)
	}()
	t.Cleanup(func() {
		three.Close()
		<-done
		pc.Close()
	})
	return &upstream{name: "go", address: address, hints: true, h3: true}
}
