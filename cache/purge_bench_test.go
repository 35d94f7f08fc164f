package cache_test

import (
	"fmt"
	"testing"

	"hither/cache"
	"hither/cache/store"
)

// What a purge costs that finds nothing among so many objects.
func BenchmarkPurge(b *testing.B) {
	const objects = 100_000
	m, err := store.NewMemory(256 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	c := cache.New(cache.Config{Store: m})
	for i := range objects {
		m.Put(&cache.Object{Key: key(fmt.Sprint("/", i)), Status: 200})
	}
	for _, p := range []cache.Purge{purge(cache.PurgeURL, "/none"), purge(cache.PurgeTag, "none"), purge(cache.PurgePrefix, "/none"), {Kind: cache.PurgeHost, Site: "none"}} {
		b.Run(p.Kind.String(), func(b *testing.B) {
			for b.Loop() {
				c.Purge(p)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/objects, "ns/object")
		})
	}
}
