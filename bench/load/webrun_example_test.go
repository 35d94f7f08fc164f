package load_test

import (
	"fmt"

	"hither/bench/load"
)

func ExampleParseWrk() {
	run, err := load.ParseWrk("Running 1s test\nbench-wrk/1 requests=1000 duration_us=500000 bytes=1300000 connect=0 read=0 write=0 status=2 timeout=0 " +
		"p50_us=180 p99_us=900 p999_us=1200 max_us=2000 end\n")
	fmt.Println(run.Answered, run.Failed, run.Rate(), run.P99, err)
	// Output: 998 2 1996 900µs <nil>
}

func ExampleSequence() {
	asked := make([]int, 3)
	for _, n := range load.Sequence(1100, 3, 1, 1) {
		asked[n]++
	}
	fmt.Println(asked[0] > asked[1], asked[1] > asked[2])
	// Output: true true
}
