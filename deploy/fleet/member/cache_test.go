package member_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/member"
)

// A lasting is a real cache with a disk, as an edge has it.
type lasting struct {
	t      *testing.T
	folder string
	store  *store.Tiered
	*cache.Cache
}

func (l *lasting) open() {
	l.t.Helper()
	m, err := store.NewMemory(1 << 20)
	if err != nil {
		l.t.Fatal(err)
	}
	d, err := disk.Open(disk.Config{Folder: l.folder, Size: disk.MinSize, Log: slog.New(slog.DiscardHandler)})
	if err != nil || d.Off() != nil {
		l.t.Fatal(err, d.Off())
	}
	l.store = store.NewTiered(m, d, nil)
	l.Cache = cache.New(cache.Config{Store: l.store, Epoch: d.Run() << 40})
}

func (l *lasting) close() {
	l.t.Helper()
	if err := l.store.Close(); err != nil {
		l.t.Error(err)
	}
}

func keyOf(path string) cache.Key {
	return cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: path}
}

// fill stores a path with a tag, and asks for it until it is worth keeping.
func (l *lasting) fill(path, tag string) {
	l.t.Helper()
	look := l.Look(keyOf(path), http.Header{}, time.Now())
	r := l.Join(context.Background(), cache.Want{Look: look, Request: http.Header{}, Fetch: func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		h := http.Header{"Cache-Control": {"max-age=3600"}, "Surrogate-Key": {tag}}
		return &http.Response{StatusCode: 200, Header: h, ContentLength: 4, Body: io.NopCloser(strings.NewReader("text"))}, nil
	}})
	if r == nil {
		l.t.Fatalf("%s is there already", path)
	}
	defer r.Close()
	if _, err := r.Head(context.Background(), nil); err != nil {
		l.t.Fatal(err)
	}
	for {
		if _, err := r.Next(context.Background(), -1); err == io.EOF {
			break
		} else if err != nil {
			l.t.Fatal(err)
		}
	}
	for range 3 {
		if !l.fresh(path) {
			l.t.Fatalf("%s is not stored", path)
		}
	}
}

func (l *lasting) fresh(path string) bool {
	return l.Look(keyOf(path), http.Header{}, time.Now()).Fresh()
}

// purge is what an edge does with an order, without its sites.
func (l *lasting) purge(o bus.Order) bus.Done {
	kind, err := cache.ParsePurgeKind(o.Kind)
	if err != nil {
		return bus.Done{Error: err.Error()}
	}
	p := cache.Purge{Kind: kind, Site: "www", Value: o.Value, Soft: o.Soft}
	if kind == cache.PurgeTag {
		p.Site = ""
	}
	done := l.Purge(p)
	return bus.Done{Objects: done.Objects, Fills: done.Fills}
}

// What lies on the disk of a node that was down is purged when it is back, by every kind of order, and what was stored after that stays.
func TestDiskOfANodeThatWasAway(t *testing.T) {
	w := newWorld(t)
	l := &lasting{t: t, folder: filepath.Join(w.folder, "cache")}
	l.open()
	n := w.node(fleet.RoleEdge, "fra")
	n.options = func(o *member.Options) {
		o.Purge = l.purge
		o.Flush = func(string) { l.Purge(cache.Purge{Kind: cache.PurgeAll, Soft: true}) }
	}
	n.start()
	n.there()
	w.order("/none")
	for i := range 4 {
		l.fill(fmt.Sprint("/u", i), "t")
		l.fill(fmt.Sprint("/p/", i), "t")
		l.fill(fmt.Sprint("/t", i), fmt.Sprint("red", i))
	}
	l.fill("/stays", "blue")
	n.there()
	n.kept = true
	n.stop()
	l.close()

	b := bus.Batch{Journal: w.journal, First: w.next}
	for i := range 4 {
		b.Orders = append(b.Orders, bus.Order{Kind: "url", Value: fmt.Sprint("/u", i)}, bus.Order{Kind: "tag", Value: fmt.Sprint("red", i), Soft: i%2 == 0})
	}
	b.Orders = append(b.Orders, bus.Order{Kind: "prefix", Value: "/p/"})
	w.next += uint64(len(b.Orders))
	w.entry(bus.Encode(b))

	l.open()
	defer l.close()
	for _, path := range []string{"/u0", "/t1", "/p/2", "/stays"} {
		if !l.fresh(path) {
			t.Errorf("%s was not kept", path)
		}
	}
	n.start()
	n.there()
	for i := range 4 {
		for _, path := range []string{"/u", "/p/", "/t"} {
			if path = fmt.Sprint(path, i); l.fresh(path) {
				t.Errorf("%s is found", path)
			}
		}
	}
	if !l.fresh("/stays") {
		t.Error("what nobody named is gone")
	}
	n.stop()
	if s := n.member.Stats(); len(s.Flushes) > 0 {
		t.Errorf("flushed: %v", s.Flushes)
	}
}

// BenchmarkApply is what an order costs from the live message to the receipt: 200 nodes in this process hear each entry, which has five
// purges of URLs, and has a store of 1,000 objects.
func BenchmarkApply(b *testing.B) {
	const nodes, objects, perEntry = 20, 1000, 5
	w := newWorld(b)
	var reached sync.WaitGroup
	var all []*node
	var caches []*cache.Cache
	for i := range nodes {
		m, err := store.NewMemory(4 << 20)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(m.Close)
		c := cache.New(cache.Config{Store: m})
		for k := range objects {
			m.Put(&cache.Object{Key: keyOf(fmt.Sprint("/", k)), Status: 200})
		}
		n := w.node(fleet.RoleEdge, fmt.Sprint("e", i))
		n.options = func(o *member.Options) {
			o.Purge = func(o bus.Order) bus.Done {
				done := c.Purge(cache.Purge{Kind: cache.PurgeURL, Site: "www", Value: o.Value})
				return bus.Done{Objects: done.Objects}
			}
		}
		n.start()
		all, caches = append(all, n), append(caches, c)
	}
	for _, n := range all {
		n.there() // and the control says no more: the entries below are in no stream
	}
	run, before := uint64(0), processor(b)
	b.ResetTimer()
	for b.Loop() {
		run++
		batch := bus.Batch{Journal: w.journal, First: (run-1)*perEntry + 1, At: time.Now()}
		for i := range perEntry {
			batch.Orders = append(batch.Orders, bus.Order{Kind: "url", Value: fmt.Sprint("/", (run*perEntry+uint64(i))%objects)})
		}
		data := bus.Encode(batch)
		for _, n := range all {
			n.member.Live(&bus.Message{Sequence: run, Data: data})
		}
		for _, n := range all {
			reached.Go(func() {
				if err := n.member.Wait(context.Background(), bus.Position{Journal: w.journal, Sequence: run}); err != nil {
					b.Error(err)
				}
			})
		}
		reached.Wait()
	}
	b.StopTimer()
	b.ReportMetric(float64(processor(b)-before)/float64(b.N)/nodes/perEntry, "cpu-ns/order")
	for _, c := range caches {
		if n, _ := c.PurgeCounts(cache.PurgeURL); n < run*perEntry {
			b.Fatalf("%d purges were carried out of %d", n, run*perEntry)
		}
	}
}

// processor is the time that this process has had of processors, which does not count what others on the machine take.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
