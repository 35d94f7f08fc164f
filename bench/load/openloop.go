package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// OpenLoop sends questions at a constant rate, whatever comes back: dnsperf spends as much on a question as a good server
// does, and from as many cores cannot overload one.
type OpenLoop struct {
	To      netip.AddrPort // IPv4
	Queries *Queries
	Rate    float64 // questions per second
	For     time.Duration
	Grace   time.Duration // how long the last answers are waited for, at most
}

const (
	// sockets are as many clients: a server that spreads clients over its sockets must find some to spread.
	sockets = 4

	// batch is how many datagrams go through one system call: as many as the kernel cuts (UDP_MAX_SEGMENTS).
	batch = 64

	// late is how far behind its rate the sender may fall, when others had the processor, and make up for it. Beyond it would
	// offer a burst of another rate than asked; those questions are never sent, and [Run.Offered] tells of it.
	late = 5 * time.Millisecond

	// clientBuffer holds the answers of a twentieth of a second, so that they are lost at the server if anywhere.
	clientBuffer = 8 << 20
)

// Load sends questions until the time is over, or ctx is.
func (o OpenLoop) Load(ctx context.Context) (_ Run, err error) {
	if o.Rate <= 0 || o.Queries.Len() == 0 {
		return Run{}, errors.New("load: an open loop needs a rate and questions")
	}
	l := openLoop{OpenLoop: o}
	defer func() {
		for _, s := range l.sockets {
			s.conn.Close()
		}
	}()
	for range sockets {
		s, err := openSocket(o.To)
		if err != nil {
			return Run{}, fmt.Errorf("load: open a socket to %s: %w", o.To, err)
		}
		l.sockets = append(l.sockets, s)
	}
	cpu := SelfCPU()
	l.start = time.Now()
	var receivers sync.WaitGroup
	for _, s := range l.sockets {
		receivers.Go(func() { s.receive(&l) })
	}
	sent, elapsed, err := l.send(ctx)
	l.elapsed.Store(int64(elapsed))
	for _, s := range l.sockets {
		wait := o.Grace
		if s.whole() {
			wait = 0
		}
		s.conn.SetReadDeadline(time.Now().Add(wait))
	}
	receivers.Wait()
	run := Run{
		Client: "bench", Asked: o.Rate, Sent: sent, Elapsed: elapsed, CPU: SelfCPU() - cpu, Rcodes: make(map[string]int64),
	}
	all := newHistogram()
	for _, s := range l.sockets {
		run.Answered += s.answered.Load()
		run.InTime += s.inTime
		run.Empty += s.empty
		all.Merge(s.latency)
		for code, n := range s.rcodes {
			if n > 0 {
				run.Rcodes[dns.RcodeToString[code]] += n
			}
		}
		dropped, dropErr := Drops(s.conn.LocalAddr().(*net.UDPAddr).AddrPort())
		err = errors.Join(err, dropErr, s.err)
		run.Dropped += dropped
	}
	run.Lost = run.Sent - run.Answered
	run.Mean, run.P50 = time.Duration(all.Mean()), time.Duration(all.ValueAtQuantile(50))
	run.P99, run.Max = time.Duration(all.ValueAtQuantile(99)), time.Duration(all.Max())
	return run, err
}

// newHistogram holds what any answer may take, from 100 ns to a minute, to a thousandth.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(100, int64(time.Minute), 3)
}

type openLoop struct {
	OpenLoop
	start   time.Time
	elapsed atomic.Int64 // of sending, as a duration; 0 while it goes on
	sockets []*loopSocket
}

// send sends what is due, socket by socket, and sleeps while nothing is.
func (l *openLoop) send(ctx context.Context) (sent int64, elapsed time.Duration, err error) {
	next, turn := 0, 0
	origin := time.Duration(0) // when question 0 would have been sent, had all been on time
	ahead := func() time.Duration { return time.Duration(float64(sent) / l.Rate * float64(time.Second)) }
	for {
		elapsed = time.Since(l.start)
		if elapsed >= l.For || ctx.Err() != nil {
			return sent, elapsed, ctx.Err()
		}
		due := int64((elapsed-origin).Seconds()*l.Rate) - sent
		if due <= 0 {
			pause := unix.NsecToTimespec(int64(max(origin+ahead()-elapsed, 20*time.Microsecond)))
			unix.Nanosleep(&pause, nil) // time.Sleep is a millisecond at least while sockets are waited for
			continue
		}
		if behind := elapsed - origin - ahead(); behind > late {
			origin += behind - late
			due = int64(late.Seconds() * l.Rate)
		}
		s := l.sockets[turn%len(l.sockets)]
		turn++
		s.begin(len(l.Queries.messages[next]))
		n := 0
		for m := l.Queries.messages[next]; n < int(min(due, batch)) && len(m) == s.segment; m = l.Queries.messages[next] {
			at := origin + ahead() + time.Duration(float64(n)/l.Rate*float64(time.Second))
			s.add(m, max(at, 1))
			n++
			next = (next + 1) % l.Queries.Len()
		}
		if err := s.flush(n); err != nil {
			return sent, elapsed, fmt.Errorf("load: send to %s: %w", l.To, err)
		}
		sent += int64(n)
	}
}

// A loopSocket is one client. The sender owns next and what follows it, the receiver inTime and what follows that; sent is the
// sender's, answered the receiver's.
type loopSocket struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	pc   *ipv4.PacketConn

	// due is, by identifier, when a question was to be sent, as a duration since the start; 0 once it is answered. An
	// identifier comes again after a second and more: whoever answers later has lost the question.
	due [1 << 16]atomic.Int64

	next    uint16
	out     []byte // a batch of questions, one after another
	segment int    // bytes of each
	resized bool   // and the kernel does not know yet

	inTime, empty int64
	rcodes        [16]int64
	latency       *hdrhistogram.Histogram
	err           error

	sent, answered atomic.Int64
}

func openSocket(to netip.AddrPort) (*loopSocket, error) {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	conn.SetReadBuffer(clientBuffer) // the kernel may give less: what then is lost here is counted
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &loopSocket{conn: conn, raw: raw, pc: ipv4.NewPacketConn(conn), latency: newHistogram()}, nil
}

// begin makes room for questions of one size.
func (s *loopSocket) begin(size int) {
	s.out, s.resized, s.segment = s.out[:0], s.resized || s.segment != size, size
}

// add makes the next question of the batch.
func (s *loopSocket) add(message []byte, due time.Duration) {
	at := len(s.out)
	s.out = append(s.out, message...)
	binary.BigEndian.PutUint16(s.out[at:], s.next)
	s.due[s.next].Store(int64(due))
	s.next++
}

// flush sends the batch, which the kernel cuts into datagrams (UDP_SEGMENT of udp(7)): through most of its layers they go as
// one, which is what makes this client several times cheaper than the server.
func (s *loopSocket) flush(n int) (err error) {
	if s.resized {
		s.resized = false
		if wrong := s.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, s.segment) }); wrong != nil {
			return wrong
		}
		if err != nil {
			return fmt.Errorf("have datagrams cut: %w", err)
		}
	}
	s.sent.Add(int64(n))
	_, err = s.conn.Write(s.out)
	return err
}

// whole reports whether all that was sent is answered.
func (s *loopSocket) whole() bool { return s.answered.Load() == s.sent.Load() }

// receive takes answers until the deadline of the socket.
func (s *loopSocket) receive(l *openLoop) {
	in := make([]ipv4.Message, batch)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	for {
		n, err := s.pc.ReadBatch(in, 0)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			s.err = fmt.Errorf("load: receive from %s: %w", l.To, err) // nobody listens there
			return
		}
		now := time.Since(l.start)
		over := l.elapsed.Load()
		for _, m := range in[:n] {
			s.take(m.Buffers[0][:m.N], now, over == 0 || now <= time.Duration(over))
		}
		if over != 0 && s.whole() {
			return
		}
	}
}

// take counts an answer. What answers nothing that was asked, or is none, is not counted, and what it was to answer is lost.
func (s *loopSocket) take(b []byte, now time.Duration, inTime bool) {
	if len(b) < 12 || b[2]&0x80 == 0 {
		return
	}
	due := s.due[binary.BigEndian.Uint16(b)].Swap(0)
	if due == 0 {
		return
	}
	s.answered.Add(1)
	if inTime {
		s.inTime++
	}
	rcode := b[3] & 15
	s.rcodes[rcode]++
	if rcode == dns.RcodeSuccess && binary.BigEndian.Uint16(b[6:]) == 0 {
		s.empty++
	}
	s.latency.RecordValue(max(int64(now)-due, 100))
}
