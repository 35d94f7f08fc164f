package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// delayDevice is what a delay's device is called.
const delayDevice = "far0"

// A Delay puts distance between the network namespace of this process and some addresses, for all programs in it: in a
// container, say. Packets to the addresses are led into a TUN device, take their time, and go on as they would have
// gone. A connection that is there already gets the distance too.
//
// It is gone with its process, however that ends.
type Delay struct {
	epoch  time.Time
	device int // the TUN device
	raw    int // a socket that sends packets as they are, past the device
	link   int // readable when a device changes
	wake   int // eventfd; a write ends the thread
	out    net.Interface
	pipes  map[[4]byte]*pipe
	spare  [][]byte
	ended  chan struct{}
	err    error // what ended it before Close; to be read when ended is closed
}

// StartDelay starts a delay. Its error is an [ErrUnavailable] where this machine or user cannot have one.
func StartDelay(legs []Leg) (_ *Delay, err error) {
	d := &Delay{epoch: time.Now(), device: -1, raw: -1, link: -1, wake: -1, pipes: map[[4]byte]*pipe{}, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			d.closeFiles()
		}
	}()
	source, err := d.check(legs)
	if err == nil {
		err = d.filtered()
	}
	switch {
	case errors.Is(err, ErrUnavailable):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := d.open(); err != nil {
		return nil, unavailableDelay(err)
	}
	device, err := net.InterfaceByName(delayDevice)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	go d.run()
	for _, leg := range legs {
		if err := route(leg.To.As4(), source.As4(), device.Index); err != nil {
			d.stop()
			return nil, unavailableDelay(fmt.Errorf("lead packets for %v into %s: %w", leg.To, delayDevice, err))
		}
	}
	return d, nil
}

// open makes device and sockets.
func (d *Delay) open() (err error) {
	if d.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("make eventfd: %w", err)
	}
	if d.link, err = watchLinks(); err != nil {
		return fmt.Errorf("watch devices: %w", err)
	}
	// Bound to the device, the socket does not see the routes that lead elsewhere.
	d.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err == nil {
		err = unix.SetsockoptString(d.raw, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, d.out.Name)
	}
	if err == nil {
		err = unix.SetsockoptInt(d.raw, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20)
	}
	if err != nil {
		return fmt.Errorf("open a raw socket on %s: %w", d.out.Name, err)
	}
	if d.device, err = openTUN(delayDevice); err != nil {
		return err
	}
	return configure(delayDevice, func(fd int, r *unix.Ifreq) error {
		if err := size(fd, r, min(mtu, d.out.MTU)); err != nil {
			return err
		}
		return raise(fd, r)
	})
}

// unavailableDelay says of an error while making a delay what to do.
func unavailableDelay(err error) error {
	const hint = "run this as root (sudo); for a container: docker run --device " + tunPath + " --cap-add NET_ADMIN --cap-add NET_RAW"
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("lab: %w: another process puts distance here already", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w; %s", ErrUnavailable, err, hint)
	}
	return unavailable(err)
}

// run carries packets until it is told to end.
func (d *Delay) run() {
	defer close(d.ended)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore := punctual()
	defer restore()
	fds := []unix.PollFd{{Fd: int32(d.device), Events: unix.POLLIN}, {Fd: int32(d.link), Events: unix.POLLIN}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	var a alarm
	for {
		if d.err = d.take(); d.err != nil {
			return
		}
		next, more := d.give()
		if _, err := unix.Ppoll(fds, a.timeout(time.Since(d.epoch), next, more), nil); err != nil && !errors.Is(err, unix.EINTR) {
			d.err = fmt.Errorf("wait for packets: %w", err)
			return
		}
		if fds[2].Revents != 0 {
			return
		}
		if fds[1].Revents != 0 && d.gone() {
			d.err = fmt.Errorf("device %s has gone", d.out.Name)
			return
		}
	}
}

// take reads what was sent.
func (d *Delay) take() error {
	for range batch {
		b := make([]byte, mtu)
		if n := len(d.spare); n > 0 {
			b, d.spare = d.spare[n-1], d.spare[:n-1]
		}
		n, err := unix.Read(d.device, b)
		if err != nil {
			d.spare = append(d.spare, b)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				return nil
			}
			return fmt.Errorf("read packets: %w", err)
		}
		var p *pipe
		if n >= 20 && b[0]>>4 == 4 { // the kernel also looks for IPv6 routers
			p = d.pipes[[4]byte(b[16:20])]
		}
		if p == nil {
			d.spare = append(d.spare, b)
			continue
		}
		arrives, fate := p.admit(time.Since(d.epoch), n)
		if fate != carried {
			d.spare = append(d.spare, b)
			continue
		}
		p.push(parcel{due: arrives, data: b[:n]})
	}
	return nil
}

// give sends on what is due, and returns when the next packet is.
func (d *Delay) give() (next time.Duration, more bool) {
	for to, p := range d.pipes {
		for {
			due, any := p.next()
			if !any {
				break
			}
			if due > time.Since(d.epoch) {
				if !more || due < next {
					next, more = due, true
				}
				break
			}
			x := p.pop()
			// What cannot be sent is lost, as on any way: who sent it finds out.
			unix.Sendto(d.raw, x.data, 0, &unix.SockaddrInet4{Addr: to})
			d.spare = append(d.spare, x.data[:cap(x.data)])
		}
	}
	return next, more
}

// gone reports whether the device that packets leave by is no longer there. A container's goes when the container ends
// whose network it is.
func (d *Delay) gone() bool {
	var b [4096]byte
	for {
		if _, err := unix.Read(d.link, b[:]); err != nil {
			break
		}
	}
	// Asked of the socket, which is where the delay was started; this thread may be elsewhere.
	r, err := unix.NewIfreq(d.out.Name)
	if err == nil {
		err = unix.IoctlIfreq(d.raw, unix.SIOCGIFFLAGS, r)
	}
	return err != nil || r.Uint16()&unix.IFF_UP == 0
}

// Ended is closed when the delay has ended, by Close or by itself.
func (d *Delay) Ended() <-chan struct{} { return d.ended }

// Device is the device that packets leave by, from an address: `eth0`.
func (d *Delay) Device() string { return d.out.Name }

// Close takes the distance away. What is under way is lost. The error says what ended it before.
func (d *Delay) Close() error {
	d.stop()
	d.closeFiles()
	if d.err != nil {
		return fmt.Errorf("lab: %w", d.err)
	}
	return nil
}

// stop ends the thread.
func (d *Delay) stop() {
	unix.Write(d.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-d.ended
}

func (d *Delay) closeFiles() {
	for _, fd := range []int{d.device, d.raw, d.link, d.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Delayed reports whether a delay runs where this process is.
func Delayed() bool {
	_, err := net.InterfaceByName(delayDevice)
	return err == nil
}
