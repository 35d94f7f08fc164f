package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// A question is what a message asks, checked.
type question struct {
	id     uint16
	opcode int
	flags  uint16 // the header's second word, as sent
	name   string // absolute, spelled as it was asked: the reply repeats its case
	qtype  uint16
	class  uint16
	edns   *edns // nil: the client speaks none
}

// edns is the client's OPT record (RFC 6891).
type edns struct {
	size   int // what it takes over UDP, in bytes; at least 512
	do     bool
	subnet *subnet // nil: no client subnet
}

// A subnet is the client subnet option (RFC 7871), as it is sent back.
type subnet struct {
	family  uint16
	source  uint8
	address []byte
	prefix  netip.Prefix // zero where source is 0: the client wants no place looked up
}

// Limits of a question. No resolver sends more; all that stands beside the question is there to
// be skipped, and costs.
const (
	headerBytes     = 12
	minQueryRecords = 8    // additional records; OPT, TSIG or SIG(0), and what may come
	maxQuery        = 4096 // bytes over TCP; the longest name, and options
)

// A fault is what is wrong with a message.
type fault string

const (
	faultNone     fault = ""
	faultShort    fault = "short"         // no header: silence
	faultResponse fault = "response"      // QR=1: silence (RFC 1035 section 4.1.1; two servers would talk for ever)
	faultOpcode   fault = "opcode"        // NOTIMP
	faultCounts   fault = "counts"        // FORMERR, as are those that follow (RFC 9619: one question)
	faultQuestion fault = "question"      // a name that cannot be read
	faultRecord   fault = "record"        // a record that does not fit
	faultEDNS     fault = "edns"          // two OPT records, or one that is none
	faultSubnet   fault = "client-subnet" // RFC 7871 section 7.2.1
	faultTail     fault = "tail"          // bytes after the last record
	faultVersion  fault = "edns-version"  // BADVERS
)

// faults are all that are counted.
var faults = []fault{faultShort, faultResponse, faultOpcode, faultCounts, faultQuestion, faultRecord, faultEDNS, faultSubnet, faultTail, faultVersion}

// rcode is the answer to a fault.
func (f fault) rcode() int {
	switch f {
	case faultNone:
		return dns.RcodeSuccess
	case faultOpcode:
		return dns.RcodeNotImplemented
	case faultVersion:
		return dns.RcodeBadVers
	}
	return dns.RcodeFormatError
}

// silent reports whether such a message gets no answer at all.
func (f fault) silent() bool { return f == faultShort || f == faultResponse }

// parse reads a message. What was read before the fault stands in the question.
func parse(msg []byte) (q question, f fault) {
	if len(msg) < headerBytes {
		return q, faultShort
	}
	word := func(i int) uint16 { return binary.BigEndian.Uint16(msg[i:]) }
	q.id, q.flags = word(0), word(2)
	q.opcode = int(q.flags >> 11 & 15)
	switch {
	case q.flags&0x8000 != 0:
		return q, faultResponse
	case q.opcode != dns.OpcodeQuery:
		q.findEDNS(msg)
		return q, faultOpcode
	case word(4) > 1 || word(6) != 0 || word(8) != 0 || word(10) > minQueryRecords:
		return q, faultCounts
	case word(4) == 0:
		// What asks for a cookie alone (RFC 7873 section 5.4) speaks EDNS, and is told by it that there are none.
		if f = q.records(msg, headerBytes, int(word(10))); f == faultNone {
			f = faultCounts
		}
		return q, f
	}
	name, off, err := dns.UnpackDomainName(msg, headerBytes)
	if err != nil || off+4 > len(msg) {
		return q, faultQuestion
	}
	q.name, q.qtype, q.class = name, word(off), word(off+2)
	return q, q.records(msg, off+4, int(word(10)))
}

// findEDNS looks for the OPT record of a message that is answered with an error whatever it asks: the error must have
// one too (RFC 6891 section 6.1.1). Where the message has other sections than a question's, it is not looked for.
func (q *question) findEDNS(msg []byte) {
	word := func(i int) uint16 { return binary.BigEndian.Uint16(msg[i:]) }
	if word(4) > 1 || word(6) != 0 || word(8) != 0 || word(10) > minQueryRecords {
		return
	}
	off := headerBytes
	if word(4) == 1 {
		name, at, err := dns.UnpackDomainName(msg, off)
		if err != nil || at+4 > len(msg) {
			return
		}
		q.name, q.qtype, q.class = name, word(at), word(at+2)
		off = at + 4
	}
	if q.records(msg, off, int(word(10))) != faultNone {
		q.edns = nil
	}
}

// records reads the additional ones, from off to the message's end.
func (q *question) records(msg []byte, off, n int) fault {
	word := func(i int) uint16 { return binary.BigEndian.Uint16(msg[i:]) }
	for range n {
		owner, at, err := dns.UnpackDomainName(msg, off)
		if err != nil || at+10 > len(msg) {
			return faultRecord
		}
		kind, end := word(at), at+10+int(word(at+8))
		if end > len(msg) {
			return faultRecord
		}
		if kind == dns.TypeOPT {
			if owner != "." || q.edns != nil {
				return faultEDNS
			}
			q.edns = &edns{size: max(int(word(at+2)), dns.MinMsgSize), do: msg[at+6]&0x80 != 0}
			if msg[at+5] != 0 {
				return faultVersion // its options may mean anything
			}
			if f := q.edns.options(msg[at+10 : end]); f != faultNone {
				return f
			}
		}
		off = end
	}
	if off != len(msg) {
		return faultTail
	}
	return faultNone
}

// options reads an OPT record's; unknown ones are ignored (RFC 6891 section 6.1.2).
func (e *edns) options(data []byte) fault {
	for len(data) > 0 {
		if len(data) < 4 {
			return faultEDNS
		}
		code, length := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		if len(data) < 4+length {
			return faultEDNS
		}
		if code == dns.EDNS0SUBNET {
			s, ok := parseSubnet(data[4 : 4+length])
			if !ok || e.subnet != nil {
				e.subnet = nil
				return faultSubnet
			}
			e.subnet = s
		}
		data = data[4+length:]
	}
	return faultNone
}

// parseSubnet reads a client subnet option as RFC 7871 section 6 wants it: just as many bytes of address
// as the source prefix needs, zeros after its last bit, scope 0, family 1 or 2. Family 0 is taken where it says nothing, as
// dig sends it for an option of /0.
func parseSubnet(data []byte) (*subnet, bool) {
	if len(data) < 4 || data[3] != 0 {
		return nil, false
	}
	s := &subnet{family: binary.BigEndian.Uint16(data), source: data[2], address: data[4:]}
	if len(s.address) != (int(s.source)+7)/8 {
		return nil, false
	}
	var addr netip.Addr
	switch s.family {
	case 0:
		return s, s.source == 0
	case 1:
		var a [4]byte
		if int(s.source) > 8*len(a) {
			return nil, false
		}
		copy(a[:], s.address)
		addr = netip.AddrFrom4(a)
	case 2:
		var a [16]byte
		if int(s.source) > 8*len(a) {
			return nil, false
		}
		copy(a[:], s.address)
		addr = netip.AddrFrom16(a)
	default:
		return nil, false
	}
	whole := netip.PrefixFrom(addr, int(s.source))
	if whole.Masked() != whole {
		return nil, false
	}
	if s.source > 0 {
		s.prefix = whole
	}
	return s, true
}

// reply is the option's data with the scope for which the answer holds (RFC 7871 section 7.2.1).
func (s *subnet) reply(scope int) []byte { return s.append(make([]byte, 0, 4+len(s.address)), scope) }

// append appends that data to b.
func (s *subnet) append(b []byte, scope int) []byte {
	b = binary.BigEndian.AppendUint16(b, s.family)
	return append(append(b, s.source, uint8(scope)), s.address...)
}
