package pool

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// relay passes UDP on between one client and a server, until it is silent.
type relay struct {
	addr   string
	silent atomic.Bool
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: front.LocalAddr().String()}
	var wg sync.WaitGroup
	var client atomic.Pointer[net.Addr]
	wg.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			client.Store(&from)
			if !r.silent.Load() {
				back.Write(b[:n])
			}
		}
	})
	wg.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			if to := client.Load(); to != nil && !r.silent.Load() {
				front.WriteTo(b[:n], *to)
			}
		}
	})
	t.Cleanup(func() { front.Close(); back.Close(); wg.Wait() })
	return r
}
