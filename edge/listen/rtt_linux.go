package listen

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// mostRTT is longer than any round trip: the kernel says so of a connection on which it has measured none.
const mostRTT = time.Minute

// roundTrip is what the kernel has measured on a connection (tcpi_rtt and tcpi_min_rtt of TCP_INFO): the smoothed round trip, and the
// least of the last minutes. 0 where it has measured nothing, or the connection is gone.
func roundTrip(t *net.TCPConn) (smoothed, least time.Duration) {
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, 0
	}
	var info *unix.TCPInfo
	var asked error
	if err := raw.Control(func(fd uintptr) { info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || asked != nil {
		return 0, 0
	}
	smoothed, least = time.Duration(info.Rtt)*time.Microsecond, time.Duration(info.Min_rtt)*time.Microsecond
	if smoothed == 0 || smoothed > mostRTT {
		return 0, 0
	}
	if least == 0 || least > smoothed { // an older kernel does not say
		least = smoothed
	}
	return smoothed, least
}
