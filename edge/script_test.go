// Package edge_test plays text scripts against a whole edge: sockets, TLS, cache, proxy
// and pool are real, and so are the three clients and the origin. The clock is the
// script's. testdata/README.md tells how a script is written.
package edge_test

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is what all scripts of a test share.
type world struct {
	t    *testing.T
	auth *authority
	net  uint32 // a /16 of loopback addresses, by chance other than another process's
	next atomic.Uint32
	// later are the ends of scripts that are over: a drain takes its second, and other
	// scripts need not wait for it.
	later sync.WaitGroup
}

func newWorld(t *testing.T, scripts ...*script) *world {
	t.Helper()
	hosts, err := hostsOf(scripts...)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := newAuthority(t.TempDir(), hosts)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, auth: auth, net: 64 + rand.Uint32N(190)}
	t.Cleanup(w.later.Wait)
	return w
}

// addr is a loopback address that no other script of this process has.
func (w *world) addr() netip.Addr {
	n := w.next.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(w.net), byte(n >> 8), byte(n)})
}

var protocols = []string{"h1", "h2", "h3"}

func TestScripts(t *testing.T) {
	var scripts []*script
	for _, pattern := range []string{"testdata/*.txt", "testdata/bad/*.txt"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sc, err := parse(file, string(text))
			if err != nil {
				t.Fatal(err)
			}
			scripts = append(scripts, sc)
		}
	}
	if len(scripts) == 0 {
		t.Fatal("no scripts")
	}
	w := newWorld(t, scripts...)
	for _, sc := range scripts {
		for _, proto := range protocols {
			t.Run(strings.TrimSuffix(strings.TrimPrefix(sc.name, "testdata/"), ".txt")+"/"+proto, func(t *testing.T) {
				t.Parallel()
				reason, err := sc.skips(proto)
				if err != nil {
					t.Fatal(err)
				}
				if reason != "" {
					return // the script says why
				}
				if err := w.play(sc, proto, patience); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}
