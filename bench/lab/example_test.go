package lab_test

import (
	"context"
	"fmt"
	"time"

	"hither/bench/lab"
)

// A TCP handshake takes one round trip.
func Example() {
	l, err := lab.Start(lab.Options{Segments: lab.Distances(10*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond)})
	if err != nil {
		fmt.Println(err) // says what to do, where the machine does not let it be made
		return
	}
	defer l.Close()
	ctx := context.Background()
	server, err := l.At(lab.Origin).Listen(ctx, "tcp", "198.18.0.3:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	l.Record()
	start := time.Now()
	c, err := l.At(lab.Client).DialContext(ctx, "tcp", "198.18.0.3:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	path, err := l.Stop().Path(lab.Question{Start: start, At: time.Now()})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(path.RoundTrips(lab.Between(lab.Client, lab.Origin)), "round trip,", path.UnderWay().Round(time.Millisecond))
}

func ExampleSegments() {
	for _, s := range lab.Segments() {
		fmt.Println(s)
	}
	// Output:
	// client_edge
	// client_origin
	// client_dns
	// edge_origin
	// edge_dns
	// origin_dns
}
