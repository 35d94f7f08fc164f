package far

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hither/bench/lab"
	"hither/bench/visit"
)

// transferTime bounds a large transfer, at a hundredth of the rates that labs are made for.
const transferTime = 5 * time.Minute

// flowPort is where the plain TCP server stands.
const flowPort = 9000

// flowBuffer is what the sockets of the plain connection may hold: several bandwidth-delay products.
func (o Options) flowBuffer() int {
	return int(max(4*float64(o.Rate)/8*o.EdgeOrigin.Seconds(), 4<<20))
}

// flow is what the line gives one TCP connection of the kernel, with large buffers and nothing above it: a byte is asked
// for over a connection that is open, and the size of the large answer comes back.
func (m *measurer) flow(ctx context.Context) (t Transfer, err error) {
	if err := m.settle(ctx); err != nil {
		return t, err
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	at := netip.AddrPortFrom(lab.Origin.Addr(), flowPort).String()
	l, err := m.lab.At(lab.Origin).Listen(ctx, "tcp", at)
	if err != nil {
		return t, err
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return t, err
	}
	if err := setBuffer(raw, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, m.o.flowBuffer()); err != nil { // its connections have it from it
		return t, err
	}
	sent := make(chan error, 1)
	go func() { sent <- answer(l, int64(m.o.Size)) }()
	c, err := m.dialFlow(ctx, at)
	if err != nil {
		return t, err
	}
	defer c.Close()
	context.AfterFunc(ctx, func() { c.Close() })
	start := time.Now()
	if _, err := c.Write([]byte{0}); err != nil {
		return t, err
	}
	t.Bytes, err = io.Copy(io.Discard, c.(*net.TCPConn))
	t.Took = time.Since(start)
	if err = errors.Join(err, <-sent); err == nil && t.Bytes != int64(m.o.Size) {
		err = fmt.Errorf("far: TCP alone brought %d bytes", t.Bytes)
	}
	return t, err
}

// dialFlow connects from the edge with a large buffer to receive: the window's scale is said in the first packet.
func (m *measurer) dialFlow(ctx context.Context, at string) (c net.Conn, err error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return setBuffer(raw, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, m.o.flowBuffer())
	}}
	if e := m.lab.At(lab.Edge).Do(func() { c, err = d.DialContext(ctx, "tcp", at) }); e != nil {
		return nil, e
	}
	return c, err
}

// setBuffer gives a socket a buffer, beyond the machine's bound for it where this process may, else as large as that lets it.
func setBuffer(raw syscall.RawConn, force, option, size int) (err error) {
	e := raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, size); errors.Is(err, unix.EPERM) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, size)
		}
	})
	if err = errors.Join(e, err); err != nil {
		return fmt.Errorf("far: enlarge a socket's buffer: %w", err)
	}
	return nil
}

// answer sends so many bytes to the one who asks.
func answer(l net.Listener, size int64) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	chunk := make([]byte, 64<<10)
	if _, err := io.ReadFull(c, chunk[:1]); err != nil {
		return err
	}
	for size > 0 {
		n, err := c.Write(chunk[:min(int64(len(chunk)), size)])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// one is one large answer through the edge that it does not have.
func (m *measurer) one(ctx context.Context) (Transfer, error) {
	ts, err := m.fetch(ctx, 1)
	if err != nil {
		return Transfer{}, err
	}
	return ts[0], nil
}

// parallel is several at once, each for a client of its own; what counts ends with the first that has all.
func (m *measurer) parallel(ctx context.Context) ([]Transfer, error) {
	return m.fetch(ctx, m.o.Parallel)
}

// counter counts what is written to it.
type counter struct{ atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.Add(int64(len(p)))
	return len(p), nil
}

// fetch gets large answers at once. When the first is whole, the others are counted and given up.
func (m *measurer) fetch(ctx context.Context, n int) ([]Transfer, error) {
	if err := m.settle(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	counts := make([]counter, n)
	targets := make([]string, n)
	for i := range targets {
		targets[i] = m.fresh(m.o.Size)
	}
	type end struct {
		v   visit.Visit
		err error
	}
	ends := make(chan end, n)
	var all sync.WaitGroup
	for i := range n {
		c := m.client()
		c.Body = &counts[i]
		all.Go(func() {
			v, err := c.Visit(ctx, visit.TLS13, targets[i])
			if err == nil && (v.Status != 200 || v.Bytes != int64(m.o.Size)) {
				err = fmt.Errorf("far: get %s: status %d, %d bytes", targets[i], v.Status, v.Bytes)
			}
			ends <- end{v, err}
		})
	}
	first := <-ends
	ts := make([]Transfer, n)
	for i := range ts {
		ts[i] = Transfer{Bytes: counts[i].Load(), Took: first.v.Last.Sub(first.v.Shaken)}
	}
	cancel()
	all.Wait()
	if first.err != nil {
		return nil, first.err
	}
	return ts, nil
}

// quiet is how long nobody may send before a transfer, in addition to the longest way: of one that was given up, the line
// still has a queue to deliver.
const quiet = 50 * time.Millisecond

// settle waits until what was given up is off the line.
func (m *measurer) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	return m.lab.Settle(ctx, m.o.EdgeOrigin/2+quiet)
}
