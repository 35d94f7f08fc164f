package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// delayDevice is what a delay's device is called.
const delayDevice = "far0"

// A Leg is the way to one address from where the program runs.
type Leg struct {
	To       netip.Addr    // IPv4, of another machine
	Distance time.Duration // the round trip that is added; what is sent there takes all of it, what comes back nothing
}

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

// check finds out what is wrong with the legs, and which way they begin: the device, and the address there.
func (d *Delay) check(legs []Leg) (source netip.Addr, err error) {
	if len(legs) == 0 {
		return source, errors.New("no address to put distance before")
	}
	for i, leg := range legs {
		switch {
		case !leg.To.Is4() || leg.To.IsUnspecified() || leg.To.IsMulticast():
			return source, fmt.Errorf("%v: want the IPv4 address of a machine", leg.To)
		case leg.Distance < 0 || leg.Distance > maxDistance:
			return source, fmt.Errorf("distance %v to %v: want 0 to %v", leg.Distance, leg.To, maxDistance)
		case slices.ContainsFunc(legs[:i], func(l Leg) bool { return l.To == leg.To }):
			return source, fmt.Errorf("%v: named twice", leg.To)
		}
		from, out, err := way(leg.To)
		switch {
		case err != nil:
			return source, fmt.Errorf("find the way to %v: %w", leg.To, err)
		case out.Flags&net.FlagLoopback != 0:
			return source, fmt.Errorf("%v is this machine itself: no packet to it leaves", leg.To)
		case i > 0 && (out.Index != d.out.Index || from != source):
			return source, fmt.Errorf("%v is behind %s, and %v behind %s: put distance before them by a process each", leg.To, out.Name, legs[0].To, d.out.Name)
		}
		source, d.out = from, out
		// All of the distance lies on this direction, and a pipe takes half of what it is told.
		d.pipes[leg.To.As4()] = newPipe(Conditions{Distance: 2 * leg.Distance}, 1, 0)
	}
	return source, nil
}

// way is the address and the device that packets to an address leave by.
func way(to netip.Addr) (from netip.Addr, out net.Interface, err error) {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9))) // sends nothing
	if err != nil {
		return from, out, err
	}
	defer c.Close()
	from = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	all, err := net.Interfaces()
	if err != nil {
		return from, out, err
	}
	if from == to {
		return from, net.Interface{Flags: net.FlagLoopback}, nil
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return from, out, err
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(from.AsSlice()) {
				return from, i, nil
			}
		}
	}
	return from, out, fmt.Errorf("no device has the address %v", from)
}

// filtered tells of a kernel that drops what comes by another device than an answer would leave by (RFC 3704 section 2.2).
func (d *Delay) filtered() error {
	for _, name := range []string{"all", d.out.Name} {
		file := "/proc/sys/net/ipv4/conf/" + name + "/rp_filter"
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == "1" {
			return fmt.Errorf("%w: the kernel drops answers that come another way than packets leave; allow them (sysctl net.ipv4.conf.%s.rp_filter=2)", ErrUnavailable, name)
		}
	}
	return nil
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

// ParseLeg reads `ADDR=DISTANCE`, such as 192.0.2.1=200ms.
func ParseLeg(text string) (leg Leg, err error) {
	addr, distance, ok := strings.Cut(text, "=")
	if !ok {
		return leg, fmt.Errorf("%s: want ADDR=DISTANCE, such as 192.0.2.1=200ms", strconv.Quote(text))
	}
	if leg.To, err = netip.ParseAddr(addr); err != nil {
		return leg, err
	}
	leg.Distance, err = time.ParseDuration(distance)
	return leg, err
}
