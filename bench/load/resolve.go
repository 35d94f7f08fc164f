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

	"github.com/miekg/dns"
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
		addr, err := askServer(ctx, server, host)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("ask %s for the address of %s: %w", server, host, err)
		}
		return netip.AddrPortFrom(addr, at), nil
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

// askAgain is when a question is sent again, which may be lost.
const askAgain = 2 * time.Second

// askServer asks a DNS server for a name's address, IPv4 first. The library's resolver would read the machine's file of hosts before.
func askServer(ctx context.Context, server, host string) (netip.Addr, error) {
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := exchange(ctx, server, new(dns.Msg).SetQuestion(dns.Fqdn(host), t))
		if err != nil {
			return netip.Addr{}, err
		}
		switch answer.Rcode {
		case dns.RcodeSuccess:
		case dns.RcodeNameError:
			return netip.Addr{}, errors.New("no such host")
		default:
			return netip.Addr{}, fmt.Errorf("it answers %s", dns.RcodeToString[answer.Rcode])
		}
		for _, rr := range answer.Answer {
			var ip net.IP
			switch rr := rr.(type) {
			case *dns.A:
				ip = rr.A
			case *dns.AAAA:
				ip = rr.AAAA
			}
			if addr, ok := netip.AddrFromSlice(ip); ok {
				return addr.Unmap(), nil
			}
		}
	}
	return netip.Addr{}, errors.New("it has none")
}

// exchange sends a question until it is answered or ctx ends, and over TCP where the answer does not fit.
func exchange(ctx context.Context, server string, question *dns.Msg) (answer *dns.Msg, err error) {
	client := dns.Client{Timeout: askAgain}
	for ctx.Err() == nil {
		answer, _, err = client.ExchangeContext(ctx, question, server)
		if err == nil && answer.Truncated && client.Net == "" {
			client.Net = "tcp"
			continue
		}
		var slow net.Error
		if err == nil || !errors.As(err, &slow) || !slow.Timeout() {
			return answer, err
		}
	}
	return nil, fmt.Errorf("no answer: %w", ctx.Err())
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
