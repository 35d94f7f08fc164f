package discover_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"hither/origin/discover"
)

// static is a resolver with one answer.
type static struct{}

func (static) Lookup(_ context.Context, name, qtype string) (discover.Answer, error) {
	return discover.Answer{
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("127.0.0.1")},
		TTL:   30 * time.Second, Rcode: "NOERROR",
	}, nil
}

func Example() {
	w, err := discover.New(discover.Config{Name: "app.internal", Type: "A", Port: 3000, Resolver: static{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	w.Run(ctx, func(found []discover.Found) {
		for _, f := range found {
			fmt.Println(f.Addr)
		}
		stop()
	})
	for _, problem := range w.Status().Problems {
		fmt.Println(problem)
	}
	// Output:
	// 10.0.0.7:3000
	// 127.0.0.1:3000 of app.internal is outside the allowed networks
}
