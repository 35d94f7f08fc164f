//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What an edge's process may grow by, in bytes, while clients read something huge: the cache of the network file, and what is
// beside it.
const (
	hugeCache  = 256 << 20
	hugeBeyond = 64 << 20
)

// TestHuge has three clients read an object of 10 GiB at different places, as fast as they can and far more than the cache
// holds: the process of the edge, configured as it comes, grows by the cache's size and little more. It is the most that it
// ever had which counts, with whatever Go's collector has not collected.
func TestHuge(t *testing.T) {
	scenario(t, "huge")
	const length, read = 10 << 30, 300 << 20
	folder := t.TempDir()
	file := filepath.Join(folder, "huge.bin")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, length); err != nil { // a hole, which takes no room on the disk
		t.Fatal(err)
	}
	n := run(t, setup{net: "127.31", site: folder})
	if !strings.Contains(n.file(t), "cache: {memory: 256MiB,") {
		t.Fatal("the cache is not of 256 MiB as it comes")
	}
	edge := n.pid(t, "edge-fra")
	before := peak(t, edge)
	first, asked, tag := n.via(t, "h2", "fra"), 0, ""
	if !until(hangTime, func() bool { // what has just changed has a weak entity-tag, and so no slices
		asked++
		r, err := http.NewRequest(http.MethodHead, fmt.Sprintf("%s/huge.bin?%d", site, asked), nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := first.do(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		tag = a.header.Get("Etag")
		return strings.HasPrefix(tag, `"`)
	}) {
		t.Fatalf("the file has no strong entity-tag after %d requests, but %s", asked, tag)
	}
	var all sync.WaitGroup
	for i, proto := range protocols {
		v, from := n.via(t, proto, "fra"), []int64{0, 3<<30 + 12345, length - read}[i]
		all.Go(func() {
			if err := v.part(t.Context(), "/huge.bin", from, read); err != nil {
				t.Errorf("%s from %d: %v", proto, from, err)
			}
		})
	}
	all.Wait()
	grown, c := peak(t, edge)-before, n.counters(t, "edge-fra")
	t.Logf("%d MiB read, %d MiB stored: the process had %d MiB and grew by %d (GOGC=%d)", 3*read>>20, c.sum("hither_cache_bytes")>>20,
		before>>20, grown>>20, c.sum("go_gc_gogc_percent"))
	if stored := c.sum("hither_cache_bytes"); stored < hugeCache*3/4 {
		t.Errorf("%d bytes are stored: the cache was never full", stored)
	}
	if grown > hugeCache+hugeBeyond {
		t.Errorf("the process grew by %d bytes, %d more than its cache has", grown, grown-hugeCache)
	}
}

// part reads n bytes of something and counts them.
func (v *visitor) part(ctx context.Context, path string, from, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+n-1))
	resp, err := v.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusPartialContent || got != n) {
		err = fmt.Errorf("status %d with %d bytes of %d", resp.StatusCode, got, n)
	}
	return err
}

// peak is the most memory that a process ever had, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatalf("process %d has no VmHWM:\n%s", pid, text)
	return 0
}
