//go:build linux && (amd64 || arm64)

package server

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbid has the kernel answer a system call of this thread with an error from now on, as a container's sandbox may.
func forbid(call uintptr, with unix.Errno) error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	rules := []unix.SockFilter{ // of struct seccomp_data, whose first word is the call's number
		{Code: load, K: 0},
		{Code: equal, K: uint32(call), Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(with)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(rules)), Filter: &rules[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// Where a sandbox refuses batches, a worker answers one by one, and from the address that was asked.
func TestNoBatches(t *testing.T) {
	for _, c := range []struct {
		name string
		call uintptr
		with unix.Errno
	}{
		{"recvmmsg is not permitted", unix.SYS_RECVMMSG, unix.EPERM},
		{"recvmmsg is not there", unix.SYS_RECVMMSG, unix.ENOSYS},
		{"sendmmsg is not permitted", unix.SYS_SENDMMSG, unix.EPERM},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, localFile(t))
			for bind, host := range map[string]string{"127.53.0.1": "127.53.0.1", "0.0.0.0": "127.53.9.9", "::": "::1"} {
				u, err := listenUDP(netip.AddrPortFrom(addr(bind), 0), limits{}.whole())
				if err != nil {
					t.Fatal(err)
				}
				at := netip.AddrPortFrom(addr(host), u.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
				ended := make(chan error, 1)
				go func() {
					runtime.LockOSThread() // for good: the thread ends with this
					err := forbid(c.call, c.with)
					if err == nil {
						u.work(h.server)
					}
					ended <- err
				}()
				if m := asksUDP(t, at.String(), "www.hither.test."); len(m.Answer) == 0 {
					t.Errorf("%s: %v", bind, m)
				}
				u.finish()
				if err := <-ended; err != nil {
					t.Errorf("%s: %v", bind, err)
				}
				u.conn.Close()
			}
		})
	}
}
