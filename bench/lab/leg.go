package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Leg is the way to one address from where the program runs.
type Leg struct {
	To       netip.Addr    // IPv4, of another machine
	Distance time.Duration // the round trip that is added; what is sent there takes all of it, what comes back nothing
}

// ParseLeg reads `ADDR=DISTANCE`, such as 192.0.2.1=200ms.
func ParseLeg(text string) (leg Leg, err error) {
	addr, distance, ok := strings.Cut(text, "=")
	if !ok {
		return leg, fmt.Errorf("%s: want ADDR=DISTANCE, such as 192.0.2.1=200ms", strconv.Quote(text))
	}
	if leg.To, err = netip.ParseAddr(addr); err != nil {
		return leg, err
	}
	leg.Distance, err = time.ParseDuration(distance)
	return leg, err
}

// check finds out what is wrong with the legs, and which way they begin: the device, and the address there.
func (d *Delay) check(legs []Leg) (source netip.Addr, err error) {
	if len(legs) == 0 {
		return source, errors.New("no address to put distance before")
	}
	for i, leg := range legs {
		switch {
		case !leg.To.Is4() || leg.To.IsUnspecified() || leg.To.IsMulticast():
			return source, fmt.Errorf("%v: want the IPv4 address of a machine", leg.To)
		case leg.Distance < 0 || leg.Distance > maxDistance:
			return source, fmt.Errorf("distance %v to %v: want 0 to %v", leg.Distance, leg.To, maxDistance)
		case slices.ContainsFunc(legs[:i], func(l Leg) bool { return l.To == leg.To }):
			return source, fmt.Errorf("%v: named twice", leg.To)
		}
		from, out, err := way(leg.To)
		switch {
		case err != nil:
			return source, fmt.Errorf("find the way to %v: %w", leg.To, err)
		case out.Flags&net.FlagLoopback != 0:
			return source, fmt.Errorf("%v is this machine itself: no packet to it leaves", leg.To)
		case i > 0 && (out.Index != d.out.Index || from != source):
			return source, fmt.Errorf("%v is behind %s, and %v behind %s: put distance before them by a process each", leg.To, out.Name, legs[0].To, d.out.Name)
		}
		source, d.out = from, out
		// All of the distance lies on this direction, and a pipe takes half of what it is told.
		d.pipes[leg.To.As4()] = newPipe(Conditions{Distance: 2 * leg.Distance}, 1, 0)
	}
	return source, nil
}

// way is the address and the device that packets to an address leave by.
func way(to netip.Addr) (from netip.Addr, out net.Interface, err error) {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9))) // sends nothing
	if err != nil {
		return from, out, err
	}
	defer c.Close()
	from = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	all, err := net.Interfaces()
	if err != nil {
		return from, out, err
	}
	if from == to {
		return from, net.Interface{Flags: net.FlagLoopback}, nil
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return from, out, err
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(from.AsSlice()) {
				return from, i, nil
			}
		}
	}
	return from, out, fmt.Errorf("no device has the address %v", from)
}

// filtered tells of a kernel that drops what comes by another device than an answer would leave by (RFC 3704 section 2.2).
func (d *Delay) filtered() error {
	for _, name := range []string{"all", d.out.Name} {
		file := "/proc/sys/net/ipv4/conf/" + name + "/rp_filter"
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == "1" {
			return fmt.Errorf("%w: the kernel drops answers that come another way than packets leave; allow them (sysctl net.ipv4.conf.%s.rp_filter=2)", ErrUnavailable, name)
		}
	}
	return nil
}
