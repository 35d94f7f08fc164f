// Package edge_test plays text scripts against a whole edge: sockets, TLS, cache, proxy
// and pool are real, and so are the three clients and the origin. The clock is the
// script's. testdata/README.md tells how a script is written.
package edge_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is what all scripts of a test share.
type world struct {
	auth *authority
	next atomic.Uint32
}

func newWorld(t *testing.T) *world {
	t.Helper()
	auth, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return &world{auth: auth}
}

// addr is a loopback address that no other script of this process has.
func (w *world) addr() netip.Addr {
	n := w.next.Add(1)
	return netip.AddrFrom4([4]byte{127, 77, byte(n >> 8), byte(n)})
}

var protocols = []string{"h1", "h2", "h3"}

func TestScripts(t *testing.T) {
	w := newWorld(t)
	var files []string
	for _, pattern := range []string{"testdata/*.txt", "testdata/bad/*.txt"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sc, err := parse(file, string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, proto := range protocols {
			t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txt")+"/"+proto, func(t *testing.T) {
				t.Parallel()
				reason, err := sc.skips(proto)
				if err != nil {
					t.Fatal(err)
				}
				if reason != "" {
					return // the script says why
				}
				if err := sc.play(proto, w.addr(), w.auth, patience); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}
