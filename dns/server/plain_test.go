package server

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plainHouse has a PoP of so many addresses that answers come near their limits.
func plainHouse(t testing.TB) *Server {
	t.Helper()
	var many strings.Builder
	for i := range 20 {
		fmt.Fprintf(&many, ", 127.53.8.%d", i+1)
		if i < 12 {
			fmt.Fprintf(&many, `, "fd00:8::%x"`, i+1)
		}
	}
	file := testdata(t, "records.yaml")
	full := strings.Replace(file, "addresses: [127.53.1.2]", "addresses: [127.53.1.2"+many.String()+"]", 1)
	full = strings.Replace(full, "answers: 2, ttl: 10s}", "answers: 3, ttl: 10s}\n      - {name: \"*.several\", site: www, answers: 3}", 1)
	if strings.Count(full, "fd00:8::") != 12 || !strings.Contains(full, "several") {
		t.Fatal("the network file of testdata is another")
	}
	return bare(t, strings.Replace(full, `"*.any.hither.test"`, `"*.any.hither.test", "*.several.hither.test"`, 1))
}

// holdPlain holds what is sent over UDP to what pack makes of the records, and reports whether it was written as a plain reply.
func holdPlain(t *testing.T, s *Server, msg []byte, from netip.Addr) (written bool) {
	t.Helper()
	q, wrong := parse(msg)
	if wrong != faultNone {
		return false
	}
	w := s.world.Load()
	short := &reply{q: &q, from: from, msg: msg}
	s.look(short, w)
	got := short.packPlain(make([]byte, 0, maxUDP))
	if written = got != nil; !written {
		got = short.pack(overUDP, nil)
	}
	records := &reply{q: &q, from: from}
	s.look(records, w)
	if want := records.pack(overUDP, nil); !bytes.Equal(got, want) {
		t.Fatalf("%x from %s (plain: %v):\n%x, and of its records\n%x", msg, from, written, got, want)
	}
	if sent := s.answer(msg, from, overUDP, make([]byte, 0, maxUDP)); !bytes.Equal(sent, got) {
		t.Fatalf("%x from %s:\n%x was sent instead of\n%x", msg, from, sent, got)
	}
	return written
}

// Which replies are written without records, and which are not.
func TestPlain(t *testing.T) {
	s := plainHouse(t)
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3)
	for ask, plain := range map[string]bool{
		"ask www.hither.test A":                                    true,
		"ask www.hither.test A rd cd id=65535":                     true,
		"ask wWw.HITHER.test A edns=1232 do":                       true,
		"ask www.hither.test A client=198.51.8.0/24":               true,
		"ask www.hither.test A client=198.51.8.1/32 do rd":         true,
		"ask www.hither.test A client=0.0.0.0/0":                   true,
		"ask www.hither.test A client=2001:db8:1::/48":             true,
		"ask www.hither.test A client=203.0.113.0/25 option=10:00": true,
		"ask www.hither.test AAAA client=203.0.113.0/25":           true,
		"ask hither.test A":                                        true,
		"ask x.any.hither.test A":                                  true,
		"ask x\\046\\000y.any.hither.test A":                       true,
		"ask both.hither.test A client=203.0.113.0/25 edns=1232":   true,
		"ask both.hither.test AAAA edns=4096":                      true,
		"ask both.hither.test A":                                   false, // near the limit
		"ask " + long + "several.hither.test A edns=1232":          false,
		"ask " + long + "several.hither.test AAAA edns=512":        false,
		"ask www.hither.test HTTPS":                                false,
		"ask www.hither.test A class=CH":                           false,
		"ask www.hither.test TXT":                                  false,
		"ask cname.hither.test A":                                  false,
		"ask alias.hither.test A":                                  false,
		"ask ns1.hither.test A":                                    false,
		"ask none.hither.test A":                                   false,
		"ask x.sub.hither.test A":                                  false,
		"ask example.org A":                                        false,
	} {
		msg, _, err := message(scriptWords(ask))
		if err != nil {
			t.Fatal(ask, err)
		}
		if got := holdPlain(t, s, msg, addr("127.0.0.1")); got != plain {
			t.Errorf("%s: plain: %v", ask, got)
		}
	}
	// Where each has another length, up to what is too long, and over it.
	count := make(map[bool]int)
	for label := range 63 {
		for _, size := range []string{"", " edns=512", " edns=600", " client=198.51.8.0/24", " client=2001:db8:1::/48 do"} {
			for _, qtype := range []string{"A", "AAAA"} {
				for _, more := range []string{"", strings.Repeat("b", 63) + "."} {
					msg, _, err := message(scriptWords("ask " + strings.Repeat("a", label+1) + "." + more + "several.hither.test " + qtype + size))
					if err != nil {
						t.Fatal(err)
					}
					count[holdPlain(t, s, msg, addr("203.0.113.9"))]++
				}
			}
		}
	}
	if count[true] < 50 || count[false] < 100 {
		t.Error(count)
	}
}

// FuzzPlain holds replies that are written byte by byte to those that the library writes.
func FuzzPlain(f *testing.F) {
	for _, name := range []string{"case.txt", "edns.txt", "family.txt", "steered.txt", "truncation.txt", "alias.txt", "bad/wire.txt", "bad/client-subnet.txt"} {
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
					f.Add(msg, []byte{198, 51, 0, 1})
				}
			}
		}
	}
	for _, ask := range []string{"ask both.hither.test A client=203.0.113.0/25 edns=1232", "ask x.several.hither.test AAAA do", "ask a.b.several.hither.test A edns=700 client=192.0.2.0/24"} {
		msg, _, err := message(scriptWords(ask))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg, []byte{203, 0, 113, 9})
	}
	s := plainHouse(f)
	f.Fuzz(func(t *testing.T, msg, from []byte) {
		if a, ok := netip.AddrFromSlice(from); ok {
			holdPlain(t, s, msg, a.Unmap())
		}
	})
}
