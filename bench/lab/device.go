package lab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// tunPath is the device that all TUN devices are made by.
const tunPath = "/dev/net/tun"

// queueLength is how many packets may wait for the forwarder's next read: the kernel drops what comes beyond, which no
// segment would count. A window of 16 MiB fits.
const queueLength = 12000

// openTUN makes a device in the calling thread's namespace. It goes with its file descriptor.
func openTUN(name string) (int, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", tunPath, err)
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		// Without a header of its own in front of each packet, and without offloads: what is read is what a wire
		// would carry, segmented and with checksums.
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make device %s: %w", name, err)
	}
	return fd, nil
}

// address gives the device in the calling thread's namespace its address, with all places reachable over it.
func address(a [4]byte) error {
	return configure(deviceName, func(fd int, r *unix.Ifreq) error {
		if err := size(fd, r, mtu); err != nil {
			return err
		}
		if err := assign(fd, r, a, [4]byte{255, 254, 0, 0}); err != nil {
			return err
		}
		return raise(fd, r)
	})
}

// crowd makes all addresses of clients the calling thread's namespace's own: on the loopback device a whole network is.
func crowd() error {
	return configure("lo:1", func(fd int, r *unix.Ifreq) error { return assign(fd, r, ClientAddr(0).As4(), [4]byte{255, 255, 0, 0}) })
}

// assign gives a device an address and its network.
func assign(fd int, r *unix.Ifreq, a, mask [4]byte) error {
	for _, step := range []struct {
		request uint
		address [4]byte
	}{{unix.SIOCSIFADDR, a}, {unix.SIOCSIFNETMASK, mask}} {
		if err := r.SetInet4Addr(step.address[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, step.request, r); err != nil {
			return err
		}
	}
	return nil
}

// size gives a device the size of its largest packet and the length of its queue.
func size(fd int, r *unix.Ifreq, bytes int) error {
	r.SetUint32(uint32(bytes))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, r); err != nil {
		return err
	}
	return lengthen(r.Name())
}

// up brings up a device of the calling thread's namespace.
func up(name string) error { return configure(name, raise) }

func raise(fd int, r *unix.Ifreq) error {
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// configure makes requests about a device. They go to whatever namespace a socket was made in.
func configure(name string, f func(fd int, r *unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up device %s: %w", name, err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = f(fd, r)
	}
	if err != nil {
		return fmt.Errorf("set up device %s: %w", name, err)
	}
	return nil
}
