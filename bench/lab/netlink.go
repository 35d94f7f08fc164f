package lab

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Requests to the kernel by netlink (rtnetlink(7)), for what no older request can do in a namespace. They are about the
// calling thread's namespace.

// lengthen gives a device its queue. The older request, SIOCSIFTXQLEN, is only for the root of the whole machine.
func lengthen(name string) error {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	m := binary.NativeEndian.AppendUint32(nil, unix.AF_UNSPEC)
	m = binary.NativeEndian.AppendUint32(m, uint32(device.Index))
	m = binary.NativeEndian.AppendUint64(m, 0) // no flags change
	m = attribute(m, unix.IFLA_TXQLEN, binary.NativeEndian.AppendUint32(nil, queueLength))
	return request(unix.RTM_NEWLINK, 0, m)
}

// route leads packets for one address to a device, with a source address that may be another device's.
func route(to, source [4]byte, device int) error {
	m := []byte{unix.AF_INET, 32, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
	m = attribute(m, unix.RTA_DST, to[:])
	m = attribute(m, unix.RTA_PREFSRC, source[:])
	m = attribute(m, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(device)))
	return request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m)
}

// attribute appends an attribute whose value has a multiple of four bytes.
func attribute(m []byte, kind uint16, value []byte) []byte {
	m = binary.NativeEndian.AppendUint16(m, uint16(unix.SizeofRtAttr+len(value)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	return append(m, value...)
}

// request makes a request and waits for its acknowledgement.
func request(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	native := binary.NativeEndian
	m := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = native.AppendUint16(m, kind)
	m = native.AppendUint16(m, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = native.AppendUint64(m, 0) // sequence number and port
	m = append(m, body...)
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

// watchLinks opens a socket that can be read when a device changes, comes or goes.
func watchLinks() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
