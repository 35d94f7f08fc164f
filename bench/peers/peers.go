// Package peers starts the servers that are measured, ours and others, each with a fair configuration, on one core and
// loopback addresses of its own.
package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"hither/bench/load"
)

// A DNSServer runs and answers for [Name].
type DNSServer struct {
	Name    string // of the program
	Version string
	Addr    netip.AddrPort

	cmd   *exec.Cmd
	ended chan struct{}
	words tail
}

// Name is steered by every server, with a PoP per continent.
const Name = "www.bench.test."

// PID is its process.
func (s *DNSServer) PID() int { return s.cmd.Process.Pid }

// startTime is how long a server may take until it answers; the largest table of prefixes takes a second.
const startTime = 20 * time.Second

// startDNS starts a program on a core, and returns once it answers.
func startDNS(ctx context.Context, s *DNSServer, core int, cmd *exec.Cmd) error {
	if err := free(s.Addr); err != nil {
		return fmt.Errorf("peers: start %s: %w", s.Name, err)
	}
	s.cmd, s.ended = cmd, make(chan struct{})
	cmd.Stdout, cmd.Stderr = &s.words, &s.words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us to hand on
	if err := load.StartOn(cmd, core); err != nil {
		return fmt.Errorf("peers: start %s: %w", cmd.Path, err)
	}
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-again.C:
		case <-s.ended:
			return fmt.Errorf("peers: %s ended at once: %s", s.Name, s.words.last())
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("peers: %s did not answer for %s at %s: %w: %s", s.Name, Name, s.Addr, ctx.Err(), s.words.last())
		}
	}
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

// Alive is nil while the server runs, and else says how it ended.
func (s *DNSServer) Alive() error {
	select {
	case <-s.ended:
		return fmt.Errorf("peers: %s ended while it was measured (%s): %s", s.Name, s.cmd.ProcessState, s.words.last())
	default:
		return nil
	}
}

// stopTime is how long a server may take to end.
const stopTime = 5 * time.Second

// Stop ends the server; it has ended when Stop returns.
func (s *DNSServer) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTime):
		s.cmd.Process.Kill()
		<-s.ended
	}
}

// A tail keeps the end of what a program writes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = t.text[extra:]
	}
	return len(p), nil
}

// last is the last line.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.text), []byte("\n"))
	if last := string(lines[len(lines)-1]); last != "" {
		return strings.TrimSpace(last)
	}
	return "it wrote nothing"
}

// errNet says how a net is written.
var errNet = errors.New("write 127.N with N from 0 to 255: only those addresses are this machine's own without setting them up")
