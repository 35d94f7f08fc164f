package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/bench/load"
	"hither/bench/upstream"
	"hither/deploy"
)

// testBench is one whose servers are never started for real.
func testBench(t *testing.T, net string) *Bench {
	t.Helper()
	b, _ := holder(t, "")
	b.Net, b.Upstream, b.Connections, b.Objects = net, netip.MustParseAddrPort(net+".2.1:8000"), 2000, filepath.Join(b.Folder, "objects")
	var err error
	if b.Certificate, err = NewCertificate(b.Folder, WebName); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCertificate(t *testing.T) {
	b := testBench(t, "127.82")
	for _, key := range []string{b.Certificate.Key, b.Certificate.Pair} {
		pair, err := tls.LoadX509KeyPair(b.Certificate.Cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := pair.Leaf.VerifyHostname(WebName); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, info.Mode(), err)
		}
	}
}

// TestWebFiles holds what servers are configured with to having all that it must, and to logs being written when they are to be
// and else not.
func TestWebFiles(t *testing.T) {
	logs := map[string][2]string{ // what the file says without and with logs
		"nginx/nginx.conf":             {"access_log off;", "access.log combined"},
		"haproxy/haproxy.cfg":          {"", "log stdout format raw"},
		"varnish/hitch.conf":           {"log-level = 0", "log-level = 1"},
		"trafficserver/records.config": {"logging_enabled INT 0", "logging_enabled INT 2"},
		"trafficserver/logging.yaml":   {"", "filename: access"},
		"caddy/Caddyfile":              {"", "output file"},
	}
	for _, log := range []bool{false, true} {
		b := testBench(t, "127.82")
		b.Log = log
		for _, p := range WebPeers() {
			dir, err := b.folder(p.Name)
			if err != nil {
				t.Fatal(err)
			}
			at := b.at(".3.1", WebPort)
			if err := fill("web/"+p.Name, b.data(dir, at)); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s has no files, %v", p.Name, err)
			}
			var all strings.Builder
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(text)
				said := logs[p.Name+"/"+filepath.Base(file)]
				if log && !strings.Contains(string(text), said[1]) || !log && (!strings.Contains(string(text), said[0]) || said[1] != "" && strings.Contains(string(text), said[1])) {
					t.Errorf("%s with log %t:\n%s", file, log, text)
				}
			}
			for _, must := range []string{at.Addr().String(), "8443", b.Upstream.Addr().String(), "8000", b.Folder} {
				if !strings.Contains(all.String(), must) {
					t.Errorf("%s: %q is nowhere in its files", p.Name, must)
				}
			}
			if strings.Contains(all.String(), "127.0.0.1") {
				t.Errorf("%s: an address is another's", p.Name)
			}
		}
	}
}

// TestHitherWebFile holds our file to what the program demands, and to where clients go.
func TestHitherWebFile(t *testing.T) {
	b := testBench(t, "127.42")
	text, at, gateway, err := b.webFile(b.Folder)
	if err != nil {
		t.Fatal(err)
	}
	n, err := deploy.Parse("web.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	pop := n.PoPs[0]
	if pop.Name != webEdge || netip.AddrPortFrom(pop.Addresses[0], uint16(n.EdgeOf(webEdge).Listen.HTTPS)) != at {
		t.Errorf("the edge is %+v, and asked at %s", pop, at)
	}
	o := n.Origins[0]
	if o.Name != webOrigin || o.Gateway.Addresses[0].String() != gateway.String() || o.App.Instances[0].URL != "http://"+b.Upstream.String() {
		t.Errorf("the origin is %+v", o)
	}
	if n.Sites[0].Hosts[0] != WebName || n.Sites[0].TLS.Certificate.Cert != b.Certificate.Cert {
		t.Errorf("the site is %+v", n.Sites[0])
	}
	if n.Hub.EmbeddedIn != webOrigin {
		t.Errorf("the hub is %+v", n.Hub)
	}
	b.NoHub = true
	if text, _, _, err = b.webFile(b.Folder); err != nil {
		t.Fatal(err)
	}
	if n, err = deploy.Parse("web.yaml", []byte(text)); err != nil || n.Hub.EmbeddedIn != "" || len(n.Hub.URLs) > 0 {
		t.Errorf("without a hub it is %+v, %v", n.Hub, err)
	}
}

// program writes one into a folder that PATH is set to.
func program(t *testing.T, name, body string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func nginx() WebPeer { return WebPeers()[0] }

// TestStartWebFails shows each way, and that nothing is left.
func TestStartWebFails(t *testing.T) {
	b := testBench(t, "127.82")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := freeTCP(taken.Addr().(*net.TCPAddr).AddrPort()); err == nil || !strings.Contains(err.Error(), "--net 127.N") {
		t.Errorf("a taken address: %v", err)
	}
	for _, c := range []struct{ name, body, why string }{
		{"no nginx", "exit 3", "-v tells no version: exit status 3"},
		{"another program", "echo hello", "tells no version: is it the program of that name?"},
		{"ends at once", `[ "$1" = -v ] && { echo nginx/1.2.3; exit; }; echo first >&2; echo 'bind() failed' >&2; exit 1`, "nginx ended at once: bind() failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			program(t, "nginx", c.body)
			_, err := nginx().Start(t.Context(), b)
			if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, c.why)
			}
			none(t)
		})
	}
	program(t, "nginx", `[ "$1" = -v ] && { echo nginx/1.2.3; exit; }; sleep 1000 & sleep 1000`)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := nginx().Start(over, b); err == nil {
		t.Error("started though all was over")
	}
	none(t)
}

// TestWebMissing names the package of what is not there.
func TestWebMissing(t *testing.T) {
	p := WebPeer{Name: "x", programs: []webProgram{{"no-such-server", "the-package", nil}}}
	_, err := p.Version(t.Context())
	var missing *load.MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "install the Debian package the-package") {
		t.Errorf("error %v", err)
	}
	if _, err := p.Start(t.Context(), testBench(t, "127.82")); !errors.As(err, &missing) {
		t.Errorf("start: %v", err)
	}
	for _, p := range WebPeers() {
		for _, name := range p.Packages() {
			if name == "" {
				t.Errorf("%s has a program without a package", p.Name)
			}
		}
	}
}

// TestStartHitherWebFails shows each way, and that nothing is left.
func TestStartHitherWebFails(t *testing.T) {
	for _, c := range []struct{ name, program, why string }{
		{"no program", "/nowhere/hither", "make build"},
		{"no program of ours", script(t, "exit 3"), "--version: exit status 3"},
		{"no identities", script(t, `[ "$1" = --version ] || { echo no room; exit 1; }`), "fleet init: exit status 1: no room"},
		{"ends at once", script(t, `[ "$1" != origin ] || { echo first; echo no port; exit 1; }`), "hither origin ended at once: no port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := StartHitherWeb(t.Context(), c.program, testBench(t, "127.82"))
			if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, c.why)
			}
			none(t)
		})
	}
}

// TestUpstream runs the real one.
func TestUpstream(t *testing.T) {
	b := testBench(t, "127.82")
	s, err := b.StartUpstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if n, err := upstream.Count(t.Context(), client, b.Upstream.String()); err != nil || n != 0 {
		t.Errorf("counted %d, %v", n, err)
	}
	if _, err := b.StartUpstream(t.Context()); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("a second one: %v", err)
	}
	s.Stop()
	none(t)
}
