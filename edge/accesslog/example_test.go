package accesslog_test

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"hither/cache"
	"hither/edge/accesslog"
	"hither/edge/proxy"
)

func ExampleLog() {
	log, err := accesslog.Open(accesslog.Config{Format: accesslog.Combined, Out: os.Stdout})
	if err != nil {
		fmt.Println(err)
		return
	}
	log.Write(&proxy.Exchange{
		Start: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Node: "fra", Site: "www",
		Client: netip.MustParseAddr("192.0.2.1"), Proto: "h2", Protocol: "HTTP/2.0",
		Method: "GET", Target: "/", Agent: `say "hi"`, Status: 200, Verdict: cache.Hit, BytesOut: 1024,
	})
	if err := log.Close(); err != nil {
		fmt.Println(err)
	}
	// Output: 192.0.2.1 - - [04/Mar/2026:05:06:07 +0000] "GET / HTTP/2.0" 200 1024 "-" "say \x22hi\x22"
}
