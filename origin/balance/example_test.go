package balance_test

import (
	"fmt"
	"time"

	"hither/origin/balance"
)

func Example() {
	b, err := balance.New(balance.Config{
		Eject:  balance.Eject{Consecutive: 5, MaxPercent: 50, PanicPercent: 30},
		Expect: balance.Expect{MinBytes: 1},
		Seed:   1,
	}, []balance.Instance{{ID: "good", Weight: 1}, {ID: "empty", Weight: 1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 100 {
		p, err := b.Pick(balance.Query{})
		if err != nil {
			fmt.Println(err)
			return
		}
		// Here the request is sent to p.Instance().
		header, end := balance.Header{Status: 200, Length: 5000}, balance.Outcome{FirstByte: 20 * time.Millisecond, Bytes: 5000}
		if p.Instance() == "empty" {
			header, end = balance.Header{Status: 200, Length: 0}, balance.Outcome{FirstByte: time.Millisecond}
		}
		p.Header(header)
		p.Done(end)
	}
	for _, i := range b.Status().Instances {
		fmt.Printf("%s had %d requests and is %s %q\n", i.ID, i.PicksTotal, i.State, i.Why)
	}
	fmt.Println(b.Explain(balance.Query{}).Next.Sentence)
	// Output:
	// empty had 5 requests and is ejected "5 in a row: the last answered 200, short"
	// good had 95 requests and is well ""
	// good is the only one that may be chosen
}
