package lab

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A forwarder carries packets between the places' devices. One thread of its own does that.
type forwarder struct {
	epoch   time.Time   // durations count from here
	devices [places]int // -1 = no such place
	wake    int         // eventfd; a write makes the thread look up
	ended   chan struct{}

	mu        sync.Mutex // guards what follows
	pipes     [places][places]*pipe
	recording *Recording // nil = none
	closed    bool
	moved     time.Duration // when the last packet was sent or arrived
	fault     error         // what ended the thread before it was told to end
	spare     [][]byte      // buffers to use again
}

// newForwarder takes over the devices.
func newForwarder(devices [places]int, conditions map[Segment]Conditions, seed uint64) (*forwarder, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("lab: make eventfd: %w", err)
	}
	f := &forwarder{epoch: time.Now(), devices: devices, wake: wake, ended: make(chan struct{})}
	for a := range places {
		for b := range places {
			if a != b {
				f.pipes[a][b] = newPipe(conditions[Between(Place(a), Place(b))], seed, uint64(a*places+b))
			}
		}
	}
	go f.run()
	return f, nil
}

// now is the time in which pipes count.
func (f *forwarder) now() time.Duration { return time.Since(f.epoch) }

// batch is how many packets are read from one device before others get their turn.
const batch = 64

// spin is for how long before an arrival the thread stays awake: one that sleeps until then comes late by some 100 µs on
// a virtual machine, which would be in each round trip twice. It never stays awake for more than a fifth of the time.
const spin = 200 * time.Microsecond

// run carries packets until close.
func (f *forwarder) run() {
	defer close(f.ended)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore := punctual()
	defer restore()
	var fds [places + 1]unix.PollFd
	for i, d := range f.devices {
		fds[i] = unix.PollFd{Fd: int32(d), Events: unix.POLLIN} // a negative one is passed over (poll(2))
	}
	fds[places] = unix.PollFd{Fd: int32(f.wake), Events: unix.POLLIN}
	var a alarm
	for {
		next, more, over := f.step()
		if over {
			return
		}
		if _, err := unix.Ppoll(fds[:], a.timeout(f.now(), next, more), nil); err != nil && !errors.Is(err, unix.EINTR) {
			f.fail(fmt.Errorf("wait for packets: %w", err))
			return
		}
		if fds[places].Revents != 0 {
			var told [8]byte
			unix.Read(f.wake, told[:])
		}
	}
}

// An alarm is for a thread that waits for arrivals.
type alarm struct{ aim, awake time.Duration } // the arrival waited for, and from when on without sleep

// timeout is for how long to sleep now; nil = until something comes.
func (a *alarm) timeout(now, next time.Duration, more bool) *unix.Timespec {
	if !more {
		return nil
	}
	if next != a.aim {
		a.aim, a.awake = next, next-min((next-now)/5, spin)
	}
	ts := unix.NsecToTimespec(int64(max(a.awake-now, 0)))
	return &ts
}

// step takes what was sent and gives out what is due. It returns when the next packet is.
func (f *forwarder) step() (next time.Duration, more, over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, false, true
	}
	// First all that was sent: a packet sent before an arrival must not look like its effect.
	for from, d := range f.devices {
		if d < 0 {
			continue
		}
		if err := f.take(Place(from)); err != nil {
			f.fault = err
			return 0, false, true
		}
	}
	for {
		now := f.now()
		p, due := f.first()
		if p == nil {
			return 0, false, false
		}
		if due > now {
			return due, true, false
		}
		f.deliver(p, now)
	}
}

// first is the pipe whose packet arrives next. At one instant, the pipes take turns by number.
func (f *forwarder) first() (first *pipe, due time.Duration) {
	for a := range f.pipes {
		for _, p := range f.pipes[a] {
			if p == nil {
				continue
			}
			if d, any := p.next(); any && (first == nil || d < due) {
				first, due = p, d
			}
		}
	}
	return first, due
}

// take reads what a place has sent.
func (f *forwarder) take(from Place) error {
	for range batch {
		b := f.buffer()
		n, err := unix.Read(f.devices[from], b)
		if err != nil {
			f.spare = append(f.spare, b)
			switch {
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
				return nil
			}
			return fmt.Errorf("read packets of the %v: %w", from, err)
		}
		now := f.now()
		h, ok := parse(b[:n])
		if !ok || h.from != from {
			f.spare = append(f.spare, b)
			continue
		}
		p := f.pipes[from][h.to]
		arrives, fate := p.admit(now, n)
		if h.payload > 0 {
			p.n.Payload++
		}
		f.moved = now
		noted := f.recording.sent(h, n, f.epoch.Add(now), fate)
		if fate != carried {
			f.spare = append(f.spare, b)
			continue
		}
		p.push(parcel{due: arrives, data: b[:n], note: noted})
	}
	return nil
}

// deliver gives the first packet of a pipe to the place where it arrives.
func (f *forwarder) deliver(p *pipe, now time.Duration) {
	x := p.pop()
	p.n.Late = max(p.n.Late, now-x.due)
	to, _ := placeAt([4]byte(x.data[16:20]))
	// The write takes the packet through the receiver's network stack; what that sends in answer is later.
	f.recording.arrived(x.note, f.epoch.Add(now))
	if _, err := unix.Write(f.devices[to], x.data); err != nil {
		p.n.Refused++
	}
	f.moved = now
	f.spare = append(f.spare, x.data[:cap(x.data)])
}

func (f *forwarder) buffer() []byte {
	if n := len(f.spare); n > 0 {
		b := f.spare[n-1]
		f.spare = f.spare[:n-1]
		return b
	}
	return make([]byte, mtu)
}

func (f *forwarder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = err
}

// set changes the conditions of a segment for packets that are sent from now on.
func (f *forwarder) set(s Segment, c Conditions) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pipes[s.a][s.b].c = c
	f.pipes[s.b][s.a].c = c
}

// conditions are those of the way from a to b.
func (f *forwarder) conditions(a, b Place) Conditions {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pipes[a][b].c
}

// count is what came of the packets from a to b.
func (f *forwarder) count(a, b Place) Count {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pipes[a][b].n
}

// idle is for how long no packet has been sent or has arrived; 0 while any is under way.
func (f *forwarder) idle() (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, _ := f.first(); p != nil {
		return 0, f.fault
	}
	return f.now() - f.moved, f.fault
}

// close ends the thread; the devices are the caller's to close.
func (f *forwarder) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	unix.Write(f.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-f.ended
	unix.Close(f.wake)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// punctual makes the calling thread wake when it asked to, and before others where that is allowed.
func punctual() (restore func()) {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		slack = 50_000 // the kernel's default, in ns
	}
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	// Only root may; without it the thread waits for its turn like any other.
	before, err := unix.SchedGetAttr(0, 0)
	if err == nil {
		err = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	}
	raised := err == nil
	return func() {
		unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
		if raised {
			unix.SchedSetAttr(0, before, 0)
		}
	}
}
