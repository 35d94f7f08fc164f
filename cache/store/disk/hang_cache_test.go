package disk_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
)

// A node is a cache over memory and a disk, and an origin that has everything.
type node struct {
	t *testing.T
	*cache.Cache
	tiers *store.Tiered
	said  *disk.Lines
}

func start(t *testing.T, folder string, hang func(*disk.Config)) *node {
	t.Helper()
	n := &node{t: t, said: &disk.Lines{}}
	m, err := store.NewMemory(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	c := disk.Config{Folder: folder, Size: disk.MinSize, Log: slog.New(slog.NewTextHandler(n.said, nil))}
	if hang != nil {
		hang(&c)
	}
	d, err := disk.Open(c)
	if err != nil || d.Off() != nil {
		t.Fatal(err, d.Off())
	}
	n.tiers = store.NewTiered(m, d, nil)
	n.Cache = cache.New(cache.Config{Store: n.tiers, Epoch: d.Run() << 40})
	return n
}

func pathKey(path string) cache.Key {
	return cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: path}
}

// get answers a request, and tells whether by what was stored.
func (n *node) get(path string) (hit bool) {
	look := n.Look(pathKey(path), http.Header{}, time.Now())
	for !look.Fresh() {
		r := n.Join(context.Background(), cache.Want{Look: look, Request: http.Header{}, Fetch: func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
			h := http.Header{"Cache-Control": {"max-age=3600"}, "Surrogate-Key": {"red"}}
			return &http.Response{StatusCode: 200, Header: h, ContentLength: int64(len(path)), Body: io.NopCloser(strings.NewReader(path))}, nil
		}})
		if r == nil {
			look = n.Look(pathKey(path), http.Header{}, time.Now())
			continue
		}
		defer r.Close()
		if h, err := r.Head(context.Background(), nil); err != nil || h.State != cache.Streaming {
			n.t.Errorf("%s: %+v, %v", path, h, err)
		}
		for {
			if _, err := r.Next(context.Background(), -1); err == io.EOF {
				return false
			} else if err != nil {
				n.t.Errorf("%s: %v", path, err)
				return false
			}
		}
	}
	return true
}

// While the disk hangs, hits from memory go on; whoever waits for it, or for who does, gets his answer from the origin when that has taken too
// long; purges and the end return; and what was purged meanwhile is gone when the disk answers again.
func TestHangBelowACache(t *testing.T) {
	folder := t.TempDir()
	n := start(t, folder, nil)
	for i := range 20 {
		for range 4 { // so that it is worth keeping
			n.get(fmt.Sprint("/cold/", i))
			n.get("/hot")
		}
	}
	if err := n.tiers.Close(); err != nil {
		t.Fatal(err)
	}

	var d *disk.Hang
	n = start(t, folder, func(c *disk.Config) { d = disk.NewHang(c) })
	if !n.get("/hot") || !n.get("/cold/0") || !n.get("/hot") { // and in memory from now on
		t.Fatal("what was stored is not found after a restart")
	}
	d.Begin("read")
	var all sync.WaitGroup
	all.Go(func() { // Look, which holds no lock
		if n.get("/cold/1") {
			t.Error("a hit from a disk that hangs")
		}
	})
	<-d.Hung
	all.Go(func() { // Join, which holds the cache's
		r := n.Join(context.Background(), cache.Want{Look: n.Blank(pathKey("/cold/2")), Request: http.Header{}, Fetch: func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
			return nil, io.EOF
		}})
		if r == nil {
			t.Error("there is something to look for on a disk that hangs")
			return
		}
		r.Close()
	})
	<-d.Hung
	var missed sync.WaitGroup
	for i := range 20 {
		missed.Go(func() { n.get(fmt.Sprint("/new/", i)) })
	}
	all.Go(func() { n.Purge(cache.Purge{Kind: cache.PurgeTag, Value: "red"}) })
	all.Go(func() { n.Purge(cache.Purge{Kind: cache.PurgeURL, Site: "www", Value: "/cold/3"}) })
	if look := n.Look(pathKey("/other"), http.Header{}, time.Now()); look.Object != nil {
		t.Error("there is something else")
	}
	d.Late()
	all.Wait()
	missed.Wait()
	for i := range 20 {
		n.get(fmt.Sprint("/new/", i))
		if !n.get(fmt.Sprint("/new/", i)) {
			t.Error("memory keeps nothing")
		}
	}
	if s := n.tiers.Disk().Stats(); s.On {
		t.Error("the disk is on")
	}
	if err := n.tiers.Close(); err == nil {
		t.Error("the disk ended well")
	}
	if !strings.Contains(n.said.String(), "it hangs: to read") {
		t.Errorf("said was\n%s", n.said)
	}
	d.End()
	n.tiers.Disk().Ended()

	n = start(t, folder, nil)
	for i := range 20 {
		if n.get(fmt.Sprint("/cold/", i)) {
			t.Errorf("/cold/%d is back", i)
		}
	}
	n.tiers.Close()
}

// What is in memory is answered while the disk hangs, before anybody notices, and costs nobody's patience.
func TestHitsWhileTheDiskHangs(t *testing.T) {
	var d *disk.Hang
	n := start(t, t.TempDir(), func(c *disk.Config) { d = disk.NewHang(c) })
	n.get("/hot")
	n.tiers.Wait()
	d.Begin("write")
	written := make(chan struct{})
	go func() {
		defer close(written)
		n.tiers.Disk().Save(n.tiers.Get(pathKey("/hot")), func(*cache.Object) bool { return true })
		n.tiers.Wait()
	}()
	<-d.Hung
	for range 100 {
		if !n.get("/hot") {
			t.Error("a miss of what is in memory")
		}
	}
	d.Late()
	<-written
	if !n.get("/hot") {
		t.Error("a miss of what is in memory")
	}
	n.tiers.Close()
	d.End()
	n.tiers.Disk().Ended()
}
