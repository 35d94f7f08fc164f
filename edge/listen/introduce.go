package listen

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"
)

// This file is the PROXY protocol (haproxy.org/download/3.0/doc/proxy-protocol.txt): what a proxy below HTTP says
// first on each connection, namely whose it is. What the header means is the library's to say. Where it ends is found here:
// the library takes a header of version 1 only when all of it comes in one read, looks at no checksum, and lets a
// connection without a header pass unless each of its settings is right.

// What is wrong with the beginning of a connection.
var (
	errNoIntroduction = errors.New("no PROXY header")
	errLongHeader     = errors.New("PROXY header too long")
	errChecksum       = errors.New("PROXY header with a wrong checksum")
)

const (
	// lineBytes is the longest header of version 1 (section 2.1).
	lineBytes = 107
	// fixedBytes is how long a header of version 2 is before what its length counts (section 2.2).
	fixedBytes = 16
	// firstBytes is what a header should not exceed, so that it fits every first segment (section 2.2).
	firstBytes = 536
	// variableBytes bounds the rest of a header of version 2. Certificates of clients are the largest
	// that proxies put there, 1 to 2 KiB; the library takes no more.
	variableBytes = 4 << 10
)

// behindProxy reports whether a peer is a proxy that must introduce its clients.
func (f *Front) behindProxy(a net.Addr) bool {
	ip := addrOf(a).Addr().WithZone("")
	return slices.ContainsFunc(f.cfg.ProxyProtocol, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// introduce reads who a proxy's client is. Limits per address are the client's, not the proxy's, which has
// those of all. It reports whether the connection goes on.
func (f *Front) introduce(c *conn) bool {
	c.Conn.SetReadDeadline(time.Now().Add(f.limits.HeaderTime))
	from, early, err := readIntroduction(c.Conn)
	if err != nil {
		f.hooks.rejected(ReasonProxy)
		f.log.Debug("proxy protocol", "proxy", c.Conn.RemoteAddr().String(), "error", err)
		c.Close()
		return false
	}
	c.Conn.SetReadDeadline(time.Time{})
	c.early = early
	if from.IsValid() {
		c.client = net.TCPAddrFromAddrPort(from)
	}
	return f.admit(c)
}

// readIntroduction reads one header, and returns the client it names and what was read behind it. No valid client
// is the proxy itself, which tries whether we live, or a client that has no IP address.
func readIntroduction(r io.Reader) (from netip.AddrPort, early []byte, err error) {
	buf := make([]byte, 0, firstBytes)
	for {
		n, err := headerEnd(buf)
		if err != nil {
			return from, nil, err
		}
		if n > 0 && n <= len(buf) {
			from, err = parseHeader(buf[:n])
			return from, buf[n:], err
		}
		buf = slices.Grow(buf, max(n-len(buf), 1))
		n, err = r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			return from, nil, err
		}
	}
}

// headerEnd returns how long the header is with which b begins, 0 when more of it must be there to know.
func headerEnd(b []byte) (int, error) {
	switch {
	case begins(b, proxyproto.SIGV2):
		if len(b) < fixedBytes {
			return 0, nil
		}
		rest := int(binary.BigEndian.Uint16(b[fixedBytes-2:]))
		if rest > variableBytes {
			return 0, errLongHeader
		}
		return fixedBytes + rest, nil
	case begins(b, proxyproto.SIGV1):
		end := bytes.IndexByte(b[:min(len(b), lineBytes)], '\n')
		if end < 0 && len(b) >= lineBytes {
			return 0, errLongHeader
		}
		return end + 1, nil
	}
	return 0, errNoIntroduction
}

// begins reports whether b begins with a signature, or may once it is longer.
func begins(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], signature[:n])
}

// parseHeader returns the client that a whole header names.
func parseHeader(b []byte) (netip.AddrPort, error) {
	var none netip.AddrPort
	second := b[0] == proxyproto.SIGV2[0]
	if second && b[12] == byte(proxyproto.PROXY) && b[13] == byte(proxyproto.UNSPEC) {
		// Somebody else's connection, but whose cannot be said. We may take it (section 2.2), and do as for
		// UNKNOWN of version 1; the library does not.
		return none, checkSum(b, fixedBytes)
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return none, err
	}
	if h.Command.IsLocal() {
		return none, nil
	}
	if second {
		if err := checkSum(b, fixedBytes+addressBytes[h.TransportProtocol]); err != nil {
			return none, err
		}
	}
	src, _, ok := h.TCPAddrs()
	if !ok {
		return none, nil
	}
	from := src.AddrPort()
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
}

// addressBytes is how long the addresses of a header of version 2 are.
var addressBytes = map[proxyproto.AddressFamilyAndProtocol]int{
	proxyproto.TCPv4: 12, proxyproto.UDPv4: 12, proxyproto.TCPv6: 36, proxyproto.UDPv6: 36,
	proxyproto.UnixStream: 216, proxyproto.UnixDatagram: 216,
}

// checkSum checks the checksum of a header of version 2 (CRC-32C over all of it, with itself as zeros; section 2.2.3), where it
// has one. at is where its type-length-value triples begin, which say nothing else that is wanted here.
func checkSum(b []byte, at int) error {
	for at < len(b) {
		if len(b)-at < 3 {
			return proxyproto.ErrTruncatedTLV
		}
		value := at + 3
		end := value + int(binary.BigEndian.Uint16(b[at+1:]))
		if end > len(b) {
			return proxyproto.ErrTruncatedTLV
		}
		if proxyproto.PP2Type(b[at]) == proxyproto.PP2_TYPE_CRC32C {
			if end-value != crc32.Size {
				return errChecksum
			}
			whole := slices.Clone(b)
			clear(whole[value:end])
			if crc32.Checksum(whole, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[value:]) {
				return errChecksum
			}
		}
		at = end
	}
	return nil
}
