package server

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy/ops"
)

// bare is a server without sockets, probes and look-ups.
func bare(t testing.TB, file string) *Server {
	t.Helper()
	n := parsed(t, file)
	now := func() time.Time { return time.Unix(1_700_000_000, 0) }
	s := &Server{
		o:       Options{Name: "ns1", Network: n, Now: now, Log: slog.New(slog.DiscardHandler)},
		metrics: ops.NewMetrics("dns-ns1"),
		said:    ops.Limiter{Log: slog.New(slog.DiscardHandler)},
		prober:  &prober{running: make(map[target]context.CancelFunc), ended: true},
		aliases: &aliases{now: now, known: make(map[aliasKey]*aliasEntry), ended: true},
	}
	s.count.register(s.metrics)
	w, err := newWorld(n, now())
	if err != nil {
		t.Fatal(err)
	}
	s.take(w, func() {})
	return s
}

// ask answers a question without a socket, as over TCP.
func (s *Server) ask(t testing.TB, m *dns.Msg, from string) *dns.Msg {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(s.answer(b, addr(from), overTCP, nil)); err != nil {
		t.Fatal(err)
	}
	return reply
}
