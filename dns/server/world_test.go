package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/deploy/fleet"
)

// A house is a network's folder and its one DNS server, running.
type house struct {
	dir     string
	server  *Server
	addr    string
	ended   chan error
	cancel  context.CancelFunc
	network *deploy.Network
}

// testNet is the /16 of this package's tests.
const testNet = "127.53"

// localFile is the network file of `hither up`, with a network on each of three continents.
func localFile(t testing.TB) string {
	t.Helper()
	file, err := deploy.Local(deploy.LocalOptions{Net: testNet})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(file), "interval: 2s, timeout: 1s", "interval: 1h, timeout: 1h", 1)
	return strings.Replace(text, "{127.0.0.0/8: fra}", `{127.0.0.0/8: fra, 192.0.0.0/16: iad, 192.0.2.0/24: {lat: 51.5, lon: -0.1},
    198.51.0.0/20: {lat: 40.7, lon: -74}, 203.0.113.0/25: {lat: 1.3, lon: 103.8}, "2001:db8:1::/48": {lat: 51.5, lon: -0.1}}`, 1)
}

// newHouse runs the server of a network file until the test ends. The file's port is that of a free one.
func newHouse(t *testing.T, file string, set ...func(*Options)) *house {
	t.Helper()
	h := &house{dir: t.TempDir()}
	n := parsed(t, file)
	h.home(t, n)
	silent(t, n)
	h.run(t, n, file, set...)
	return h
}

// home gives the server of a network a port that is free.
func (h *house) home(t *testing.T, n *deploy.Network) {
	t.Helper()
	conf := &n.DNS.Servers[0]
	bound := conf.Addresses[0]
	if len(conf.Bind) > 0 {
		bound = conf.Bind[0]
	}
	conf.Port, conf.Metrics = freePort(t, bound), 0
	h.addr = net.JoinHostPort(conf.Addresses[0].String(), strconv.Itoa(conf.Port))
}

func parsed(t testing.TB, file string) *deploy.Network {
	t.Helper()
	n, err := deploy.Parse("network.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// silent listens where probes go and never answers, so that what they find is the test's to say.
func silent(t *testing.T, n *deploy.Network) {
	t.Helper()
	for i := range n.PoPs {
		for _, target := range targetsOf(n, &n.PoPs[i]) {
			if !target.at.Addr().Is4() {
				continue // of no machine: unreachable, which is one probe that fails
			}
			l, err := net.Listen("tcp", target.at.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}
	}
}

func (h *house) run(t *testing.T, n *deploy.Network, file string, set ...func(*Options)) {
	t.Helper()
	alone := *n // a bundle for this node is enough, and each takes a key
	alone.PoPs, alone.Origins = nil, nil
	if _, err := fleet.Init(&alone, []byte(file), h.dir); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(h.dir, "nodes", "dns-"+n.DNS.Servers[0].Name)
	id, err := fleet.LoadIdentity(filepath.Join(state, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	o := Options{
		Name: n.DNS.Servers[0].Name, State: state, Network: n, Identity: id, Version: "test", Log: slog.New(slog.DiscardHandler),
		Ready: func() { close(ready) }, Resolvers: []string{},
		Now: func() time.Time { return time.Unix(1_700_000_000, 0) }, limits: limits{last: time.Millisecond},
	}
	for _, f := range set {
		f(&o)
	}
	h.server, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.network = n
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.ended = cancel, make(chan error, 1)
	go func() { h.ended <- h.server.Run(ctx) }()
	t.Cleanup(func() { h.stop(t) })
	<-ready
}

// stop ends the server, once.
func (h *house) stop(t *testing.T) {
	t.Helper()
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.cancel = nil
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
}

func (h *house) reload(t *testing.T, file string) error {
	t.Helper()
	n, err := deploy.Parse("network.yaml", []byte(file), Check)
	if err != nil {
		return err
	}
	n.DNS.Servers[0].Port, n.DNS.Servers[0].Metrics = h.network.DNS.Servers[0].Port, 0
	return h.server.Reload(n)
}

// freePort finds a port that is free over UDP and TCP.
func freePort(t *testing.T, a netip.Addr) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", netip.AddrPortFrom(a, uint16(port)).String())
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// exchange sends a message and returns the answer. Where silence is wanted that is nil: over UDP it is seen by a second question, whose
// answer comes instead; over TCP the server ends the connection.
func (h *house) exchange(t *testing.T, over string, msg []byte, silence bool) []byte {
	t.Helper()
	conn, err := net.DialTimeout(over, h.addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if over == "tcp" {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
			t.Fatal(err)
		}
		return readTCP(t, conn)
	}
	if _, err := conn.Write(msg); err != nil {
		t.Fatal(err)
	}
	const markerID = 0xfffe
	if silence {
		marker := new(dns.Msg)
		marker.SetQuestion("marker.invalid.", dns.TypeA)
		marker.Id = markerID
		packed, err := marker.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(packed); err != nil {
			t.Fatal(err)
		}
	}
	for marked := false; ; marked = true {
		b := make([]byte, 65536)
		if marked { // one worker answers in the order of arrival; with several, the marker may come first
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
		n, err := conn.Read(b)
		if marked && errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if !silence || n <= 2 || binary.BigEndian.Uint16(b) != markerID {
			return b[:n]
		}
	}
}

func readTCP(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset") {
			return nil
		}
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// page is the metrics page.
func page(s *Server) string {
	w := httptest.NewRecorder()
	s.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// metric reads one value off the metrics page.
func (h *house) metric(t *testing.T, name string) float64 {
	t.Helper()
	for line := range strings.Lines(page(h.server)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			v, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// message builds what `ask` or `send` of a script says.
func message(words []string) (msg []byte, over string, err error) {
	if words[0] == "send" {
		msg, err = hex.DecodeString(strings.Join(words[1:], ""))
		return msg, "", err
	}
	m := new(dns.Msg)
	qtype, ok := dns.StringToType[words[2]]
	if !ok {
		n, err := strconv.Atoi(strings.TrimPrefix(words[2], "TYPE"))
		if err != nil {
			return nil, "", fmt.Errorf("no type %q", words[2])
		}
		qtype = uint16(n)
	}
	m.SetQuestion(dns.Fqdn(words[1]), qtype)
	m.RecursionDesired = false
	opt := func() *dns.OPT {
		if m.IsEdns0() == nil {
			m.SetEdns0(4096, false)
		}
		return m.IsEdns0()
	}
	for _, w := range words[3:] {
		key, value, _ := strings.Cut(w, "=")
		number, numberErr := strconv.Atoi(value)
		switch key {
		case "client":
			p, err := netip.ParsePrefix(value)
			if err != nil {
				return nil, "", err
			}
			e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
			if p.Addr().Is6() {
				e.Family = 2
			}
			opt().Option = append(opt().Option, e)
		case "edns":
			opt()
			if value != "" {
				opt().SetUDPSize(uint16(number))
			}
		case "version":
			opt().SetVersion(uint8(number))
		case "option":
			code, data, _ := strings.Cut(value, ":")
			c, _ := strconv.Atoi(code)
			raw, err := hex.DecodeString(data)
			if err != nil {
				return nil, "", err
			}
			opt().Option = append(opt().Option, &dns.EDNS0_LOCAL{Code: uint16(c), Data: raw})
		case "do":
			opt().SetDo()
		case "rd":
			m.RecursionDesired = true
		case "cd":
			m.CheckingDisabled = true
		case "class":
			m.Question[0].Qclass = dns.StringToClass[value]
		case "opcode":
			m.Opcode = number
		case "id":
			m.Id = uint16(number)
		case "over":
			over = value
		default:
			return nil, "", fmt.Errorf("no option %q", w)
		}
		if numberErr != nil && (key == "version" || key == "opcode" || key == "id") {
			return nil, "", numberErr
		}
	}
	msg, err = m.Pack()
	return msg, over, err
}
