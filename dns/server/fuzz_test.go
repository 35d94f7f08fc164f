package server

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnswer sends any bytes, and holds the reply to what every client may rely on.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"bad/wire.txt", "bad/edns.txt", "bad/client-subnet.txt", "edns.txt", "steered.txt", "https.txt", "alias.txt", "records.txt"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			words := scriptWords(line)
			for i, w := range words {
				if w == "->" && (words[0] == "ask" || words[0] == "send") {
					msg, _, err := message(words[:i])
					if err != nil {
						f.Fatal(err)
					}
					f.Add(msg, false)
					f.Add(msg, true)
				}
			}
		}
	}
	s := bare(f, testdata(f, "records.yaml"))
	f.Fuzz(func(t *testing.T, msg []byte, tcp bool) {
		tr := overUDP
		if tcp {
			tr = overTCP
		}
		sent := bytes.Clone(msg)
		out := s.answer(msg, addr("198.51.0.1"), tr, make([]byte, 0, maxUDP))
		if !bytes.Equal(sent, msg) {
			t.Fatal("the message was changed")
		}
		if silent := len(msg) < headerBytes || msg[2]&0x80 != 0; silent != (out == nil) {
			t.Fatalf("%x answered by %x", msg, out)
		}
		if out != nil {
			holdReply(t, msg, out, tr)
		}
		agree(t, msg)
	})
}

// holdReply holds what any reply must be.
func holdReply(t *testing.T, msg, out []byte, tr transport) {
	t.Helper()
	var m dns.Msg
	if err := m.Unpack(out); err != nil {
		t.Fatalf("%x: the reply %x cannot be read: %v", msg, out, err)
	}
	q, wrong := parse(msg)
	switch {
	case m.Id != binary.BigEndian.Uint16(msg), !m.Response, m.Opcode != int(msg[2]>>3&15), m.RecursionAvailable, m.AuthenticatedData, m.Zero:
		t.Fatalf("%x: the header of %x", msg, out)
	case m.RecursionDesired != (msg[2]&1 != 0), m.CheckingDisabled != (msg[3]&0x10 != 0):
		t.Fatalf("%x: the flags of %x", msg, out)
	case (m.IsEdns0() != nil) != (q.edns != nil):
		t.Fatalf("%x: EDNS in %x", msg, out)
	case wrong != faultNone && len(m.Answer)+len(m.Ns) > 0:
		t.Fatalf("%x: records for a fault in %x", msg, out)
	case len(m.Question) > 1, len(m.Question) == 1 && !bytes.Contains(out, question12(t, &q)):
		t.Fatalf("%x: the question in %x", msg, out)
	case wrong == faultNone && len(m.Question) != 1:
		t.Fatalf("%x: no question in %x", msg, out)
	}
	limit := dns.MinMsgSize
	if q.edns != nil {
		limit = min(max(q.edns.size, dns.MinMsgSize), maxUDP)
	}
	if tr == overTCP {
		limit = dns.MaxMsgSize
	}
	if len(out) > limit {
		t.Fatalf("%x: %d bytes, %d are taken", msg, len(out), limit)
	}
	if tr == overTCP && m.Truncated {
		t.Fatalf("%x: cut over TCP", msg)
	}
}

// question12 is a question as it stands after a header, in the case in which it was asked.
func question12(t *testing.T, q *question) []byte {
	t.Helper()
	b := make([]byte, 300)
	n, err := dns.PackDomainName(q.name, b, 0, nil, false)
	if err != nil {
		t.Fatalf("%q: %v", q.name, err)
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b[:n], q.qtype), q.class)
}

// agree holds parse against the library, which reads more than is taken here.
func agree(t *testing.T, msg []byte) (compared bool) {
	t.Helper()
	var m dns.Msg
	err := m.Unpack(msg)
	q, wrong := parse(msg)
	if err != nil || len(m.Question) != 1 || m.Response || m.Opcode != dns.OpcodeQuery || len(m.Answer)+len(m.Ns) > 0 {
		return false
	}
	switch wrong {
	case faultNone:
	case faultCounts, faultEDNS, faultSubnet, faultTail, faultVersion: // rules that the library has not
		return false
	default:
		if m.Question[0].Qclass == 0 || len(m.Extra) != int(binary.BigEndian.Uint16(msg[10:])) {
			return false // it takes a message that ends too early
		}
		t.Fatalf("%x: %s, and the library reads %v", msg, wrong, &m)
	}
	if q.name != m.Question[0].Name || q.qtype != m.Question[0].Qtype || q.class != m.Question[0].Qclass || q.id != m.Id {
		t.Fatalf("%x: read as %+v, by the library as %v", msg, q, m.Question)
	}
	o := m.IsEdns0()
	if (o != nil) != (q.edns != nil) {
		t.Fatalf("%x: EDNS %v, by the library %v", msg, q.edns, o)
	}
	if o == nil {
		return true
	}
	if q.edns.do != o.Do() || q.edns.size != max(int(o.UDPSize()), dns.MinMsgSize) || o.Version() != 0 {
		t.Fatalf("%x: EDNS %+v, by the library %v", msg, q.edns, o)
	}
	e := subnetOf(&m)
	if (e != nil) != (q.edns.subnet != nil) {
		t.Fatalf("%x: client subnet %v, by the library %v", msg, q.edns.subnet, e)
	}
	if e != nil {
		agreeSubnet(t, q.edns.subnet, e)
	}
	return true
}

func agreeSubnet(t *testing.T, s *subnet, e *dns.EDNS0_SUBNET) {
	t.Helper()
	if s.family != e.Family || s.source != e.SourceNetmask || e.SourceScope != 0 {
		t.Fatalf("%+v, by the library %v", s, e)
	}
	if !s.prefix.IsValid() {
		if s.source != 0 {
			t.Fatalf("%+v has no prefix", s)
		}
		return
	}
	a := s.prefix.Addr()
	if s.prefix != s.prefix.Masked() || s.prefix.Bits() != int(s.source) || !net.IP(a.AsSlice()).Equal(e.Address) {
		t.Fatalf("%s, by the library %v", s.prefix, e)
	}
}

// Every well-formed question is read as the library reads it.
func TestParseAgrees(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	compared := 0
	for range 20_000 {
		m := new(dns.Msg)
		var name strings.Builder
		for range random.IntN(6) {
			for range 1 + random.IntN(12) {
				fmt.Fprintf(&name, "\\%03d", random.IntN(256))
			}
			name.WriteByte('.')
		}
		m.SetQuestion(dns.Fqdn(name.String()), uint16(random.Uint32()))
		m.Question[0].Qclass = uint16(random.Uint32())
		m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = random.IntN(2) == 0, random.IntN(2) == 0, random.IntN(2) == 0
		if random.IntN(2) == 0 {
			m.SetEdns0(uint16(random.Uint32()), random.IntN(2) == 0)
			o := m.IsEdns0()
			if client := randomClient(random); client.IsValid() {
				e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(client.Bits()), Address: client.Addr().AsSlice()}
				if client.Addr().Is6() {
					e.Family = 2
				}
				o.Option = append(o.Option, e)
			}
			for range random.IntN(3) {
				o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: uint16(65001 + random.IntN(500)), Data: make([]byte, random.IntN(20))})
			}
		}
		for range random.IntN(3) {
			m.Extra = append(m.Extra, rrs(t, "key.example. 0 TXT x")...)
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if agree(t, b) {
			compared++
		}
	}
	if compared != 20_000 {
		t.Errorf("%d questions were compared", compared)
	}
}

// FuzzSubnet reads any option, and holds what is taken against the library and against RFC 7871 section 6.
func FuzzSubnet(f *testing.F) {
	for _, s := range []string{"", "00011800c00002", "00000000", "0001000000", "00023000" + "20010db80001", "00022f00" + "20010db80001", "000120ff01020304", "00010900c080"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(24))
	}
	f.Fuzz(func(t *testing.T, data []byte, scope uint8) {
		s, ok := parseSubnet(data)
		if !ok {
			return
		}
		if !bytes.Equal(s.reply(0), data) {
			t.Fatalf("%x is not repeated: %x", data, s.reply(0))
		}
		b := s.reply(int(scope))
		if b[3] != scope {
			t.Fatalf("%x: scope %d became %d", data, scope, b[3])
		}
		if s.source > 0 && s.prefix.Addr().BitLen() != map[uint16]int{1: 32, 2: 128}[s.family] {
			t.Fatalf("%x: family of %s", data, s.prefix)
		}
		if s.prefix != (netip.Prefix{}) && s.prefix.Masked() != s.prefix {
			t.Fatalf("%x: bits after the prefix", data)
		}
		m := new(dns.Msg).SetQuestion(".", dns.TypeA)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: data}}
		packed, err := m.Pack()
		if err != nil {
			return // longer than a message
		}
		var read dns.Msg
		if err := read.Unpack(packed); err != nil {
			t.Fatalf("%x was taken, and the library says %v", data, err)
		}
		agreeSubnet(t, s, subnetOf(&read))
	})
}
