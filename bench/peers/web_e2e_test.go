//go:build e2e

package peers

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"

	"hither/bench/load"
	"hither/bench/upstream"
)

// testNet is for servers of tests alone.
const testNet = "127.82"

// bench starts an upstream.
func startBench(t *testing.T) *Bench {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cores, err := load.Cores()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", folderPrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	b := &Bench{Self: self, Folder: folder, Net: testNet, Server: cores[0], Client: cores[len(cores)-1], Connections: 2000, Objects: filepath.Join(folder, "objects")}
	if b.Certificate, err = NewCertificate(folder, WebName); err != nil {
		t.Fatal(err)
	}
	s, err := b.StartUpstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return b
}

// TestWebPeers starts each, and gets objects by each protocol.
func TestWebPeers(t *testing.T) {
	b := startBench(t)
	for _, log := range []bool{false, true} {
		b.Log = log
		for _, s := range upstream.Sizes() {
			dir := filepath.Join(b.Objects, s.Name)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "7"), upstream.NewObjects().Body(s, 7), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range WebPeers() {
			t.Run(fmt.Sprintf("%s, log %t", p.Name, log), func(t *testing.T) {
				s, err := p.Start(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Stop()
				protocols := []string{"h1", "h2"}
				if p.HTTP3 {
					protocols = append(protocols, "h3")
				}
				useServer(t, b, s, protocols, p.Stores)
				logged(t, b, s, 18*len(protocols))
				t.Logf("%s %s, %v", s.Name, s.Version, s.PIDs())
			})
		}
		t.Run(fmt.Sprintf("hither, log %t", log), func(t *testing.T) {
			s, err := StartHitherWeb(t.Context(), "../../bin/hither", b)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			useServer(t, b, s, []string{"h1", "h2", "h3"}, true)
			logged(t, b, s, 18*3)
		})
		left, _ := load.Below(os.Getpid())
		if len(left) != 2 { // the upstream and its holder
			t.Errorf("%d processes are left", len(left))
		}
	}
}

func useServer(t *testing.T, b *Bench, s *WebServer, protocols []string, stores bool) {
	t.Helper()
	count := func() int64 {
		n, err := upstream.Count(t.Context(), http.DefaultClient, b.Upstream.String())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, proto := range protocols {
		conf := &tls.Config{RootCAs: b.Certificate.Roots, ServerName: WebName, MinVersion: tls.VersionTLS13}
		var rt http.RoundTripper
		if proto == "h3" {
			tr := &http3.Transport{TLSClientConfig: conf, Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
				return quic.DialAddr(ctx, s.Addr.String(), c, q)
			}}
			defer tr.Close()
			rt = tr
		} else {
			var protocols http.Protocols
			protocols.SetHTTP1(proto == "h1")
			protocols.SetHTTP2(proto == "h2")
			tr := &http.Transport{TLSClientConfig: conf, Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", s.Addr.String())
			}}
			defer tr.CloseIdleConnections()
			rt = tr
		}
		for _, size := range upstream.Sizes() {
			for _, store := range []bool{true, false} {
				path := size.Path(7, store)
				for i := range 3 {
					before := count()
					r, _ := http.NewRequest("GET", "https://"+WebAuthority+path, nil)
					answer, err := rt.RoundTrip(r)
					if err != nil {
						t.Errorf("%s %s: %v", proto, path, err)
						break
					}
					body, err := io.ReadAll(answer.Body)
					answer.Body.Close()
					if err != nil || answer.StatusCode != 200 || !bytes.Equal(body, upstream.NewObjects().Body(size, 7)) {
						t.Errorf("%s %s: %s, %d bytes, %v: %.100q", proto, path, answer.Status, len(body), err, body)
					}
					asked := count() - before
					if want := int64(1); !store && asked != want {
						t.Errorf("%s %s: %d asked", proto, path, asked)
					}
					if store && i > 0 && asked != 0 {
						t.Errorf("%s %s: a hit asked the origin, %v", proto, path, answer.Header)
					}
					if i == 0 {
						t.Logf("%s %s %v %v", proto, path, answer.Header, cipher(answer.TLS))
					}
				}
			}
		}
	}
	if err := s.Alive(); err != nil {
		t.Error(err)
	}
	for _, pid := range s.PIDs() {
		tree, err := load.ReadTree(pid)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%+v", tree)
	}
}

// logged finds a line for each request, or at least for half of them: a server may write a second later, and varnishncsa sees what
// comes once it has begun.
func logged(t *testing.T, b *Bench, s *WebServer, requests int) {
	t.Helper()
	if !b.Log {
		return
	}
	changes, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(changes)
	n := 0
	for _, folder := range []string{"", "log"} {
		if _, err := unix.InotifyAddWatch(changes, filepath.Join(b.Folder, s.Name, folder), unix.IN_MODIFY|unix.IN_CREATE); err != nil && (folder == "" || err != unix.ENOENT) {
			t.Fatal(err)
		}
	}
	for {
		n = 0
		for _, file := range []string{"access.log", "log/access.log"} {
			text, _ := os.ReadFile(filepath.Join(b.Folder, s.Name, file))
			n += strings.Count(string(text), "\n")
		}
		if n >= requests/2 {
			break
		}
		// Until a file is written to; a server that writes no more is stuck.
		if ready, err := unix.Poll([]unix.PollFd{{Fd: int32(changes), Events: unix.POLLIN}}, 30_000); ready == 0 || err != nil && err != unix.EINTR {
			break
		}
		unix.Read(changes, make([]byte, 64<<10))
	}
	if n < requests/2 || n > requests {
		t.Errorf("%d lines of log for %d requests", n, requests)
	}
}

func cipher(s *tls.ConnectionState) string {
	if s == nil {
		return ""
	}
	return tls.CipherSuiteName(s.CipherSuite) + " " + s.CurveID.String()
}
