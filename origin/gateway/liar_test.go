package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// liar is an instance that answers each request on a connection with raw bytes, and closes it after the last of them.
func liar(t *testing.T, answers ...string) string {
	t.Helper()
	return "http://" + lie(t, func(c net.Conn) net.Conn { return c }, answers...)
}

// lie is a liar's address; over makes of a connection what it talks over.
func lie(t *testing.T, over func(net.Conn) net.Conn, answers ...string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.64.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				c := over(c)
				br := bufio.NewReader(c)
				for _, a := range answers {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					head, flood, _ := strings.Cut(a, "∞")
					if _, err := io.WriteString(c, head); err != nil {
						return
					}
					for flood != "" {
						if _, err := io.WriteString(c, flood); err != nil {
							return
						}
					}
					if strings.HasSuffix(a, "…") {
						br.ReadByte() // waits
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}
