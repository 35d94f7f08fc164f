package gateway

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the gateway's sockets are given. Edges are far, and few: a connection carries what many clients asked for.
const (
	// congestion fills a line that loses packets now and then: what counts for it is the rate at which they arrive. With one that
	// takes each loss for a full queue, a thousandth lost is 3 Mbit/s for a connection at 200 ms.
	congestion = "bbr"
	// sendBuffer is what may be on its way: 500 Mbit/s over 200 ms, twice, for the queue of the line may hold as much again.
	sendBuffer = 24 << 20
	// unsent is what the kernel holds beyond that. More would stand before the next answer, which goes in turns with the others
	// up to there: 42 ms at 200 Mbit/s. With less the kernel runs dry where this process has to wait for a processor, and then BBR takes no
	// measurement for one of the line: it goes on looking for more, and has it dropped. Of four large answers at once over 200 Mbit/s, on a machine
	// where eight others worked, it sent 18 % twice with 128 KiB, 8 % with 512 KiB, 4 % with this.
	unsent = 1 << 20
)

// farSocket returns what sets the options of a listening socket, which its connections inherit. What the kernel does not have,
// or this process may not ask for, is said once and left as it is. congestion is the constant.
func farSocket(log *slog.Logger, congestion string) func(network, address string, c syscall.RawConn) error {
	var once sync.Once
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			s := int(fd)
			if err := unix.SetsockoptString(s, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion); err != nil {
				once.Do(func() {
					log.Info("TCP keeps the machine's congestion control; `modprobe tcp_bbr` and sysctl net.ipv4.tcp_allowed_congestion_control give it "+congestion, "error", err)
				})
			}
			unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
			// The kernel doubles what it is given. A buffer that is set grows no more by itself, so it must not be a smaller one.
			switch {
			case unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer/2) == nil: // with CAP_NET_ADMIN
			case 2*min(sysctl("core/wmem_max", 0), sendBuffer/2) > sysctl("ipv4/tcp_wmem", 2):
				unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer/2)
			}
		})
	}
}

// sysctl is one number of a setting of the kernel's network; 0 where it cannot be read, as in some containers.
func sysctl(name string, at int) int {
	text, err := os.ReadFile("/proc/sys/net/" + name)
	if f := strings.Fields(string(text)); err == nil && at < len(f) {
		n, _ := strconv.Atoi(f[at])
		return n
	}
	return 0
}
