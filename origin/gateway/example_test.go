package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing/fstest"

	"hither/origin/gateway"
)

func ExampleStatic() {
	site := gateway.NewStatic(gateway.StaticConfig{
		Files:        fstest.MapFS{"hello.txt": {Data: []byte("hello, world\n")}},
		CacheControl: "public, max-age=60",
	})
	for _, field := range []string{"", "bytes=0-4"} {
		r := httptest.NewRequest(http.MethodGet, "/hello.txt", nil)
		r.Header.Set("Range", field)
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("ETag"), w.Body.Len(), "bytes")
	}
	// Output:
	// 200 "hT_5N2Kgbdv3IsTr6d3WbQ" 13 bytes
	// 206 "hT_5N2Kgbdv3IsTr6d3WbQ" 5 bytes
}
