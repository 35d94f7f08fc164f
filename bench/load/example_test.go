package load_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"hither/bench/load"
)

func ExampleParseDnsperf() {
	run, err := load.ParseDnsperf(`
Statistics:

  Queries sent:         1000
  Queries completed:    998 (99.80%)
  Queries lost:         2 (0.20%)

  Response codes:       NOERROR 990 (99.20%), SERVFAIL 8 (0.80%)
  Average packet size:  request 54, response 70
  Run time (s):         0.500000
  Queries per second:   1996.000000

  Average Latency (s):  0.000768 (min 0.000032, max 0.001582)
`)
	fmt.Println(run.Lost, run.Rcodes["SERVFAIL"], run.Rate(), run.Max, err)
	// Output: 2 8 1996 1.582ms <nil>
}

func ExampleNewQueries() {
	q, err := load.NewQueries("www.example.org", 1000, 1)
	fmt.Println(q.Len(), q.Name, err)
	// Output: 1000 www.example.org. <nil>
}

func ExampleHTTPLoad_Load() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer server.Close()
	page, err := load.ParseURL(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	run, err := load.HTTPLoad{Protocol: "h1", URLs: []*url.URL{page}, Rate: 500, For: 100 * time.Millisecond}.Load(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Requests, "requests,", run.Failed(), "failed, all measured:", run.Response.TotalCount() == run.Requests)
	// Output: 50 requests, 0 failed, all measured: true
}

func ExampleReadURLs() {
	all, err := load.ReadURLs(strings.NewReader("# the most popular first\nhttps://www.example.org/\nhttps://www.example.org/about\n"), "urls")
	fmt.Println(len(all), all[1].Path, err)
	_, err = load.ReadURLs(strings.NewReader("https://www.example.org/\nwww.example.org\n"), "urls")
	fmt.Println(err)
	// Output:
	// 2 /about <nil>
	// urls:2: "www.example.org" cannot be asked for; write https://HOST[:PORT]/PATH
}
