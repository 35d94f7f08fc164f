package pool

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// rawConn is the TCP below an h1 session. It takes bytes from the kernel under the lock of the turn, so that at any time it
// is certain whether the reader has what came or the kernel still has it.
type rawConn struct {
	net.Conn
	rc   syscall.RawConn
	turn *turn // set once, before the first request; nil during the handshake
	none sync.Mutex
}

// newRawConn also has the kernel find out that the peer has gone without a word, as PING does for h2: after a silence of ping
// it asks, and asks again, and gives up after timeout (RFC 9293 section 3.8.4). It does so while nothing waits to be
// acknowledged; a request that is not acknowledged is a matter of FirstByte.
func newRawConn(c net.Conn, ping, timeout time.Duration) (*rawConn, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	err = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: ping, Interval: timeout / keepAliveProbes, Count: keepAliveProbes})
	return &rawConn{Conn: c, rc: rc}, err
}

// keepAliveProbes go unanswered before a connection is dead. The kernel counts in whole seconds, of which net gives at least one.
const keepAliveProbes = 3

// waiting reports that the kernel has bytes, or the end, which the reader has not been woken for yet.
func (r *rawConn) waiting() bool {
	again := false
	var one [1]byte
	r.rc.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		again = err == syscall.EAGAIN
	})
	return !again
}

// mark says whether the reader waits for the kernel.
func (r *rawConn) mark(drained bool) {
	if r.turn != nil {
		r.turn.drained = drained
		r.turn.state.Broadcast()
	}
}

func (r *rawConn) lock() sync.Locker {
	if r.turn != nil {
		return &r.turn.mu
	}
	return &r.none
}

func (r *rawConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	var n int
	var err error
	mu := r.lock()
	failed := r.rc.Read(func(fd uintptr) bool {
		mu.Lock()
		defer mu.Unlock()
		for {
			if n, err = syscall.Read(int(fd), b); err != syscall.EINTR {
				break
			}
		}
		r.mark(err == syscall.EAGAIN)
		return err != syscall.EAGAIN
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: r.LocalAddr(), Addr: r.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// CloseWrite ends what this side says.
func (r *rawConn) CloseWrite() error {
	if c, ok := r.Conn.(*net.TCPConn); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
