package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// A plain reply is the addresses of a steered name and nothing else, which is what most questions over UDP get. It is
// written here, without records between: those, and packing them, are a third of a question's time. The bytes are those
// that pack would write (FuzzPlain).
type plain struct {
	ttl   uint32
	addrs []netip.Addr // all of one family; none: the reply is no plain one
}

// packPlain writes a plain reply. It is nil where the reply is none, and where pack must see to it, as it may be too long
// or has no name to point at; then Answer has its records.
func (r *reply) packPlain(b []byte) []byte {
	if len(r.plain.addrs) == 0 {
		return nil
	}
	out, ok := r.writePlain(b[:0])
	if !ok {
		for _, a := range r.plain.addrs {
			r.Answer = append(r.Answer, address(r.q.name, r.plain.ttl, a))
		}
		return nil
	}
	return out
}

// writePlain appends the message to b.
func (r *reply) writePlain(b []byte) (_ []byte, ok bool) {
	end := headerBytes
	for r.msg[end] != 0 {
		if r.msg[end] > 63 {
			return nil, false // a pointer
		}
		end += 1 + int(r.msg[end])
	}
	if end == headerBytes {
		return nil, false // the root: as short as a pointer to it
	}
	end += 1 + 4
	size := 4
	qtype := dns.TypeA
	if r.plain.addrs[0].Is6() {
		size, qtype = 16, dns.TypeAAAA
	}
	if end+len(r.plain.addrs)*(end-headerBytes-4+10+size)+r.optLen() > r.limit(overUDP) {
		return nil, false // without compression: then pack measures it
	}
	b = append(b, r.msg[:headerBytes]...)
	binary.BigEndian.PutUint16(b[2:], flagsPlain|r.q.flags&flagsRepeated)
	binary.BigEndian.PutUint16(b[6:], uint16(len(r.plain.addrs)))
	clear(b[8:])
	b = append(b, r.msg[headerBytes:end]...)
	for _, a := range r.plain.addrs {
		b = append(b, 0xc0, headerBytes, byte(qtype>>8), byte(qtype), 0, dns.ClassINET)
		b = binary.BigEndian.AppendUint32(b, r.plain.ttl)
		b = append(b, 0, byte(size))
		if size == 4 {
			a4 := a.As4()
			b = append(b, a4[:]...)
		} else {
			a16 := a.As16()
			b = append(b, a16[:]...)
		}
	}
	return r.writeOPT(b), true
}

// The header's second word.
const (
	flagsPlain    = 0x8400 // QR, AA, NOERROR
	flagsRepeated = 0x0110 // RD, CD
)

// writeOPT appends the OPT record that opt adds, and counts it in the header.
func (r *reply) writeOPT(b []byte) []byte {
	e := r.q.edns
	if e == nil {
		return b
	}
	b[11] = 1
	do := byte(0)
	if e.do {
		do = 0x80
	}
	b = append(b, 0, 0, byte(dns.TypeOPT), maxUDP>>8, maxUDP&0xff, 0, 0, do, 0, 0, byte(r.optLen()-11))
	if e.subnet == nil {
		return b
	}
	b = append(b, 0, dns.EDNS0SUBNET, 0, byte(4+len(e.subnet.address)))
	return e.subnet.append(b, r.scope)
}
