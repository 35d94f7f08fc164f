package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Drops is how many datagrams the sockets bound to an IPv4 address and port of this machine have had no room for.
func Drops(at netip.AddrPort) (int64, error) {
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0, fmt.Errorf("load: drops of %s: %w", at, err)
	}
	n, err := parseDrops(string(text), at)
	if err != nil {
		return 0, fmt.Errorf("load: drops of %s: %w", at, err)
	}
	return n, nil
}

// parseDrops reads /proc/net/udp: the local address is the second field, in hexadecimal as this machine keeps numbers, and
// drops are the last.
func parseDrops(text string, at netip.AddrPort) (int64, error) {
	b := at.Addr().As4()
	want := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(b[:]), at.Port())
	var sum int64
	found := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 13 || f[1] != want {
			continue
		}
		n, err := strconv.ParseInt(f[12], 10, 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+n, true
	}
	if !found {
		return 0, errors.New("no such socket")
	}
	return sum, nil
}
