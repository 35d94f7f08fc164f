package listen_test

import (
	"maps"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"hither/edge/cert"
	"hither/edge/listen"
)

// dialEarly connects with what is in s, ready to send early data, and reports what became of the session.
func dialEarly(t *testing.T, w *world, s *sessions) (resumed, early bool) {
	t.Helper()
	conf := w.clientTLS("h3")
	conf.ClientSessionCache = s
	conn, err := quic.DialAddrEarly(t.Context(), w.QUIC()[0].String(), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseWithError(0x100, "")
	select {
	case <-conn.HandshakeComplete():
	case <-conn.Context().Done():
		t.Fatal(conn.Context().Err())
	}
	st := conn.ConnectionState()
	return st.TLS.DidResume, st.Used0RTT
}

// TestEarlyOfOthers has several processes with the same ticket keys, as of one node before and after a restart, or of two nodes. RFC 8446 section 8.2:
// early data is for the process which knows whether its ticket was used. To all others the ticket brings the session alone.
func TestEarlyOfOthers(t *testing.T) {
	c := &clock{at: time.Now().Truncate(time.Hour).Add(time.Minute)}
	seed, since := cert.Seed{1, 2, 3}, c.now()
	tickets := func() *cert.Tickets {
		k := cert.NewTickets(time.Hour, c.now)
		if err := k.Reseed(seed, since); err != nil {
			t.Fatal(err)
		}
		return k
	}
	refused := map[cert.EarlyRefusal]uint64{}
	expect := func(what string, w *world, k *cert.Tickets, s *sessions, early bool) {
		t.Helper()
		if resumed, got := dialEarly(t, w, s); !resumed || got != early {
			t.Errorf("%s: resumed %v, early data %v, want true, %v", what, resumed, got, early)
		}
		got := map[cert.EarlyRefusal]uint64{}
		for _, why := range cert.EarlyRefusals() {
			if n := k.EarlyRefused(why); n > 0 {
				got[why] = n
			}
		}
		if !maps.Equal(got, refused) {
			t.Errorf("%s: refused %v, want %v", what, got, refused)
		}
	}

	before := tickets()
	first := openAt(t, c.now, nothing, nil).again(t, before, nothing, nil)
	s := newSessions()
	visit(t, first, listen.H3, s, siteName)
	s.freeze()
	expect("its own", first, before, s, true)
	first.Close()

	c.advance(time.Second)
	after := tickets()
	next := first.again(t, after, nothing, nil)
	refused[cert.EarlyOld]++
	expect("of before the restart", next, after, s, false)
	refused[cert.EarlyOld]++
	expect("of before the restart, again", next, after, s, false)

	// One who began later than the process that issues the ticket, and earlier than the ticket.
	c.advance(time.Second)
	elsewhere := tickets()
	other := first.again(t, elsewhere, nothing, nil)
	c.advance(time.Second)
	s = newSessions()
	visit(t, next, listen.H3, s, siteName)
	s.freeze()
	refused = map[cert.EarlyRefusal]uint64{cert.EarlyUnknown: 1}
	expect("of another node", other, elsewhere, s, false)
	refused = map[cert.EarlyRefusal]uint64{cert.EarlyOld: 2}
	expect("where it was issued", next, after, s, true)
	refused[cert.EarlyUsed]++
	expect("where it was issued, again", next, after, s, false)
}
