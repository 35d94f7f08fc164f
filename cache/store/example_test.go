package store_test

import (
	"fmt"

	"hither/cache"
	"hither/cache/store"
)

func ExampleMemory() {
	m, err := store.NewMemory(64 << 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()

	k := cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: "/"}
	m.Put(&cache.Object{Key: k, Status: 200, Body: cache.NewBody([]byte("hello"))})
	fmt.Println(m.Get(k).Body.Len(), "bytes")

	m.Delete(k)
	fmt.Println(m.Get(k) == nil, m.Stats().Evicted[store.Queue][store.Deleted])
	// Output:
	// 5 bytes
	// true 1
}
