package lab

import (
	"encoding/binary"
	"testing"
)

// packet makes an IPv4 packet between two places.
func packet(from, to Place, protocol uint8, body []byte) []byte {
	b := make([]byte, 20, 20+len(body))
	b[0], b[9] = 4<<4|5, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
	a, z := from.Addr().As4(), to.Addr().As4()
	copy(b[12:], a[:])
	copy(b[16:], z[:])
	return append(b, body...)
}

// segment makes a TCP segment (RFC 9293 section 3.1) or a UDP datagram (RFC 768), each without what parse does not read.
func segment(protocol uint8, from, to uint16, data string) []byte {
	b := make([]byte, 8)
	if protocol == protocolTCP {
		b = make([]byte, 32)
		b[12] = 8 << 4 // 12 bytes of options
	}
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	return append(b, data...)
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want header
	}{
		{"TCP", packet(Client, Edge, protocolTCP, segment(protocolTCP, 40000, 443, "hello")), header{Client, Edge, Flow{protocolTCP, 40000, 443}, 5, false}},
		{"acknowledgement", packet(Edge, Client, protocolTCP, segment(protocolTCP, 443, 40000, "")), header{Edge, Client, Flow{protocolTCP, 443, 40000}, 0, false}},
		{"UDP", packet(Origin, DNS, protocolUDP, segment(protocolUDP, 53, 40000, "question")), header{Origin, DNS, Flow{protocolUDP, 53, 40000}, 8, false}},
		{"ICMP", packet(Client, Edge, 1, make([]byte, 16)), header{Client, Edge, Flow{Protocol: 1}, 16, false}},
		{"short TCP", packet(Client, Edge, protocolTCP, make([]byte, 19)), header{Client, Edge, Flow{Protocol: protocolTCP}, 19, false}},
	} {
		if got, ok := parse(c.data); !ok || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, ok, c.want)
		}
	}
	syn := packet(Client, Edge, protocolTCP, segment(protocolTCP, 40000, 443, ""))
	syn[20+13] = 2
	if got, ok := parse(syn); !ok || !got.opens || got.payload != 0 {
		t.Errorf("SYN: %+v, %v", got, ok)
	}
	fragment := packet(Client, Edge, protocolUDP, make([]byte, 100))
	fragment[7] = 1
	if got, ok := parse(fragment); !ok || got.flow.From != 0 || got.payload != 100 {
		t.Errorf("fragment: %+v, %v", got, ok)
	}
}

func TestParseLeavesOthersAside(t *testing.T) {
	stranger := packet(Client, Edge, protocolUDP, segment(protocolUDP, 1, 2, ""))
	stranger[16] = 10
	multicast := packet(Client, Edge, protocolUDP, segment(protocolUDP, 1, 2, ""))
	copy(multicast[16:], []byte{224, 0, 0, 22})
	nowhere := packet(Client, Edge, protocolUDP, nil)
	nowhere[19] = byte(places) + 1
	long := packet(Client, Edge, protocolUDP, nil)
	long[3] = 200
	for name, b := range map[string][]byte{
		"empty": nil, "short": make([]byte, 19), "IPv6": append([]byte{6 << 4}, make([]byte, 60)...), "other address": stranger,
		"multicast": multicast, "no such place": nowhere, "itself": packet(Edge, Edge, protocolUDP, nil), "longer than it is": long,
	} {
		if h, ok := parse(b); ok {
			t.Errorf("%s: taken as %+v", name, h)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(packet(Client, Edge, protocolTCP, segment(protocolTCP, 40000, 443, "hello")))
	f.Add(packet(Origin, DNS, protocolUDP, segment(protocolUDP, 53, 40000, "question")))
	f.Add(packet(Client, Edge, 1, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parse(b)
		if ok && (h.payload < 0 || h.payload > len(b)-20 || h.from == h.to || int(h.to) >= places) {
			t.Errorf("%+v of %d bytes", h, len(b))
		}
	})
}
