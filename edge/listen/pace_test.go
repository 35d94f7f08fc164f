package listen

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// A connection is asked at once, and then once in each measureEvery.
func TestPace(t *testing.T) {
	var p pace
	for _, c := range []struct {
		at  time.Duration
		due bool
	}{
		{3 * time.Second, true}, {3 * time.Second, false}, {3*time.Second + measureEvery - 1, false}, {3*time.Second + measureEvery, true}, {4 * time.Second, false}, {time.Hour, true},
	} {
		if got := p.due(c.at); got != c.due {
			t.Errorf("at %v: %v", c.at, got)
		}
	}
}

// What measuring costs each request, and what it costs the one in ten seconds that measures.
func BenchmarkMeasure(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	there, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer there.Close()
	here, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer here.Close()
	for name, hooks := range map[string]*Hooks{"off": {}, "on": {RTT: func(netip.Addr, time.Duration, time.Duration) {}}} {
		c := &conn{Conn: here, front: &Front{hooks: hooks, began: time.Now()}}
		b.Run("request/"+name, func(b *testing.B) {
			for b.Loop() {
				c.answered()
			}
		})
	}
	c := &conn{Conn: here, front: &Front{hooks: &Hooks{RTT: func(netip.Addr, time.Duration, time.Duration) {}}}}
	b.Run("measured", func(b *testing.B) {
		for b.Loop() {
			c.pace.next.Store(0)
			c.answered()
		}
	})
}
