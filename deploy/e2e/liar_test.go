//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A liar is an application that breaks HTTP. The first part of a path says how.
type liar struct {
	address string
	close   func()

	mu    sync.Mutex
	seen  map[string]int
	conns map[net.Conn]bool
}

// newLiar listens on an address of the scenario's net, and until close.
func newLiar(t *testing.T, net127 string) *liar {
	t.Helper()
	ln, err := net.Listen("tcp", net127+".0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{address: ln.Addr().String(), seen: map[string]int{}, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.conns[c] = true
			l.mu.Unlock()
			wg.Go(func() {
				l.serve(c)
				c.Close()
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.conns, c)
			})
		}
	})
	l.close = sync.OnceFunc(func() {
		ln.Close()
		l.mu.Lock()
		for c := range l.conns {
			c.Close()
		}
		l.mu.Unlock()
		wg.Wait()
	})
	t.Cleanup(l.close)
	return l
}

// times is how often a path was asked for.
func (l *liar) times(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[path]
}

// whole is a right answer.
func whole(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=3600\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// claim is the beginning of an answer with so many bytes of content to come.
func claim(length int) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=3600\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", length)
}

// half is what is sent of an answer that never becomes whole: enough that no buffer on
// the way keeps it back.
var half = strings.Repeat("half an answer\n", 4<<10)

// lies are what the liar does to a connection when it has read a request. It closes the
// connection afterwards where keep is false.
var lies = map[string]func(c *net.TCPConn, path string) (keep bool){
	"good": func(c *net.TCPConn, path string) bool {
		io.WriteString(c, whole(path))
		return true
	},
	"reset-first": func(c *net.TCPConn, _ string) bool {
		c.SetLinger(0)
		return false
	},
	"reset-middle": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, claim(2*len(half))+half)
		// What was sent is thrown away by a reset if it is not read before; a second
		// request never comes on this connection.
		c.SetLinger(0)
		return false
	},
	"short": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, claim(2*len(half))+half)
		return false
	},
	"short-chunks": func(c *net.TCPConn, _ string) bool {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(half), half)
		return false
	},
	"broken-chunks": func(c *net.TCPConn, _ string) bool {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nno length\r\n", len(half), half)
		return true
	},
	"long": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, claim(5)+"hello, and more than was promised")
		return true
	},
	"two-answers": func(c *net.TCPConn, path string) bool {
		io.WriteString(c, whole(path)+whole("an answer to nobody"))
		return true
	},
	"two-lengths": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nhello, you")
		return false
	},
	"silent": func(c *net.TCPConn, _ string) bool {
		io.Copy(io.Discard, c)
		return false
	},
	"silent-middle": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, claim(2*len(half))+half)
		io.Copy(io.Discard, c)
		return false
	},
	"trickle": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
		for ticks := time.Tick(10 * time.Millisecond); ; <-ticks {
			if _, err := io.WriteString(c, "x"); err != nil {
				return false
			}
		}
	},
	"bad-field": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 2\r\n\r\nhi")
		return false
	},
	"endless-header": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, half[:1000]); err != nil {
				return false
			}
		}
	},
	"endless-line": func(c *net.TCPConn, _ string) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Long: ")
		for {
			if _, err := io.WriteString(c, strings.Repeat("x", 1000)); err != nil {
				return false
			}
		}
	},
	"endless-hints": func(c *net.TCPConn, _ string) bool {
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"); err != nil {
				return false
			}
		}
	},
	"garbage": func(c *net.TCPConn, _ string) bool {
		c.Write(bytes.Repeat([]byte{0x16, 0x03, 0x01, 0xff, '\r', '\n', 0}, 1000))
		return false
	},
}

func (l *liar) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.seen[r.URL.Path]++
		l.mu.Unlock()
		how, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if lie := lies[how]; lie == nil || !lie(c.(*net.TCPConn), r.URL.Path) {
			return
		}
	}
}
