package fleet

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/deploy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is when the tests' clocks begin.
var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a clock that stands still.
func at(t time.Time) func() time.Time { return func() time.Time { return t } }

const day = 24 * time.Hour

// authority makes one in a folder of its own.
func authority(t *testing.T, network string, now time.Time) *Authority {
	t.Helper()
	a, err := openAuthority(filepath.Join(t.TempDir(), "authority"), network, at(now))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// identity issues an identity at one time and loads it with a clock of another.
func identity(t *testing.T, a *Authority, role, name string, issued, now time.Time) *Identity {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "identity")
	a.now = at(issued)
	if _, err := a.Issue(dir, role, name, nil); err != nil {
		t.Fatal(err)
	}
	id, err := loadIdentity(dir, at(now))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// shake connects two over a real socket and returns what each side says of it. The
// client waits for a byte, for in TLS 1.3 it has finished before the server has seen
// its certificate (RFC 8446 section 2).
func shake(t *testing.T, server, client *tls.Config) (serverState, clientState tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer conn.Close()
		c := tls.Server(conn, server)
		if serverErr = c.Handshake(); serverErr == nil {
			serverState = c.ConnectionState()
			_, serverErr = c.Write([]byte{1})
		}
		if serverErr == nil {
			c.Read(make([]byte, 1)) // until the client has read, and closes
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1))
		clientState = c.ConnectionState()
	}
	conn.Close()
	<-done
	if (serverErr == nil) != (clientErr == nil) {
		t.Logf("server: %v, client: %v", serverErr, clientErr)
	}
	return serverState, clientState, serverErr, clientErr
}

// exampleNetwork is the network of `hither up`, and its file.
func exampleNetwork(t *testing.T) (*deploy.Network, []byte) {
	t.Helper()
	n, err := deploy.Parse("network.yaml", deploy.Example())
	if err != nil {
		t.Fatal(err)
	}
	return n, deploy.Example()
}

func mustWrite(t *testing.T, path, data string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(data), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parseURI(s string) ([]*url.URL, error) {
	u, err := url.Parse(s)
	return []*url.URL{u}, err
}

// renameIn moves a file within a folder.
func renameIn(dir, from, to string) error {
	return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to))
}
