package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Names as long as they may be, longer ones, and ones that compression makes longer.
func TestLongNames(t *testing.T) {
	s := bare(t, localFile(t))
	labels := func(n int) []byte { return append(bytes.Repeat([]byte{1, 'a'}, n), 0) }
	below := append(bytes.Repeat([]byte{1, 'a'}, 121), "\x06hither\x04test\x00"...) // 255 bytes
	chain := func(n int) (b []byte) {                                               // of pointers, each to the next
		for i := range n {
			at := headerBytes + 2*(i+1)
			b = append(b, 0xc0|byte(at>>8), byte(at))
		}
		return append(b, 0)
	}
	for _, c := range []struct {
		what  string
		name  []byte
		rcode int
	}{
		{"127 labels", labels(127), dns.RcodeRefused},
		{"128 labels", labels(128), dns.RcodeFormatError},
		{"1000 labels", labels(1000), dns.RcodeFormatError},
		{"255 bytes in the zone", below, dns.RcodeNameError},
		{"256 bytes in the zone", append([]byte{2, 'b', 'b'}, below[2:]...), dns.RcodeFormatError},
		{"a label of 63 bytes", append(append([]byte{63}, make([]byte, 63)...), 0), dns.RcodeRefused},
		{"1000 pointers", chain(1000), dns.RcodeFormatError},
		{"a label and a pointer to it", append([]byte{1, 'a'}, 0xc0, headerBytes), dns.RcodeFormatError},
		{"a pointer beyond the end", []byte{0xff, 0xff}, dns.RcodeFormatError},
		{"no end", bytes.Repeat([]byte{1, 'a'}, 100)[:199], dns.RcodeFormatError},
	} {
		msg := append([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, c.name...)
		if c.what != "no end" {
			msg = append(msg, 0, 1, 0, 1)
		}
		var m dns.Msg
		if err := m.Unpack(s.answer(msg, addr("192.0.2.1"), overTCP, nil)); err != nil || m.Rcode != c.rcode {
			t.Errorf("%s: %s %v", c.what, rcodeWord(m.Rcode), err)
		}
	}
}

// The page that monitoring reads, and what a load balancer asks.
func TestMetricsPage(t *testing.T) {
	var at string
	newHouse(t, localFile(t), func(o *Options) {
		conf := &o.Network.DNS.Servers[0]
		conf.Metrics, conf.MetricsAddress = freePort(t, addr("127.53.0.1")), addr("127.53.0.1")
		at = fmt.Sprintf("http://127.53.0.1:%d/", conf.Metrics)
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{"ready": "", "live": "", "metrics": `hither_pop_up{node="dns-ns1",pop="fra"} 1`} {
		resp, err := client.Get(at + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}
