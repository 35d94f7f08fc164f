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
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pires/go-proxyproto"
)

// second makes a header of version 2. triples are type-length-value triples; sum puts a checksum behind them.
func second(command, family byte, addresses, triples []byte, sum bool) []byte {
	rest := slices.Concat(addresses, triples)
	if sum {
		rest = append(rest, byte(proxyproto.PP2_TYPE_CRC32C), 0, 4, 0, 0, 0, 0)
	}
	b := append(slices.Clone(proxyproto.SIGV2), command, family)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(rest))), rest...)
	if sum {
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

var (
	four = []byte{192, 0, 2, 7, 192, 0, 2, 1, 0x9c, 0x40, 1, 0xbb}
	six  = slices.Concat(net.ParseIP("2001:db8::7"), net.ParseIP("2001:db8::1"), four[8:])
	// triples are a name, padding, and something of a maker's own.
	triples = []byte("\x02\x00\x03www\x04\x00\x02\x00\x00\xea\x00\x01x")
)

// introductions are whole headers and what is made of them: the client, "" for nobody, or what the error says.
var introductions = []struct {
	name, client, err string
	header            []byte
}{
	{"v1", "192.0.2.7:40000", "", []byte("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n")},
	{"v1 ipv6", "[2001:db8::7]:40000", "", []byte("PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n")},
	{"v1 mapped", "192.0.2.7:40000", "", []byte("PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 40000 443\r\n")},
	{"v1 longest", "", "", []byte("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n")},
	{"v1 unknown", "", "", []byte("PROXY UNKNOWN\r\n")},
	{"v1 too long", "", "too long", []byte("PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n")},
	{"v1 no end", "", "too long", []byte("PROXY TCP4 " + strings.Repeat("1", 200))},
	{"v1 lf alone", "", "end with", []byte("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\n")},
	{"v1 words", "", "address family", []byte("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443 1\r\n")},
	{"v1 family", "", "invalid address", []byte("PROXY TCP4 2001:db8::7 2001:db8::1 40000 443\r\n")},
	{"v1 port", "", "port", []byte("PROXY TCP4 192.0.2.7 192.0.2.1 65536 443\r\n")},
	{"v1 zone", "", "invalid address", []byte("PROXY TCP6 fe80::1%eth0 2001:db8::1 1 443\r\n")},
	{"v1 glued", "", "version 1", []byte("PROXYTCP4 192.0.2.7 192.0.2.1 40000 443\r\n")},
	{"v2", "192.0.2.7:40000", "", second(0x21, 0x11, four, nil, false)},
	{"v2 ipv6", "[2001:db8::7]:40000", "", second(0x21, 0x21, six, nil, false)},
	{"v2 triples", "192.0.2.7:40000", "", second(0x21, 0x11, four, triples, false)},
	{"v2 checksum", "192.0.2.7:40000", "", second(0x21, 0x11, four, triples, true)},
	{"v2 large", "192.0.2.7:40000", "", second(0x21, 0x11, four, append([]byte{0xea, 0x0f, 0xf1 - 4}, make([]byte, 0x0fed)...), false)},
	{"v2 local", "", "", second(0x20, 0, nil, nil, false)},
	{"v2 local with addresses", "", "", second(0x20, 0x11, four, triples, false)},
	{"v2 nobody", "", "", second(0x21, 0, nil, triples, true)},
	{"v2 unix", "", "", second(0x21, 0x31, make([]byte, 216), nil, false)},
	{"v2 datagrams", "", "", second(0x21, 0x12, four, nil, false)},
	{"v2 too large", "", "too long", second(0x21, 0x11, four, append([]byte{0xea, 0x10, 0}, make([]byte, 0x1000)...), false)},
	{"v2 too short", "", "length", second(0x21, 0x11, four[:11], nil, false)},
	{"v2 version", "", "version and command", second(0x31, 0x11, four, nil, false)},
	{"v2 command", "", "version and command", second(0x22, 0x11, four, nil, false)},
	{"v2 family", "", "address family", second(0x21, 0x13, four, nil, false)},
	{"v2 wrong checksum", "", "wrong checksum", flip(second(0x21, 0x11, four, triples, true), 17)},
	{"v2 nobody, wrong checksum", "", "wrong checksum", flip(second(0x21, 0, nil, triples, true), 20)},
	{"v2 checksum of three bytes", "", "wrong checksum", second(0x21, 0x11, four, []byte("\x03\x00\x03abc"), false)},
	{"v2 triple cut", "", "truncated", second(0x21, 0x11, four, []byte("\x02\x00\x09www"), false)},
	{"v2 triple of two bytes", "", "truncated", second(0x21, 0x11, four, []byte("\x02\x00"), false)},
	{"nothing", "", "EOF", nil},
	{"http", "", "no PROXY header", []byte("GET / HTTP/1.1\r\n\r\n")},
	{"hello", "", "no PROXY header", []byte("\x16\x03\x01")},
	{"almost", "", "no PROXY header", []byte("PROXIES")},
	{"other case", "", "no PROXY header", []byte("proxy TCP4 192.0.2.7 192.0.2.1 40000 443\r\n")},
	{"half", "", "EOF", []byte("PROXY TCP4 192.0.2.7")},
}

func flip(b []byte, i int) []byte {
	b[i] ^= 1
	return b
}

// TestIntroductions reads each header in one piece and byte by byte, with a request behind it.
func TestIntroductions(t *testing.T) {
	const behind = "GET / HTTP/1.1\r\n\r\n"
	for _, c := range introductions {
		for how, cut := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
		} {
			in := c.header
			if c.err == "" {
				in = append(slices.Clone(in), behind...)
			}
			r := cut(bytes.NewReader(in))
			from, early, err := readIntroduction(r)
			got := ""
			if from.IsValid() {
				got = from.String()
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s, %s: error %v, want one with %q", c.name, how, err, c.err)
				}
				continue
			}
			if err != nil || got != c.client {
				t.Errorf("%s, %s: client %q, error %v; want %q", c.name, how, got, err, c.client)
				continue
			}
			rest, _ := io.ReadAll(r)
			if all := string(early) + string(rest); all != behind {
				t.Errorf("%s, %s: what follows is %q", c.name, how, all)
			}
		}
	}
}

// TestIntroductionWaits holds the reader to saying no as soon as it can be known, without waiting for more.
func TestIntroductionWaits(t *testing.T) {
	waiting := errors.New("it waits")
	for in, want := range map[string]error{
		"\x16":      errNoIntroduction,
		"PROXX":     errNoIntroduction,
		"\r\n\r\nG": errNoIntroduction,
		"PROX":      waiting,
		string(second(0x21, 0x11, four, nil, false)[:15]):                     waiting,
		string(proxyproto.SIGV2) + "\x21\x11\xff\xff":                         errLongHeader,
		"PROXY TCP4 192.0.2.7 192.0.2.1 " + strings.Repeat("0", lineBytes-31): errLongHeader,
	} {
		if _, _, err := readIntroduction(io.MultiReader(strings.NewReader(in), iotest.ErrReader(waiting))); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}

// FuzzIntroduction compares with the library reading by itself: what we take, it takes as the same, and what is behind the
// header is neither lost nor read twice.
func FuzzIntroduction(f *testing.F) {
	for _, c := range introductions {
		f.Add(c.header, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		r := &pieces{in, int(piece) + 1}
		from, early, err := readIntroduction(r)
		if err != nil {
			return
		}
		rest := append(early, r.left...)
		if !bytes.HasSuffix(in, rest) || len(rest) == len(in) {
			t.Fatalf("behind the header is %q, of %q", rest, in)
		}
		head := in[:len(in)-len(rest)]
		if len(head) > fixedBytes+variableBytes {
			t.Fatalf("a header of %d bytes", len(head))
		}
		theirs := bufio.NewReaderSize(bytes.NewReader(in), len(in)+16)
		h, err := proxyproto.Read(theirs)
		if err != nil {
			if head[0] == '\r' && head[12] == 0x21 && head[13] == 0 && from == (netip.AddrPort{}) {
				return // nobody's: the library refuses it
			}
			t.Fatalf("the library refuses %q: %v", head, err)
		}
		if left, _ := io.ReadAll(theirs); !bytes.Equal(left, rest) {
			t.Fatalf("the library leaves %q, we %q", left, rest)
		}
		want := netip.AddrPort{}
		if src, _, ok := h.TCPAddrs(); ok && !h.Command.IsLocal() {
			want = netip.AddrPortFrom(src.AddrPort().Addr().Unmap(), src.AddrPort().Port())
		}
		if from != want {
			t.Fatalf("%v, the library says %v", from, want)
		}
	})
}

// pieces gives a few bytes at a time.
type pieces struct {
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.size, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}
