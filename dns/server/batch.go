package server

import (
	"errors"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many questions a worker takes from the kernel at once, at most. One by one, receiving and sending
// them are a third of a question's time. The answers leave before more is taken: none waits for a batch to be full, and
// the last of a full one leaves a quarter of a millisecond after its question was taken.
const batchSize = 64

// sendWait is how long a worker waits for room in the socket's send buffer, while questions wait in the kernel. What
// does not go in that time is lost, as a datagram may be.
const sendWait = 20 * time.Millisecond

// A batch is what one worker receives and sends, as recvmmsg(2) and sendmmsg(2) take it. Its structs point at each
// other and are used again and again: it must not be copied. It is 350 KB, of which little is ever touched, for
// questions are short.
type batch struct {
	raw      syscall.RawConn
	deadline func(time.Time) error // of writes
	told     bool                  // by the kernel, which address was asked

	in, out       [batchSize]unix.Mmsghdr
	inVec, outVec [batchSize]unix.Iovec
	peers         [batchSize]unix.RawSockaddrInet6 // or RawSockaddrInet4, which is shorter
	controls      [batchSize]control
	questions     [batchSize][maxQuery + 1]byte
	answers       [batchSize][maxUDP]byte

	received    int  // of in
	ready, sent int  // of out
	full        bool // the socket's send buffer was, when last tried

	take, giveLater func(fd uintptr) bool // made once, for raw; these wait while they return false
	give            func(fd uintptr)
}

// A control is the control message that tells the address that was asked: IPV6_PKTINFO, or IP_PKTINFO, which is shorter.
type control struct {
	header unix.Cmsghdr
	info   unix.Inet6Pktinfo
}

// A datagramConn is a socket of datagrams, not connected.
type datagramConn interface {
	syscall.Conn
	SetWriteDeadline(time.Time) error
}

// errNoBatches means that datagrams go one by one here: the system calls of batches are refused.
var errNoBatches = errors.New("dns: no batches of datagrams here")

// newBatch makes the batch of a worker. Where the kernel tells the address that was asked, answers leave from it.
func newBatch(conn datagramConn, told bool) (*batch, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	taken := true
	if err := raw.Control(func(fd uintptr) { taken = takesBatches(fd) }); err != nil {
		return nil, err
	}
	if !taken {
		return nil, errNoBatches
	}
	b := &batch{raw: raw, deadline: conn.SetWriteDeadline, told: told}
	for i := range batchSize {
		in, out := &b.in[i].Hdr, &b.out[i].Hdr
		b.inVec[i].Base = &b.questions[i][0]
		b.inVec[i].SetLen(len(b.questions[i]))
		in.Iov, out.Iov = &b.inVec[i], &b.outVec[i]
		in.SetIovlen(1)
		out.SetIovlen(1)
		in.Name = (*byte)(unsafe.Pointer(&b.peers[i]))
		if told {
			in.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		}
		b.reset(i)
	}
	b.take, b.give = b.tryReceive, b.trySend
	b.giveLater = func(fd uintptr) bool { b.trySend(fd); return !b.full }
	return b, nil
}

// takesBatches tries both calls with an empty batch, once, before anything depends on them. A sandbox may refuse them (seccomp, with
// EPERM or ENOSYS), and some kernels have none. Of a batch that is not empty EPERM may also be a firewall's word on one answer.
func takesBatches(fd uintptr) bool {
	for _, call := range []uintptr{unix.SYS_RECVMMSG, unix.SYS_SENDMMSG} {
		_, _, err := syscall.RawSyscall6(call, fd, 0, 0, unix.MSG_DONTWAIT, 0, 0)
		if err == unix.EPERM || err == unix.EACCES || err == unix.ENOSYS {
			return false
		}
	}
	return true
}

// reset tells the kernel how much room there is: it has written there how much it took.
func (b *batch) reset(i int) {
	h := &b.in[i].Hdr
	h.Namelen = unix.SizeofSockaddrInet6
	if b.told {
		h.SetControllen(int(unsafe.Sizeof(control{})))
	}
}

// receive waits for questions and takes what there are, none where the kernel had an error to tell. It fails when
// the socket was closed, or told to finish and is quiet.
func (b *batch) receive() error {
	for i := range b.received {
		b.reset(i)
	}
	b.received, b.ready, b.sent = 0, 0, 0
	return b.raw.Read(b.take)
}

// tryReceive is false where nothing has come.
func (b *batch) tryReceive(fd uintptr) bool {
	n, _, err := syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if err == 0 {
		b.received = int(n)
	}
	return err != unix.EAGAIN
}

// question is one that was received, and who sent it.
func (b *batch) question(i int) (msg []byte, from netip.Addr) {
	peer := &b.peers[i]
	if peer.Family == unix.AF_INET {
		return b.questions[i][:b.in[i].Len], netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(peer)).Addr)
	}
	return b.questions[i][:b.in[i].Len], netip.AddrFrom16(peer.Addr).Unmap()
}

// answer puts a reply to a question among those that are sent.
func (b *batch) answer(i int, reply []byte) {
	in, out := &b.in[i].Hdr, &b.out[b.ready].Hdr
	b.outVec[b.ready].Base = &reply[0]
	b.outVec[b.ready].SetLen(len(reply))
	out.Name, out.Namelen = in.Name, in.Namelen
	if b.told {
		// Of what was told, the interface is left to the routes: the one it came in by need not be the way back.
		c := &b.controls[i]
		switch {
		case c.header.Level == unix.IPPROTO_IP && c.header.Type == unix.IP_PKTINFO:
			(*unix.Inet4Pktinfo)(unsafe.Pointer(&c.info)).Ifindex = 0
		case c.header.Level == unix.IPPROTO_IPV6 && c.header.Type == unix.IPV6_PKTINFO:
			c.info.Ifindex = 0
		}
		out.Control, out.Controllen = in.Control, in.Controllen
	}
	b.ready++
}

// send hands over the answers. The kernel stops at one that it refuses, which is lost alone.
func (b *batch) send() {
	for b.sent < b.ready {
		if b.raw.Control(b.give) != nil {
			return // closed
		}
		if b.full && (b.deadline(time.Now().Add(sendWait)) != nil || b.raw.Write(b.giveLater) != nil) {
			return
		}
	}
}

// trySend hands over what the kernel takes at once.
func (b *batch) trySend(fd uintptr) {
	n, _, err := syscall.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.out[b.sent])), uintptr(b.ready-b.sent), unix.MSG_DONTWAIT, 0, 0)
	b.full = err == unix.EAGAIN
	switch err {
	case 0:
		b.sent += int(n)
	case unix.EAGAIN, unix.EINTR:
	default:
		b.sent++
	}
}

func (u *udpSocket) work(s *Server) {
	b, err := newBatch(u.conn, u.v4 != nil || u.v6 != nil)
	switch {
	case errors.Is(err, errNoBatches):
		u.workSingly(s)
		return
	case err != nil:
		return // closed
	}
	for b.receive() == nil {
		for i := range b.received {
			msg, from := b.question(i)
			if len(msg) > maxQuery {
				s.count.dropped(dropOversized)
				continue
			}
			if reply := s.answer(msg, from, overUDP, b.answers[i][:0]); reply != nil {
				b.answer(i, reply)
			}
		}
		b.send()
	}
}
