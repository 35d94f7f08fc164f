package deploy

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written as whole numbers with units in falling
// order: `30s`, `1h30m`, `250ms`. There is no sign and no fraction, and zero is
// written `0s`. The zero value is 0s.
type Duration time.Duration

// MaxDuration is the longest time a network file may name: ten years, far more than
// anything here is good for, and far from any overflow.
const MaxDuration = Duration(10 * 365 * 24 * time.Hour)

// durationUnits in the order in which they must come.
var durationUnits = []struct {
	name string
	unit time.Duration
}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	rest := string(text)
	wrong := fmt.Errorf("%s is not a duration; write a whole number and ms, s, m or h, such as 30s or 1h30m", quote(rest))
	if rest == "" {
		return wrong
	}
	var sum time.Duration
	units := durationUnits
	for rest != "" {
		number, after := leadingDigits(rest)
		end := 0
		for end < len(after) && after[end] >= 'a' && after[end] <= 'z' {
			end++
		}
		i := 0
		for i < len(units) && units[i].name != after[:end] {
			i++
		}
		if number == "" || i == len(units) {
			return wrong
		}
		count, err := strconv.ParseInt(number, 10, 64)
		if err != nil || count > int64(MaxDuration)/int64(units[i].unit) {
			return fmt.Errorf("%s is too long; the longest is %v", quote(string(text)), MaxDuration)
		}
		sum += time.Duration(count) * units[i].unit
		units, rest = units[i+1:], after[end:]
	}
	if Duration(sum) > MaxDuration {
		return fmt.Errorf("%s is too long; the longest is %v", quote(string(text)), MaxDuration)
	}
	*d = Duration(sum)
	return nil
}

// String writes the duration as the file does; what is below a millisecond is not
// shown.
func (d Duration) String() string {
	if d < Duration(time.Millisecond) {
		return "0s"
	}
	var b strings.Builder
	rest := time.Duration(d)
	for _, u := range durationUnits {
		if n := rest / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			rest -= n * u.unit
		}
	}
	return b.String()
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes, written with a binary unit: `64KiB`, `512MiB`, `0B`. A
// bare number is bytes.
type Size int64

var sizeUnits = []struct {
	name string
	unit int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := leadingDigits(string(text))
	if unit == "" {
		unit = "B"
	}
	for _, u := range sizeUnits {
		if u.name != unit || number == "" {
			continue
		}
		count, err := strconv.ParseInt(number, 10, 64)
		if err != nil || count > math.MaxInt64/u.unit {
			return fmt.Errorf("%s is too large", quote(string(text)))
		}
		*s = Size(count * u.unit)
		return nil
	}
	return fmt.Errorf("%s is not a size; write a whole number and B, KiB, MiB, GiB or TiB, such as 512MiB", quote(string(text)))
}

// String writes the size in the largest unit that keeps it whole.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if int64(s)%u.unit == 0 && (s != 0 || u.unit == 1) {
			return strconv.FormatInt(int64(s)/u.unit, 10) + u.name
		}
	}
	return "0B"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// HostPort is where something can be dialled: an IP address or a host name, and a
// port. It is written HOST:PORT, an IPv6 address in brackets.
type HostPort struct {
	Host string // an IP address without brackets, or a host name in lower case
	Port uint16 // never 0 in a loaded file
}

// UnmarshalText reads a host and a port.
func (h *HostPort) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return fmt.Errorf("%s is not an address with a port, such as 192.0.2.1:9443 or origin.example.net:9443", quote(string(text)))
	}
	n, err := parsePort(port)
	if err != nil {
		return err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	} else if err := checkDomain(host); err != nil {
		return err
	}
	*h = HostPort{Host: host, Port: n}
	return nil
}

// String writes host and port; the zero value is "".
func (h HostPort) String() string {
	if h == (HostPort{}) {
		return ""
	}
	return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
}

// MarshalText is String.
func (h HostPort) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// Addr returns the host when it is an IP address.
func (h HostPort) Addr() (netip.Addr, bool) {
	addr, err := netip.ParseAddr(h.Host)
	return addr, err == nil
}

var errPort = errors.New("the port must be a number from 1 to 65535")

func parsePort(s string) (uint16, error) {
	digits, rest := leadingDigits(s)
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || rest != "" || n == 0 {
		return 0, errPort
	}
	return uint16(n), nil
}

// leadingDigits splits s behind its first digits.
func leadingDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}
