package lab

import "encoding/binary"

// A Flow names the connection that a packet belongs to, as its sender sees it. The zero Flow has neither ports nor
// protocol.
type Flow struct {
	Protocol uint8 // as in the IP header: 6 is TCP, 17 UDP
	From, To uint16
}

// Protocol numbers (IANA).
const (
	protocolTCP = 6
	protocolUDP = 17
)

// A header is what the lab reads of a packet.
type header struct {
	from, to Place
	flow     Flow
	payload  int  // bytes above the transport's header
	opens    bool // TCP: SYN is set
}

// parse reads an IPv4 packet (RFC 791 section 3.1). ok is false for what does not go from one place of the lab to
// another: the kernel also looks for IPv6 routers and multicast groups.
func parse(b []byte) (h header, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return h, false
	}
	above := int(b[0]&15) * 4
	length := int(binary.BigEndian.Uint16(b[2:]))
	if above < 20 || length < above || length > len(b) {
		return h, false
	}
	var known, reachable bool
	h.from, known = placeAt([4]byte(b[12:16]))
	h.to, reachable = placeAt([4]byte(b[16:20]))
	if !known || !reachable || h.from == h.to {
		return h, false
	}
	h.flow.Protocol = b[9]
	body := b[above:length]
	h.payload = len(body)
	if fragment := binary.BigEndian.Uint16(b[6:]) & 0x1fff; fragment != 0 {
		return h, true // no transport header in it
	}
	switch {
	case h.flow.Protocol == protocolTCP && len(body) >= 20:
		h.payload = max(len(body)-int(body[12]>>4)*4, 0)
		h.opens = body[13]&2 != 0 // RFC 9293 section 3.1
	case h.flow.Protocol == protocolUDP && len(body) >= 8:
		h.payload = len(body) - 8
	default:
		return h, true
	}
	h.flow.From = binary.BigEndian.Uint16(body)
	h.flow.To = binary.BigEndian.Uint16(body[2:])
	return h, true
}
