package node

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"hither/deploy/fleet/bus"
)

// No address of a client is kept or told, whatever form it comes in.
func TestNoAddressIsTold(t *testing.T) {
	for _, c := range []struct{ client, prefix string }{
		{"192.0.2.129", "192.0.2.0/24"},
		{"::ffff:192.0.2.129", "192.0.2.0/24"},
		{"127.0.0.1", "127.0.0.0/24"},
		{"10.1.2.3", "10.1.2.0/24"},
		{"0.0.0.0", "0.0.0.0/24"},
		{"255.255.255.255", "255.255.255.0/24"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"},
		{"2001:db8:1:ffff::1", "2001:db8:1::/48"},
		{"fe80::1%eth0", "fe80::/48"},
		{"::1", "::/48"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff::/48"},
	} {
		var w ways
		w.heard(netip.MustParseAddr(c.client), 12*time.Millisecond, 10*time.Millisecond)
		told := w.drain()
		if len(told) != 1 || told[0].Prefix.String() != c.prefix || told[0].MS != 10 || told[0].Samples != 1 {
			t.Errorf("%s: %v, want %s", c.client, told, c.prefix)
			continue
		}
		if text := fmt.Sprintf("%s %+v", bus.Encode(bus.RTTReport{Prefixes: told}), w.all); !strings.HasPrefix(c.prefix, c.client+"/") && strings.Contains(text, strings.TrimPrefix(c.client, "::ffff:")+`"`) {
			t.Errorf("%s is told of: %s", c.client, text)
		}
	}
	var w ways
	w.heard(netip.Addr{}, time.Second, time.Second)
	w.heard(netip.MustParseAddr("192.0.2.1"), 0, 0)
	if told := w.drain(); len(told) != 0 {
		t.Errorf("of nobody: %v", told)
	}
}

// What is told is prefixes of these lengths with nothing behind them: all that comes is made so.
func TestReportHasPrefixesAlone(t *testing.T) {
	var w ways
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		a := netip.AddrFrom16(b)
		if rnd.IntN(2) == 0 {
			a = netip.AddrFrom4([4]byte(b[:4]))
		}
		w.heard(a, time.Millisecond, time.Millisecond)
	}
	for told := w.drain(); len(told) > 0; told = w.drain() {
		var back bus.RTTReport
		data := bus.Encode(bus.RTTReport{Prefixes: told})
		if len(told) > bus.MostPrefixes || len(data) > bus.MostMessage {
			t.Errorf("%d prefixes in %d bytes", len(told), len(data))
		}
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		for _, p := range back.Prefixes {
			if p.Prefix != p.Prefix.Masked() || p.Prefix.Bits() != map[bool]int{true: 24, false: 48}[p.Prefix.Addr().Is4()] {
				t.Errorf("told: %v", p.Prefix)
			}
		}
	}
}

// A held back acknowledgement is no distance, a mean follows what is heard, and what is old counts for nothing.
func TestWaysSmooth(t *testing.T) {
	now := time.Unix(0, 0)
	w := ways{now: func() time.Time { return now }}
	a := netip.MustParseAddr("192.0.2.1")
	ms := func(smoothed, least float64) float64 {
		w.heard(a, time.Duration(smoothed*1e6), time.Duration(least*1e6))
		return w.drain()[0].MS
	}
	for _, c := range []struct {
		after                 time.Duration
		smoothed, least, want float64
	}{
		{0, 50, 10, 10},            // a delayed acknowledgement
		{0, 98, 10, 16},            // 58: an eighth of the way
		{forgetRTT, 16, 16, 16},    // the same
		{forgetRTT + 1e9, 2, 2, 2}, // anew
		{0, 1, 2, 2},               // less than the least is none
	} {
		now = now.Add(c.after)
		if got := ms(c.smoothed, c.least); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The table has a bound; who was not heard of for the longest time makes room. What is told is bounded as well: most samples first, and
// what has to wait comes later.
func TestWaysAreBounded(t *testing.T) {
	if size := unsafe.Sizeof(way{}); size != 32 {
		t.Errorf("an entry has %d bytes", size)
	}
	var w ways
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10 + byte(i>>16), byte(i >> 8), byte(i), 7}) }
	hear := func(i int) { w.heard(at(i), time.Millisecond, time.Millisecond) }
	for i := range mostRTTs {
		hear(i)
	}
	hear(0) // the oldest is heard again, so the next one leaves
	hear(mostRTTs)
	if len(w.all) != mostRTTs || len(w.index) != mostRTTs {
		t.Errorf("%d entries, %d in the index", len(w.all), len(w.index))
	}
	for i, want := range map[int]bool{0: true, 1: false, 2: true, mostRTTs: true} {
		if _, ok := w.index[keyOf(at(i))]; ok != want {
			t.Errorf("prefix %d is there: %v", i, ok)
		}
	}
	for range 3 {
		hear(77)
	}
	seen := make(map[netip.Prefix]bool)
	rounds := 0
	for told := w.drain(); len(told) > 0; told = w.drain() {
		if rounds++; rounds == 1 && (told[0].Prefix != prefixOf(keyOf(at(77))) || told[0].Samples != 4 || told[1].Samples != 2) {
			t.Errorf("told first: %v", told[:2])
		}
		for _, p := range told {
			if seen[p.Prefix] {
				t.Fatalf("%v is told twice", p)
			}
			seen[p.Prefix] = true
		}
	}
	if len(seen) != mostRTTs || rounds != (mostRTTs+bus.MostPrefixes-1)/bus.MostPrefixes {
		t.Errorf("%d prefixes in %d rounds", len(seen), rounds)
	}
	// The list is whole.
	n := 0
	for i := w.newest; i >= 0; i = w.all[i].older {
		n++
	}
	if n != mostRTTs {
		t.Errorf("%d in the list", n)
	}
}

// Many connections tell at once while reports are made.
func TestWaysAtOnce(t *testing.T) {
	var w ways
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				w.heard(netip.AddrFrom4([4]byte{byte(g), byte(i >> 8), byte(i), 1}), time.Millisecond, time.Millisecond)
				if i%500 == 0 {
					w.drain()
				}
			}
		})
	}
	wg.Wait()
	if len(w.all) != 8000 {
		t.Errorf("%d entries", len(w.all))
	}
}

// What a measurement costs in a full table, and a report of it.
func BenchmarkWays(b *testing.B) {
	var w ways
	rnd := rand.New(rand.NewPCG(1, 2))
	some := make([]netip.Addr, 1<<17)
	for i := range some {
		some[i] = netip.AddrFrom4([4]byte{10, byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())})
		w.heard(some[i], time.Millisecond, time.Millisecond)
	}
	b.Run("heard", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			w.heard(some[i%len(some)], 12*time.Millisecond, 10*time.Millisecond)
		}
	})
	b.Run("report", func(b *testing.B) {
		for b.Loop() {
			for i := range w.all {
				w.all[i].samples = 1
			}
			w.drain()
		}
	})
}
