package discover

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// System is the resolver of the machine: the hosts file, then the name servers of resolv.conf, with its search list,
// timeout and attempts. Both files are read anew for each question. It asks over UDP with 1,232 bytes (DNS flag day 2020),
// and over TCP where the answer did not fit. The zero value is ready.
//
// The standard library's resolver would read the same files, but does not tell how long an answer may be used.
type System struct {
	Hosts   string   // "" = /etc/hosts
	Resolv  string   // "" = /etc/resolv.conf
	Servers []string // host:port; in place of those of Resolv, with its other settings; nil = those of Resolv
}

// hostsTTL is how long an answer of the hosts file may be used: it is looked up again at the shortest interval.
const hostsTTL = leastInterval

// chain is how many CNAMEs are followed in an answer.
const chain = 16

// Lookup answers one question: see Resolver.
func (s *System) Lookup(ctx context.Context, name, qtype string) (Answer, error) {
	t, ok := dns.StringToType[qtype]
	if !ok {
		return Answer{}, fmt.Errorf("discover: no type %q", qtype)
	}
	if t == dns.TypeA || t == dns.TypeAAAA {
		b, _ := os.ReadFile(or(s.Hosts, "/etc/hosts")) // without one: nothing in it
		if addrs := inHosts(b, name, t == dns.TypeA); len(addrs) > 0 {
			return Answer{Addrs: addrs, TTL: hostsTTL, Rcode: "NOERROR"}, nil
		}
	}
	conf, err := dns.ClientConfigFromFile(or(s.Resolv, "/etc/resolv.conf"))
	if err != nil && s.Servers == nil {
		return Answer{}, fmt.Errorf("discover: %w", err)
	}
	if err != nil {
		conf, _ = dns.ClientConfigFromReader(strings.NewReader(""))
	}
	servers := s.Servers
	if servers == nil {
		for _, a := range conf.Servers {
			servers = append(servers, net.JoinHostPort(a, conf.Port))
		}
	}
	var a Answer
	for _, full := range conf.NameList(name) {
		if a, err = ask(ctx, servers, conf, full, t); err != nil || len(a.Addrs)+len(a.Services) > 0 {
			return a, err
		}
	}
	return a, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// ask asks the servers in turn until one has an answer: each once, then all again, as resolv.conf(5) has it.
func ask(ctx context.Context, servers []string, conf *dns.ClientConfig, name string, t uint16) (Answer, error) {
	q := new(dns.Msg).SetQuestion(name, t)
	q.SetEdns0(1232, false)
	err := fmt.Errorf("discover: no name server is known")
	for range max(1, conf.Attempts) {
		for _, at := range servers {
			c := dns.Client{Timeout: time.Duration(conf.Timeout) * time.Second}
			var r *dns.Msg
			if r, _, err = c.ExchangeContext(ctx, q, at); err == nil && r.Truncated {
				c.Net = "tcp"
				r, _, err = c.ExchangeContext(ctx, q, at)
			}
			switch {
			case ctx.Err() != nil:
				return Answer{}, fmt.Errorf("discover: %s %s at %s: %w", name, dns.TypeToString[t], at, context.Cause(ctx))
			case err != nil:
				err = fmt.Errorf("discover: %s %s at %s: %w", name, dns.TypeToString[t], at, err)
			case r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError:
				return read(r, name, t), nil
			default:
				err = fmt.Errorf("discover: %s %s at %s: %s", name, dns.TypeToString[t], at, dns.RcodeToString[r.Rcode])
			}
		}
	}
	return Answer{}, err
}

// read takes out of a reply what was asked for: records of the type at the name, or where its CNAMEs lead within the
// reply (RFC 1034 section 3.6.2). Whatever else it has is nobody's question. The TTL is the least of all that led there,
// and without any of the SOA's and its last number (RFC 2308 section 5).
func read(r *dns.Msg, name string, t uint16) Answer {
	a := Answer{Rcode: dns.RcodeToString[r.Rcode]}
	ttl := uint32(1<<31 - 1)
	for range chain {
		next := ""
		for _, rr := range r.Answer {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) || h.Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.A:
				if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok && t == dns.TypeA {
					a.Addrs, ttl = append(a.Addrs, addr), min(ttl, h.Ttl)
				}
			case *dns.AAAA:
				if addr, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok && t == dns.TypeAAAA {
					a.Addrs, ttl = append(a.Addrs, addr), min(ttl, h.Ttl)
				}
			case *dns.SRV:
				if t == dns.TypeSRV {
					a.Services, ttl = append(a.Services, Service{Target: rr.Target, Port: rr.Port, Priority: rr.Priority, Weight: rr.Weight}), min(ttl, h.Ttl)
				}
			case *dns.CNAME:
				next, ttl = rr.Target, min(ttl, h.Ttl)
			}
		}
		if next == "" || len(a.Addrs)+len(a.Services) > 0 {
			break
		}
		name = next
	}
	if len(a.Addrs)+len(a.Services) == 0 {
		ttl = 0
		for _, rr := range r.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				ttl = min(soa.Hdr.Ttl, soa.Minttl)
			}
		}
	}
	a.TTL = time.Duration(ttl) * time.Second
	return a
}

// inHosts is the addresses of one family that a hosts file has for a name: lines of an address and names, up to a #.
func inHosts(file []byte, name string, four bool) (addrs []netip.Addr) {
	name = strings.TrimSuffix(name, ".")
	for line := range bytes.Lines(file) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.Unmap().Is4() != four {
			continue
		}
		for _, n := range fields[1:] {
			if strings.EqualFold(strings.TrimSuffix(n, "."), name) {
				addrs = append(addrs, addr.Unmap())
				break
			}
		}
	}
	return addrs
}
