package control

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"hither/deploy/ops"
)

// mostFrom is how many connections an address may have (an IPv6 /64 counts as one, see guesser): a quarter of all, which is room for a farm of programs
// behind one address.
const mostFrom = mostConnections / 4

// A fairListener ends connections at once of which an address has too many already.
type fairListener struct {
	net.Listener
	faint *ops.Limiter

	mu   sync.Mutex // guards what follows
	from map[netip.Prefix]int
}

func newFairListener(l net.Listener, faint *ops.Limiter) *fairListener {
	return &fairListener{Listener: l, faint: faint, from: make(map[netip.Prefix]int)}
}

// Accept returns the next connection that its address may have.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err == nil && l.admit(guesser(at.Addr())) {
			p := guesser(at.Addr())
			return &fairConn{Conn: conn, release: sync.OnceFunc(func() { l.release(p) })}, nil
		}
		conn.Close()
		l.faint.Warn("purges over HTTP: an address has too many connections, and gets no more", "from", at.Addr(), "most", mostFrom)
	}
}

func (l *fairListener) admit(p netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from[p] >= mostFrom {
		return false
	}
	l.from[p]++
	return true
}

func (l *fairListener) release(p netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from[p]--; l.from[p] == 0 {
		delete(l.from, p)
	}
}

// A fairConn gives its place back when it is closed.
type fairConn struct {
	net.Conn
	release func()
}

func (c *fairConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// A renewable is a certificate with its key as they lie in two files. Both may be replaced at any time, one after the other: until they belong
// together again, what was good is kept.
type renewable struct {
	cert, key string
	faint     *ops.Limiter

	mu   sync.Mutex // guards what follows
	seen [2]os.FileInfo
	good *tls.Certificate
}

// newRenewable reads both, which have to be good.
func newRenewable(cert, key string, faint *ops.Limiter) (*renewable, error) {
	r := &renewable{cert: cert, key: key, faint: faint}
	return r, r.read()
}

// read reads the files if they are others than those that were read.
func (r *renewable) read() error {
	var now [2]os.FileInfo
	same := r.good != nil
	for i, path := range []string{r.cert, r.key} {
		var err error
		if now[i], err = os.Stat(path); err != nil {
			return err
		}
		same = same && os.SameFile(now[i], r.seen[i]) && now[i].ModTime().Equal(r.seen[i].ModTime()) && now[i].Size() == r.seen[i].Size()
	}
	if same {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(r.cert, r.key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", r.cert, r.key, err)
	}
	r.seen, r.good = now, &pair // what was written between the two looks is seen at the next
	return nil
}

// get is for tls.Config.GetCertificate.
func (r *renewable) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.read(); err != nil {
		r.faint.Warn("purges over HTTP: a renewed certificate is not taken, and the one before is kept", "error", err)
	}
	return r.good, nil
}
