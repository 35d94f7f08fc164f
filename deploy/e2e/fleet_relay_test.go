//go:build e2e

package e2e_test

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A road is how the connections of one node to the hub are.
type road int

const (
	open   road = iota
	cut         // closed, and each new one at once
	silent      // nothing comes through, and nobody is told
	slow        // each piece of it takes slowBy
)

// slowBy is what a slow road adds in each direction.
const slowBy = 300 * time.Millisecond

// A relay stands before the hub and knows which node each connection is of, by the process that holds its other end: it is inside of
// TLS, and sees no names.
type relay struct {
	n        *network
	listener net.Listener
	to       string

	mu    sync.Mutex
	roads map[string]road // by node; absent = open
	news  chan struct{}   // closed and replaced when a road has changed
	conns map[net.Conn]string
	wg    sync.WaitGroup
}

// newRelay listens. What it passes on it passes to an address of n, whose nodes it can tell apart.
func newRelay(t *testing.T, n *network, listen, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{n: n, listener: ln, to: to, roads: map[string]road{}, news: make(chan struct{}), conns: map[net.Conn]string{}}
	r.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.mu.Lock()
		for c := range r.conns {
			c.Close()
		}
		clear(r.roads)
		close(r.news)
		r.news = make(chan struct{})
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

// set makes the road of a node another, for the connections that it has too.
func (r *relay) set(node string, now road) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roads[node] = now
	close(r.news)
	r.news = make(chan struct{})
	for c, of := range r.conns {
		if of == node && now == cut {
			c.Close()
		}
	}
}

// pass waits until a road is not silent, and reports whether it is open.
func (r *relay) pass(node string) bool {
	for {
		r.mu.Lock()
		now, news := r.roads[node], r.news
		r.mu.Unlock()
		switch now {
		case cut:
			return false
		case silent:
			<-news
		case slow:
			<-time.After(slowBy)
			return true
		default:
			return true
		}
	}
}

func (r *relay) serve(c net.Conn) {
	node := r.n.nodeAt(c.RemoteAddr().(*net.TCPAddr))
	defer r.hold(c, node)()
	if !r.pass(node) {
		return
	}
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer r.hold(far, node)()
	done := make(chan struct{})
	go func() {
		r.carry(far, c, node)
		close(done)
	}()
	r.carry(c, far, node)
	<-done
}

// carry passes bytes on until either end closes, and then closes both.
func (r *relay) carry(to, from net.Conn, node string) {
	defer to.Close()
	defer from.Close()
	piece := make([]byte, 32<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 && r.pass(node) {
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold keeps a connection until it is closed.
func (r *relay) hold(c net.Conn, node string) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = node
	return func() {
		c.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, c)
	}
}

// nodeAt is the node whose process has a connection from an address of this machine; "" for all others.
func (n *network) nodeAt(a *net.TCPAddr) string {
	socket, err := socketAt(a)
	if err != nil {
		return ""
	}
	folders, _ := filepath.Glob(filepath.Join(n.dir, "nodes", "*"))
	for _, folder := range folders {
		for _, pid := range processes(folder + "\x00") {
			files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
			if slices.ContainsFunc(files, func(f string) bool {
				what, _ := os.Readlink(f)
				return what == "socket:["+socket+"]"
			}) {
				return filepath.Base(folder)
			}
		}
	}
	return ""
}

// socketAt is the number that the kernel gave to the TCP socket with a local address.
func socketAt(a *net.TCPAddr) (string, error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	ip := slices.Clone(a.IP.To4())
	slices.Reverse(ip)
	want := fmt.Sprintf("%s:%04X", strings.ToUpper(hex.EncodeToString(ip)), a.Port)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == want {
			return f[9], nil
		}
	}
	return "", fmt.Errorf("no socket at %v", a)
}
