// Package peers starts the servers that are measured, ours and others, each with a fair configuration, on one core and
// loopback addresses of its own.
package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// A DNSServer runs and answers for [Name].
type DNSServer struct {
	process
	Version string
	Addr    netip.AddrPort
}

// Name is steered by every server, with a PoP per continent.
const Name = "www.bench.test."

// startDNS starts a program on a core, and returns once it answers.
func startDNS(ctx context.Context, s *DNSServer, core int, cmd *exec.Cmd) error {
	if err := free(s.Addr); err != nil {
		return fmt.Errorf("peers: start %s: %w", s.Name, err)
	}
	if err := s.start(ctx, core, cmd, s.answers); err != nil {
		return fmt.Errorf("%w (asked for %s at %s)", err, Name, s.Addr)
	}
	return nil
}

// free finds out that nobody has the address. Else who has it would be measured.
func free(at netip.AddrPort) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken, by another bench maybe: choose other addresses with --net 127.N", at)
	case err != nil:
		return err
	}
	return conn.Close()
}

func (s *DNSServer) answers(ctx context.Context) bool {
	m := new(dns.Msg)
	m.SetQuestion(Name, dns.TypeA)
	c := dns.Client{Timeout: 200 * time.Millisecond}
	r, _, err := c.ExchangeContext(ctx, m, s.Addr.String())
	return err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) > 0
}

// errNet says how a net is written.
var errNet = errors.New("write 127.N with N from 0 to 255: only those addresses are this machine's own without setting them up")
