package load

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseRSS(t *testing.T) {
	const line = "4711 (a) S 1 (b)) R 1 4711 4711 0 -1 4194560 5155 0 0 0 123 45 7 8 20 0 7 0 5000 1744000000 10500 18446744073709551615 1 1 0"
	if rss, err := parseRSS(line, 4096); err != nil || rss != 10500*4096 {
		t.Errorf("read %d, %v; want %d", rss, err, 10500*4096)
	}
	for _, c := range []struct{ line, why string }{
		{"", "cut"},
		{line[:60], "cut"},
		{strings.Replace(line, " R ", " Z ", 1), "no process of that number runs"},
		{strings.Replace(line, " 10500 ", " x ", 1), "invalid syntax"},
	} {
		if rss, err := parseRSS(c.line, 4096); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q: %d, %v; want an error with %q", c.line, rss, err, c.why)
		}
	}
}

// The clock of a process is finer than the hundredths of a second in /proc.
func TestReadUsage(t *testing.T) {
	fine := false
	for range 100 { // one reading in ten million ends with five noughts, by chance
		u, err := ReadUsage(os.Getpid())
		if err != nil || u.RSS < 1<<20 || u.CPU <= 0 {
			t.Fatalf("this process: %+v, %v", u, err)
		}
		fine = fine || u.CPU%tick != 0
	}
	if !fine {
		t.Error("processor time comes in steps of 10 ms")
	}
	for name, read := range map[string]func(int) error{
		"usage": func(pid int) error { _, err := ReadUsage(pid); return err },
		"clock": func(pid int) error { _, err := processCPU(pid); return err },
	} {
		if err := read(1 << 27); !errors.Is(err, errEnded) {
			t.Errorf("%s of a process that cannot be: %v", name, err)
		}
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine("cpu  10 20 30 4000 500 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := (10 + 20 + 30 + 6 + 7 + 8) * 10 * time.Millisecond; err != nil || got != want {
		t.Errorf("busy %v, %v; want %v: all but idle and iowait, and guests once", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2 3\n", "cpu0 1 2 3 4 5 6 7 8 9 10\n", "cpu  1 2 x 4 5 6 7 8 9 10\n"} {
		if got, err := parseMachine(text); err == nil {
			t.Errorf("%q is busy for %v", text, got)
		}
	}
	if got, err := MachineCPU(); err != nil || got <= 0 {
		t.Errorf("this machine: %v, %v", got, err)
	}
}

func TestModel(t *testing.T) {
	const info = "processor\t: 0\nvendor_id\t: X\nmodel name\t: A   Processor @ 2.0GHz\nmodel name\t: B\n"
	if got := model(info); got != "A Processor @ 2.0GHz" {
		t.Errorf("model %q", got)
	}
	if got := model(""); got == "" {
		t.Error("a machine that does not tell its processor has no name")
	}
}

// TestDrops fills a socket's buffer, and finds what it had no room for.
func TestDrops(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if n, err := Drops(at); err != nil || n != 0 {
		t.Fatalf("a new socket dropped %d, %v", n, err)
	}
	conn.SetReadBuffer(1) // the kernel gives its least
	from, err := net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for range 100 {
		if _, err := from.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := Drops(at)
	if err != nil || n < 1 || n > 100 {
		t.Errorf("%d of 100 dropped, %v", n, err)
	}
	if _, err := Drops(netip.AddrPortFrom(at.Addr(), 1)); err == nil {
		t.Error("drops of a socket that is not there")
	}
}
