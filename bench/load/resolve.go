package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"hither/bench/visit"
)

// answerTime is how long a DNS server has.
const answerTime = 5 * time.Second

// Resolve finds the address and port of a URL's server. It asks the DNS server, HOST:PORT; "" is the machine's.
func Resolve(ctx context.Context, u *url.URL, server string) (netip.AddrPort, error) {
	at, err := port(u)
	if err != nil {
		return netip.AddrPort{}, err
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr, at), nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if server != "" {
		found, err := visit.Ask(ctx, new(net.Dialer).DialContext, server, host)
		if errors.Is(err, visit.ErrNoHost) {
			return netip.AddrPort{}, fmt.Errorf("ask %s for the address of %s: %w; name a host that it knows", server, host, err)
		}
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("ask %s for the address of %s: %w; name a DNS server that runs, and its port, with --resolver ADDR:PORT", server, host, err)
		}
		return netip.AddrPortFrom(found[0], at), nil
	}
	found, err := new(net.Resolver).LookupNetIP(ctx, "ip", host)
	if err != nil {
		var because *net.DNSError
		if errors.As(err, &because) {
			err = errors.New(because.Err) // the rest of it names the machine's own server
		}
		return netip.AddrPort{}, fmt.Errorf("ask for the address of %s: %w; --resolver ADDR names another DNS server", host, err)
	}
	return netip.AddrPortFrom(found[0].Unmap(), at), nil
}

// port is the URL's, or that of its scheme.
func port(u *url.URL) (uint16, error) {
	text := u.Port()
	switch {
	case text == "" && u.Scheme == "http":
		return 80, nil
	case text == "":
		return 443, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %s: want 1 to 65535", text)
	}
	return uint16(n), nil
}
