package contest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hither/bench/load"
	"hither/bench/peers"
)

// mortalMode has TestMain be a server for the arguments ADDRESS, UPSTREAM, CERT and KEY, which dies of misses.
const mortalMode = "mortal"

// life is how many misses of loads it takes.
const life = 20

func mortal(address, origin, cert, key string) int {
	to, err := url.Parse("http://" + origin)
	if err != nil {
		return 1
	}
	c := &cache{origin: httputil.NewSingleHostReverseProxy(to), stored: make(map[string]*httptest.ResponseRecorder)}
	var misses atomic.Int64
	s := &http.Server{Addr: address, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.RawQuery, "u=r") && misses.Add(1) > life {
			fmt.Fprintln(os.Stderr, "no memory left")
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		c.ServeHTTP(rw, r)
	})}
	fmt.Fprintln(os.Stderr, s.ListenAndServeTLS(cert, key))
	return 1
}

// TestDies has a server, a real process, end in the middle of its second case: that case says so in one line, and the others have
// their figures.
func TestDies(t *testing.T) {
	w := newWorld(t)
	cores, err := load.Cores()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	folder, err := peers.NewFolder(self)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	b := &peers.Bench{Self: self, Folder: folder.Dir, Net: "127.93", Server: cores[0], Client: cores[0], Connections: 100, Upstream: w.Upstream.Addr}
	if b.Certificate, err = peers.NewCertificate(b.Folder, peers.WebName); err != nil {
		t.Fatal(err)
	}
	w.Clients.Roots = b.Certificate.Roots
	if w.certificate, err = tls.LoadX509KeyPair(b.Certificate.Cert, b.Certificate.Key); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = -v ] && { echo nginx/1.2.3; exit; }\nexec %s %s 127.93.3.1:%d %s %s %s\n",
		self, mortalMode, peers.WebPort, b.Upstream, b.Certificate.Cert, b.Certificate.Key)
	if err := os.WriteFile(filepath.Join(programs, "nginx"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	nginx := peers.WebPeers()[0]
	w.Ours, w.Peer = w.entrant(t, "ours", w.cache()), Entrant{Name: nginx.Name, Stores: true}
	starts := 0
	w.Peer.Start = func(ctx context.Context) (*peers.WebServer, error) { starts++; return nginx.Start(ctx, b) }
	w.Cases = []Case{named(t, "handshake-full/h1/1k"), named(t, "miss/h2/1k"), named(t, "idle/h1/1k"), named(t, "handshake-full/h1/1k")}
	w.For = 2 * time.Second // on a machine that is busy not one answer comes within a tenth of that
	rows, err := w.Measure(t.Context())
	if err != nil || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, i := range []int{0, 2, 3} {
		if r := rows[i]; r.Err != nil || len(r.Peer) != w.Pairs || len(r.Ours) != w.Pairs {
			t.Errorf("%v: %+v", r.Case, r)
		}
	}
	if err := rows[1].Err; err == nil || err.Error() != "peers: nginx ended while it was measured (exit status 137): no memory left" {
		t.Errorf("it died, and the case says %v", err)
	}
	if starts != 2+w.Pairs {
		t.Errorf("started %d times", starts)
	}
	if left, err := load.Below(os.Getpid()); err != nil || len(left) != 1 { // who keeps the folder
		t.Errorf("processes %v are left, %v", left, err)
	}
}
