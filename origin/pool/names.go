package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// refresh is how long an answer for a name serves further connections, and how often it is asked for while they are well:
	// an address that was taken away gets no new connection after it, and is left after twice as long.
	refresh = 5 * time.Second

	// mostAddresses of a name are used, the first ones. A dial goes through them within Connect, so more would not be tried.
	mostAddresses = 64
)

var errNoAddress = errors.New("name has no address")

// target is where a dial may go.
type target struct {
	host string // of the configuration: what TLS asks for, and what the answer was for
	addr netip.AddrPort
}

// names knows the addresses of the configuration's hosts.
type names struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	mu    sync.Mutex
	hosts map[string]*name
}

// name is what is known of one host.
type name struct {
	asking chan struct{} // holds one: whoever has it asks

	// Guarded by names.mu.
	addrs []netip.Addr // of the last answer that had any
	at    time.Time    // of the last answer
	gone  map[netip.Addr]int
}

func newNames(lookup func(context.Context, string) ([]netip.Addr, error)) *names {
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return &names{lookup: lookup, hosts: make(map[string]*name)}
}

// resolve returns host's addresses, asking when the last answer is older than age. An answer that fails, or is empty, leaves
// what was known in force: name servers that are down must not take the origin with them.
func (n *names) resolve(ctx context.Context, host string, age time.Duration) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	n.mu.Lock()
	h := n.hosts[host]
	if h == nil {
		h = &name{asking: make(chan struct{}, 1), gone: make(map[netip.Addr]int)}
		n.hosts[host] = h
	}
	n.mu.Unlock()
	known := func() []netip.Addr {
		n.mu.Lock()
		defer n.mu.Unlock()
		return h.addrs
	}
	select {
	case h.asking <- struct{}{}:
		defer func() { <-h.asking }()
	default:
		// Somebody asks at this moment: who has an answer does not wait for the next.
		if old := known(); old != nil {
			return old, nil
		}
		select {
		case h.asking <- struct{}{}:
			defer func() { <-h.asking }()
		case <-ctx.Done():
			return nil, &net.DNSError{Err: context.Cause(ctx).Error(), Name: host, IsTimeout: true}
		}
		age = max(age, time.Second) // the answer that was waited for
	}
	n.mu.Lock()
	fresh := h.addrs != nil && time.Since(h.at) < age
	n.mu.Unlock()
	if fresh {
		return known(), nil
	}
	addrs, err := n.lookup(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{UnwrapErr: errNoAddress, Err: errNoAddress.Error(), Name: host, IsNotFound: true}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h.at = time.Now()
	switch {
	case err == nil:
		addrs = slices.Clone(addrs)
		for i, a := range addrs {
			addrs[i] = a.Unmap()
		}
		h.note(addrs)
	case h.addrs == nil:
		return nil, err
	}
	return h.addrs, nil
}

// note takes an answer. An address that is missing twice in a row has gone; once may be an answer that was cut short, or a
// server that gives a part of its addresses each time.
func (h *name) note(fresh []netip.Addr) {
	has := make(map[netip.Addr]bool, len(fresh))
	for _, a := range fresh {
		has[a] = true
		delete(h.gone, a)
	}
	for a := range h.gone {
		h.gone[a]++
	}
	for _, a := range h.addrs {
		if !has[a] {
			h.gone[a] = max(h.gone[a], 1)
		}
	}
	// An address is remembered while a connection to it may be old enough to matter, and a name cannot fill memory.
	for a := range h.gone {
		if len(h.gone) > 16*mostAddresses {
			delete(h.gone, a)
		}
	}
	h.addrs = fresh
}

// left reports that addr is not host's any more.
func (n *names) left(host string, addr netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[host]
	return h != nil && h.gone[addr] >= 2
}

// targets are the addresses that a connection may go to, the first-th configured one's first; and the error of a name that
// has none, if no other has.
func (p *Pool) targets(ctx context.Context, first int, age time.Duration) ([]target, *Error) {
	var all []target
	var failed *Error
	n := len(p.cfg.Addresses)
	for i := range n {
		at := p.cfg.Addresses[(first+i)%n]
		host, port, _ := net.SplitHostPort(at)
		number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		var addrs []netip.Addr
		if err == nil {
			addrs, err = p.names.resolve(ctx, host, age)
		}
		if err != nil {
			failed = p.unsent("dial", at, dialKind(err), err)
			continue
		}
		addrs = addrs[:min(len(addrs), mostAddresses)]
		turn := 0
		if len(addrs) > 1 {
			turn = first / n % len(addrs)
		}
		for j := range addrs {
			all = append(all, target{host, netip.AddrPortFrom(addrs[(turn+j)%len(addrs)], uint16(number))})
		}
	}
	if len(all) == 0 {
		return nil, failed
	}
	return all, nil
}

// dropLocked has connections finish that go to an address which its name has no more: new ones are opened first, as for
// those that are old.
func (p *Pool) dropLocked(now time.Time) {
	for _, c := range p.conns {
		if c.state == open && !c.expired(now) && p.names.left(c.to.host, c.to.addr.Addr()) {
			c.expires = now
		}
	}
}

// follow asks for the names from time to time, while the pool lives, so that connections to addresses which were taken away
// end before their origin does.
func (p *Pool) follow() {
	var hosts []string
	for _, a := range p.cfg.Addresses {
		host, _, _ := net.SplitHostPort(a)
		if _, err := netip.ParseAddr(host); err != nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return
	}
	for {
		select {
		case <-time.After(p.refresh + rand.N(p.refresh/5)):
		case <-p.ctx.Done():
			return
		}
		for _, host := range hosts {
			ctx, cancel := context.WithTimeout(p.ctx, p.refresh)
			p.names.resolve(ctx, host, p.refresh/2)
			cancel()
		}
		p.poke()
	}
}
