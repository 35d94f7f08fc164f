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
	resolver := new(net.Resolver)
	if server != "" {
		resolver = &net.Resolver{PreferGo: true, Dial: func(dialling context.Context, network, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(dialling, network, server)
			if err == nil {
				context.AfterFunc(ctx, func() { c.Close() }) // the library goes on listening after it has given up
			}
			return c, err
		}}
	}
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	var because *net.DNSError
	if errors.As(err, &because) {
		err = errors.New(because.Err) // the rest of it names the machine's own server
	}
	switch {
	case err != nil && server != "":
		return netip.AddrPort{}, fmt.Errorf("ask %s for the address of %s: %w", server, host, err)
	case err != nil:
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
