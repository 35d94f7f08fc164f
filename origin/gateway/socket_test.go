package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// accepted is a connection to a listener whose sockets have the options, as the listener's side sees it.
func accepted(t *testing.T, log *slog.Logger, congestion string) *net.TCPConn {
	t.Helper()
	control := farSocket(log, congestion)
	var c net.Conn
	for range 2 { // what there is to say is said once
		lc := net.ListenConfig{Control: control}
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		if c, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	return c.(*net.TCPConn)
}

// options are a connection's congestion control, what the kernel takes beyond what is sent, and its send buffer.
func options(t *testing.T, c *net.TCPConn) (congestion string, unsent, buffer int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		congestion, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		unsent, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		buffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	return congestion, unsent, buffer
}

func TestFarSocket(t *testing.T) {
	machine, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		t.Fatal(err)
	}
	usual := strings.TrimSpace(string(machine))
	allowed, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	for name, want := range map[string]string{congestion: congestion, "nosuch": usual} {
		var log bytes.Buffer
		got, unread, buffer := options(t, accepted(t, slog.New(slog.NewTextHandler(&log, nil)), name))
		if name == congestion && !slices.Contains(strings.Fields(string(allowed)), name) && os.Getuid() != 0 {
			want = usual
		}
		if got != want && !(name == congestion && got == usual) { // a kernel without it
			t.Errorf("asked for %s: %s, want %s", name, got, want)
		}
		if unread != unsent {
			t.Errorf("the kernel takes %d bytes beyond what is sent, want %d", unread, unsent)
		}
		if lines, told := strings.Count(log.String(), "\n"), got != name; (lines == 1) != told || lines > 1 {
			t.Errorf("asked for %s, got %s, and said %q", name, got, &log)
		}
		t.Logf("%s: %s, send buffer %d", name, got, buffer)
	}
}
