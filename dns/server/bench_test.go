package server

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy/fleet/bus"
)

func BenchmarkAnswer(b *testing.B) {
	s := bare(b, localFile(b))
	for _, c := range []struct {
		name string
		ask  string
	}{
		{"steered", "ask www.hither.test A client=198.51.8.0/24"},
		{"steered-without-subnet", "ask www.hither.test A edns=1232"},
		{"https", "ask www.hither.test HTTPS client=198.51.8.0/24"},
		{"record", "ask ns1.hither.test A edns=1232"},
		{"none", "ask none.hither.test A edns=1232"},
		{"0x20", "ask wWw.HithEr.tEst A client=198.51.8.0/24"},
		{"malformed", "ask www.hither.test A option=8:0001180000c00002"},
	} {
		msg, _, err := message(scriptWords(c.ask))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			from := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			room := make([]byte, 0, maxUDP)
			b.ReportAllocs()
			for b.Loop() {
				if s.answer(msg, from, overUDP, room) == nil {
					b.Fatal("silence")
				}
			}
		})
	}
}

// BenchmarkParse is the part of it that any message costs.
func BenchmarkParse(b *testing.B) {
	m := new(dns.Msg).SetQuestion("www.hither.test.", dns.TypeA)
	m.SetEdns0(1232, false)
	msg, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, f := parse(msg); f != faultNone {
			b.Fatal(f)
		}
	}
}

// BenchmarkAnswerInTime is a question of a prefix whose order round trips have changed, among many.
func BenchmarkAnswerInTime(b *testing.B) {
	s, now := clocked(b, localFile(b))
	for i := range 16 {
		*now = now.Add(time.Second)
		s.toldRTT("iad", []bus.PrefixRTT{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i), 0}), 24), MS: 200, Samples: 9}})
	}
	s.tick()
	msg, _, err := message(scriptWords("ask www.hither.test A client=198.51.8.0/24"))
	if err != nil {
		b.Fatal(err)
	}
	if answer, _ := candidates(b, s, newYork); answer[0] != "fra" {
		b.Fatal(answer)
	}
	from := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	room := make([]byte, 0, maxUDP)
	b.ReportAllocs()
	for b.Loop() {
		if s.answer(msg, from, overUDP, room) == nil {
			b.Fatal("silence")
		}
	}
}
