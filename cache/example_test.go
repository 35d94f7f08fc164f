package cache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// The first request finds nothing and leads a fill; the next one is answered from what
// the fill stored.
func ExampleCache() {
	memory, err := store.NewMemory(1 << 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer memory.Close()
	c := cache.New(cache.Config{Store: memory})
	key := cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: "/"}
	request := http.Header{}

	fetch := func(ctx context.Context, validators http.Header, early func(int, http.Header)) (*http.Response, error) {
		fmt.Println("asking the origin")
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Cache-Control": {"max-age=60"}},
			ContentLength: 5, Body: io.NopCloser(strings.NewReader("hello")),
		}, nil
	}
	ctx := context.Background()
	r := c.Join(ctx, cache.Want{Look: c.Look(key, request, time.Now()), Request: request, Fetch: fetch})
	head, err := r.Head(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(head.Object.Status, "will be stored:", head.Stored)
	for {
		piece, err := r.Next(ctx, -1)
		if err != nil { // io.EOF, or why the body broke off
			break
		}
		fmt.Printf("%s\n", piece)
	}
	r.Close()

	look := c.Look(key, request, time.Now())
	fmt.Println("fresh:", look.Fresh(), look.Object.Body.Len(), "bytes")
	// Output:
	// asking the origin
	// 200 will be stored: true
	// hello
	// fresh: true 5 bytes
}

func ExampleNormalizeTarget() {
	for _, target := range []string{"/a/../%7euser?q=%c3%a4", "/a%2fb", "/%00"} {
		fmt.Println(cache.NormalizeTarget(target))
	}
	// Output:
	// /~user?q=%C3%A4 <nil>
	// /a%2Fb <nil>
	//  cache: malformed request target
}

func ExampleObject_Select() {
	o := &cache.Object{Status: 200, Fields: cache.NewFields(http.Header{"Etag": {`"1"`}}), Body: cache.NewBody([]byte("hello"))}
	fmt.Println(o.Select("GET", http.Header{"If-None-Match": {`"1"`}}, o.Body.Len()).Status)
	part := o.Select("GET", http.Header{"Range": {"bytes=-2"}}, o.Body.Len())
	o.Body.Range(part.Offset, part.Length, func(p []byte) bool {
		fmt.Printf("%d %s %q\n", part.Status, part.Range, p)
		return true
	})
	// Output:
	// 304
	// 206 bytes 3-4/5 "lo"
}
