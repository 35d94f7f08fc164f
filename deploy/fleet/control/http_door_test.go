package control

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
)

// door starts a control that listens for programs at a port of loopback, and returns where.
func (w *world) door(api deploy.HubAPI, change ...func(*Control)) (at string) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	at = l.Addr().String()
	api.Address = netip.MustParseAddrPort(at)
	network := *w.network
	network.Hub.API = api
	w.network = &network
	l.Close()
	w.control(change...)
	w.until("it listens", func() bool { return dials(at) })
	return at
}

func dials(at string) bool {
	conn, err := net.Dial("tcp", at)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// TestRenewed has the certificate of the listener renewed under it, as ACME clients do: the next handshake has the new one. While the files do
// not belong together, or are none, the one that was good is kept.
func TestRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const host = "purge.hither.test"
	issue := func() (folder string, der []byte) {
		folder = t.TempDir()
		if _, err := w.authority.IssueSite(folder, []string{host}); err != nil {
			t.Fatal(err)
		}
		folder = filepath.Join(folder, host)
		pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return folder, pair.Certificate[0]
	}
	used, first := issue()
	renewed, second := issue()
	var log record
	at := w.door(deploy.HubAPI{Cert: filepath.Join(used, "cert.pem"), Key: filepath.Join(used, "key.pem")}, log.in)
	shows := func() []byte {
		conn, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true, ServerName: host})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Raw
	}
	is := func(der []byte) func() bool { return func() bool { return string(shows()) == string(der) } }
	if !is(first)() {
		t.Error("it does not show its certificate")
	}
	put := func(name string) {
		if err := os.Rename(filepath.Join(renewed, name), filepath.Join(used, name)); err != nil {
			t.Fatal(err)
		}
	}
	put("cert.pem")
	for range 3 {
		if !is(first)() {
			t.Error("half of what is new is shown")
		}
	}
	if n := log.count("is not taken"); n != 1 {
		t.Errorf("%d lines say that it does not belong to its key", n)
	}
	put("key.pem")
	w.until("it shows the new one", is(second))
	if cert, err := x509.ParseCertificate(shows()); err != nil || cert.VerifyHostname(host) != nil {
		t.Errorf("%v, %v", cert, err)
	}
	if err := os.WriteFile(filepath.Join(used, "cert.pem"), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !is(second)() {
		t.Error("a file that is none took the place of one that was good")
	}
}

// TestListensAgain takes the listener's socket from it: it is opened anew.
func TestListensAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.door(deploy.HubAPI{})
	if err := deafen(at); err != nil {
		t.Fatal(err)
	}
	w.until("it listens again", func() bool { return dials(at) })
}

// deafen has this process's socket that listens there do so no more.
func deafen(at string) error {
	want := netip.MustParseAddrPort(at)
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range all {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err != nil || listens == 0 {
			continue
		}
		name, err := syscall.Getsockname(fd)
		if a, ok := name.(*syscall.SockaddrInet4); err == nil && ok && a.Port == int(want.Port()) && netip.AddrFrom4(a.Addr) == want.Addr() {
			return syscall.Shutdown(fd, syscall.SHUT_RDWR)
		}
	}
	return errors.New("nobody listens at " + at)
}

// a caller has one connection of its own, from an address.
type caller struct {
	net.Conn
	lines *bufio.Reader
}

func (w *world) caller(from, at string) *caller {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(w.ctx(), "tcp", at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &caller{conn, bufio.NewReader(conn)}
}

// asks asks for a purge that there is not. An error is that the connection ended before an answer.
func (c *caller) asks(token string) (status int, err error) {
	fmt.Fprintf(c, "GET /purge/999 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
	r, err := http.ReadResponse(c.lines, nil)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, err
}

// TestOneAddress has one address take as many connections as it gets, with and without a token: it keeps none without, and others have room beside
// those that it keeps.
func TestOneAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.door(deploy.HubAPI{})
	good := w.token(w.dial(fleet.RoleOperator, "main"), TokenCall{Name: "cms"})
	for i := range 2 * mostGuesses {
		c := w.caller("127.0.0.2", at)
		status, err := c.asks("x")
		if want := map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests}[i < mostGuesses]; status != want || err != nil {
			t.Fatalf("%d, %v; wanted %d", status, err, want)
		}
		if _, err := c.lines.ReadByte(); !errors.Is(err, io.EOF) {
			t.Fatalf("who has no token keeps a connection: %v after %d", err, status)
		}
	}
	var all []*caller
	for range mostFrom {
		c := w.caller("127.0.0.3", at)
		if status, err := c.asks(good); status != http.StatusNotFound || err != nil {
			t.Fatalf("connection %d: %d, %v", len(all), status, err)
		}
		all = append(all, c)
	}
	if status, err := w.caller("127.0.0.3", at).asks(good); err == nil {
		t.Errorf("one more from the same address: %d", status)
	}
	if status, err := w.caller("127.0.0.4", at).asks(good); status != http.StatusNotFound || err != nil {
		t.Errorf("from another: %d, %v", status, err)
	}
	for _, c := range all {
		if status, err := c.asks(good); status != http.StatusNotFound || err != nil {
			t.Fatalf("one that was there: %d, %v", status, err)
		}
		c.Close()
	}
	w.until("there is room again", func() bool {
		_, err := w.caller("127.0.0.3", at).asks(good)
		return err == nil
	})
}
