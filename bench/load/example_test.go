package load_test

import (
	"fmt"

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
