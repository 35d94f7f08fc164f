package lab

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// tunPath is the device that all TUN devices are made by.
const tunPath = "/dev/net/tun"

// queueLength is how many packets may wait for the forwarder's next read: the kernel drops what comes beyond, which no
// segment would count. A window of 16 MiB fits.
const queueLength = 12000

// openTUN makes the device in the calling thread's namespace. It goes with its file descriptor.
func openTUN() (int, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", tunPath, err)
	}
	r, err := unix.NewIfreq(deviceName)
	if err == nil {
		// Without a header of its own in front of each packet, and without offloads: what is read is what a wire
		// would carry, segmented and with checksums.
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make device %s: %w", deviceName, err)
	}
	return fd, nil
}

// address gives the device in the calling thread's namespace its address, with all places reachable over it.
func address(a [4]byte) error {
	return configure(deviceName, func(fd int, r *unix.Ifreq) error {
		r.SetUint32(mtu)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, r); err != nil {
			return err
		}
		if err := lengthen(r.Name()); err != nil {
			return err
		}
		for _, step := range []struct {
			request uint
			address [4]byte
		}{{unix.SIOCSIFADDR, a}, {unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}}} {
			if err := r.SetInet4Addr(step.address[:]); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, step.request, r); err != nil {
				return err
			}
		}
		return raise(fd, r)
	})
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

// lengthen gives a device of the calling thread's namespace its queue, by netlink (rtnetlink(7)): the older request,
// SIOCSIFTXQLEN, is only for the root of the whole machine.
func lengthen(name string) error {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const length = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg + unix.SizeofRtAttr + 4
	m := make([]byte, 0, length)
	native := binary.NativeEndian
	m = native.AppendUint32(m, length)
	m = native.AppendUint16(m, unix.RTM_NEWLINK)
	m = native.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = native.AppendUint64(m, 0) // sequence number and port
	m = native.AppendUint32(m, unix.AF_UNSPEC)
	m = native.AppendUint32(m, uint32(device.Index))
	m = native.AppendUint64(m, 0) // no flags change
	m = native.AppendUint16(m, unix.SizeofRtAttr+4)
	m = native.AppendUint16(m, unix.IFLA_TXQLEN)
	m = native.AppendUint32(m, queueLength)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var answer [256]byte
	n, _, err := unix.Recvfrom(fd, answer[:], 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || native.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink answers with a message of type %d", native.Uint16(answer[4:]))
	}
	// An acknowledgement is an error message with number 0.
	if code := int32(native.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
