package balance

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkPick is one request over 64 instances: Pick, Header, Done.
func BenchmarkPick(b *testing.B) {
	var l []Instance
	for n := range 64 {
		l = append(l, Instance{ID: fmt.Sprintf("192.0.2.%d:3000", n), Weight: 1})
	}
	for _, name := range Algorithms() {
		b.Run(name, func(b *testing.B) {
			cfg := asInFile()
			cfg.Algorithm = name
			bal, c := balancer(b, cfg, l)
			hash := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				hash++
				c.pass(time.Millisecond)
				p, err := bal.Pick(Query{Hash: hash, Hashed: bal.hashes, Trial: true})
				if err != nil {
					b.Fatal(err)
				}
				p.Header(Header{Status: 200, Length: 1000, Comparable: true})
				p.Done(Outcome{FirstByte: 20 * time.Millisecond, Bytes: 1000})
			}
		})
	}
}

// TestPickAllocates one thing: the Pick.
func TestPickAllocates(t *testing.T) {
	for _, name := range Algorithms() {
		cfg := asInFile()
		cfg.Algorithm = name
		b, c := balancer(t, cfg, ten())
		if n := testing.AllocsPerRun(1000, func() {
			c.pass(10 * time.Millisecond)
			answer(pick(t, b, Query{Hash: 1, Hashed: true}), 200)
		}); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
