package edge_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What clients of a huge object may make the edge hold beyond its cache, in bytes. The cache of scripts has 16 MiB.
const (
	hugeCache  = 16 << 20
	hugeBeyond = 64 << 20
)

// Three clients read an object of 10 GiB at different places at once, and then here and there: each gets the bytes that he
// asked for, and the edge, with clients and origin in the same process, stays small. HITHER_HUGE_READ is how many MiB each
// reads, by default 32 (4 with the race detector). It has a process of its own: among the remains of earlier tests a collection
// takes its time, and what is allocated meanwhile counts as live.
func TestHugeObject(t *testing.T) {
	const alone = "HITHER_HUGE_ALONE"
	if os.Getenv(alone) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHugeObject$", "-test.v")
		cmd.Env = append(os.Environ(), alone+"=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil || !bytes.Contains(out, []byte("3 clients read")) {
			t.Fatal(err)
		}
		return
	}
	const length = 10 << 30
	read := int64(32 << 20)
	if raced() { // which takes its time
		read = 4 << 20
	}
	if v := os.Getenv("HITHER_HUGE_READ"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		read = n << 20
	}
	sc, err := parse("huge.txt", fmt.Sprintf(`origin GET /huge 200 'Cache-Control: max-age=600' 'ETag: "1"' size=%d ranges`, length))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, sc)
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			client, o := w.huge(t, sc, proto)
			watch := watchMemory(t)
			var all sync.WaitGroup
			for _, from := range []int64{0, 3<<30 + 12345, length - read} {
				all.Go(func() {
					if err := client.readHuge(from, read); err != nil {
						t.Errorf("from %d: %v", from, err)
					}
					rnd := rand.New(rand.NewPCG(uint64(from), 1))
					for range 8 {
						if err := client.readHuge(rnd.Int64N(length-100_000), 100_000); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			live, rss := watch()
			asked := int64(len(o.all()))
			t.Logf("3 clients read %d MiB each; the origin was asked %d times; live heap grew by %d MiB, RSS by %d MiB", read>>20, asked, live>>20, rss>>20)
			if live > hugeCache+hugeBeyond {
				t.Errorf("the live heap grew by %d bytes", live)
			}
			if rss > hugeCache+hugeBeyond && !raced() {
				t.Errorf("the process grew by %d bytes", rss)
			}
			// Slices are of 512 KiB here. Some are asked for ahead and evicted before they are read.
			if need := 3*(read/(512<<10)+1) + 3*8*2; asked > need+need/4 {
				t.Errorf("the origin was asked %d times for some %d slices", asked, need)
			}
		})
	}
}

// huge starts an edge and an origin that answers what the script declares.
func (w *world) huge(t *testing.T, sc *script, proto string) (*client, *origin) {
	t.Helper()
	addr := w.addr()
	st, err := sc.setup(addr)
	if err != nil {
		t.Fatal(err)
	}
	b := newBell(patience)
	j := &journal{bell: b}
	o := newOrigin(w.auth, st.clock, b)
	for _, s := range sc.steps {
		if err := o.declare(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.up(addr.String()); err != nil {
		t.Fatal(err)
	}
	st.origin = o.addr
	e, err := startEdge(st, w.auth, j)
	if err != nil {
		o.down()
		t.Fatal(err)
	}
	c := newClient(proto, e, w.auth, j)
	t.Cleanup(func() {
		c.reconnect()
		if err := e.close(); err != nil {
			t.Error(err)
		}
		o.down()
	})
	return c, o
}

// readHuge reads n bytes from off on, and compares them with the pattern as they come.
func (c *client) readHuge(off, n int64) error {
	r, err := http.NewRequest(http.MethodGet, "https://"+defaultHost+"/huge", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	resp, err := c.tripper("https", "").RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent || resp.ContentLength != n {
		return fmt.Errorf("status %d with %d bytes for %d", resp.StatusCode, resp.ContentLength, n)
	}
	buf := make([]byte, 32<<10)
	for at := off; ; {
		got, err := resp.Body.Read(buf)
		if !bytes.Equal(buf[:got], patternPiece(at, int64(got))) {
			return fmt.Errorf("near byte %d they are not the pattern's", at)
		}
		at += int64(got)
		switch {
		case errors.Is(err, io.EOF) && at == off+n:
			return nil
		case err != nil:
			return fmt.Errorf("after %d of %d bytes: %w", at-off, n, err)
		}
	}
}

// watchMemory looks at the process until it is asked by how much the live heap and what the process occupies grew at most.
func watchMemory(t *testing.T) (grown func() (live, rss int64)) {
	t.Helper()
	debug.FreeOSMemory()
	live0, rss0 := liveHeap(), occupied(t)
	var live, rss atomic.Int64
	end, ended := make(chan struct{}), make(chan struct{})
	look := func() {
		live.Store(max(live.Load(), liveHeap()-live0))
		rss.Store(max(rss.Load(), occupied(t)-rss0))
	}
	go func() {
		defer close(ended)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				look()
			case <-end:
				tick.Stop()
				return
			}
		}
	}()
	return func() (int64, int64) {
		close(end)
		<-ended
		look()
		runtime.GC()
		look()
		return live.Load(), rss.Load()
	}
}

// liveHeap is what the last collection of garbage left.
func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// occupied is the process's resident memory.
func occupied(t *testing.T) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Error(err)
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var n int64
	if _, err := fmt.Sscanf(rest, "%d kB", &n); err != nil {
		t.Error(err)
	}
	return n << 10
}

// raced reports whether the race detector takes its own share of memory.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return true
		}
	}
	return false
}
