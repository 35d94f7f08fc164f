package hub_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// raw connects as a node by the library alone, as somebody may who has stolen the node's identity. It does not come back.
func (w *world) raw(role, name string, more ...nats.Option) (*nats.Conn, error) {
	id := w.identity(role, name)
	options := append([]nats.Option{
		nats.Secure(id.HubTLS(w.embedded())), nats.NoReconnect(), nats.CustomInboxPrefix(bus.Inbox(id.Peer)), nats.Timeout(10 * time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, more...)
	if w.hub != nil {
		options = append(options, nats.TLSHandshakeFirst())
	}
	return nats.Connect(w.where()[0], options...)
}

// forged certifies whatever it is told to with the fleet's own key.
func (w *world) forged(uri, dns string, until time.Time) tls.Certificate {
	w.t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(w.folder, "authority", name))
		if err != nil {
			w.t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		return block.Bytes
	}
	ca, err := x509.ParseCertificate(read("fleet-ca.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	caKey, err := x509.ParsePKCS8PrivateKey(read("fleet-ca.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		w.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.AddDate(0, -3, 0), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{u}, DNSNames: []string{dns},
	}, ca, &key.PublicKey, caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRefused has everybody at the door who has no business there, each three times.
func TestRefused(t *testing.T) {
	log := newRecord()
	w := newWorld(t, hub.Options{Log: log.logger()})
	other := newWorld(t)
	limits := hub.Limits{Handshake: 300 * time.Millisecond, Stalled: 300 * time.Millisecond}
	short := newWorld(t, hub.Options{Log: log.logger(), Limits: limits}) // for who says nothing
	edge := w.dial(fleet.RoleEdge, "fra")                                // who is inside, and stays so
	showing := func(certs ...tls.Certificate) func() bool {
		return func() bool {
			nc, err := nats.Connect(w.hub.URL(), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(10*time.Second),
				nats.Secure(&tls.Config{InsecureSkipVerify: true, Certificates: certs}))
			if err == nil {
				nc.Close()
			}
			return err == nil
		}
	}
	saying := func(text string) func() bool {
		return func() bool {
			c, err := net.Dial("tcp", short.hub.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Write([]byte(text))
			io.Copy(io.Discard, c) // until the hub ends it
			return false
		}
	}
	const uri, dns = "hither://demo/edge/fra", "fra.edge.demo.hither.internal"
	now := time.Now()
	stranger := other.forged(uri, dns, now.AddDate(0, 1, 0)) // the same names, of another authority
	for _, c := range []struct {
		what  string
		try   func() bool
		taken bool
		count string
	}{
		{"of this fleet", showing(w.forged(uri, dns, now.AddDate(0, 1, 0))), true, ""},
		{"ended 31 days ago", showing(w.forged(uri, dns, now.AddDate(0, 0, -31))), false, hub.RejectedCertificate},
		{"of another authority", showing(stranger), false, hub.RejectedCertificate},
		{"of a role that has nothing to say", showing(w.forged("hither://demo/hub/a", "a.hub.demo.hither.internal", now.AddDate(0, 1, 0))), false, hub.RejectedCertificate},
		{"of an unknown role", showing(w.forged("hither://demo/king/a", dns, now.AddDate(0, 1, 0))), false, hub.RejectedCertificate},
		{"with names that do not agree", showing(w.forged("hither://demo/edge/iad", dns, now.AddDate(0, 1, 0))), false, hub.RejectedCertificate},
		{"without a certificate", showing(), false, hub.RejectedNone},
		{"NATS without TLS", saying("CONNECT {\"verbose\":false,\"auth_token\":\"x\"}\r\nPING\r\n"), false, hub.RejectedHandshake},
		{"garbage", saying("\x16\x03\x01\xff\xff\x00\x00garbage\r\n\x00\x00\x00\x00\x00\x00"), false, hub.RejectedHandshake},
		{"a handshake that stops", saying("\x16\x03\x01\x01\x00"), false, hub.RejectedHandshake},
		{"silence", saying(""), false, hub.RejectedHandshake},
	} {
		before := short.hub.Rejected()
		for why, n := range w.hub.Rejected() {
			before[why] += n
		}
		times := int64(3)
		if c.taken { // by the name of the one that is inside, of which there may be two
			times = 1
		}
		for range times {
			if got := c.try(); got != c.taken {
				t.Errorf("%s: let in: %v", c.what, got)
			}
		}
		if c.count != "" {
			until(t, c.what+" is counted as "+c.count, func() bool {
				return w.hub.Rejected()[c.count]+short.hub.Rejected()[c.count] == before[c.count]+times
			})
		}
	}
	if by := log.refusals(t); by[hub.RejectedCertificate] == 0 || by[hub.RejectedNone] == 0 || by[hub.RejectedHandshake] == 0 {
		t.Errorf("logged: %v", by)
	}
	if err := edge.Flush(w.ctx()); err != nil {
		t.Errorf("who was inside: %v", err)
	}
	if _, err := nats.Connect("", nats.InProcessServer(w.hub.Control().InProcess), nats.Token("guessed")); err == nil || w.hub.Rejected()[hub.RejectedToken] != 1 {
		t.Errorf("within the process with a token that was guessed: %v, %v", err, w.hub.Rejected())
	}
}

// TestRevoked ends the connection of a node that is revoked, and lets it in no more until it has another identity.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	stop := w.gateway.OnRevoked(w.hub.Kick)
	defer stop()
	fra, iad := w.dial(fleet.RoleEdge, "fra"), w.dial(fleet.RoleEdge, "iad")
	revoked, err := w.authority.Revoke("edge-fra", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.gateway.SetRevoked(map[string]time.Time{"edge-fra": revoked}); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection ends, and another is refused", func() bool {
		by := w.hub.Rejected()
		return !fra.Connected() && by[hub.RejectedKicked] == 1 && by[hub.RejectedRevoked] > 0
	})
	if err := iad.Flush(w.ctx()); err != nil {
		t.Errorf("one that is not revoked: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "again")
	if _, err := w.authority.Add(dir, fleet.RoleEdge, "fra", nil, nil); err != nil {
		t.Fatal(err)
	}
	added, err := fleet.LoadIdentity(filepath.Join(dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := bus.Dial(bus.Options{URLs: w.where(), Identity: added, Embedded: w.embedded(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Wait(w.ctx()); err != nil {
		t.Errorf("with another identity: %v", err)
	}
}

// TestRevokedAtTheDoor has a stolen identity keep a connection that has shown its certificate and said no word yet, as it may for
// some seconds, while it is revoked: it is not inside, so nobody ends it, and it may not come in either.
func TestRevokedAtTheDoor(t *testing.T) {
	log := newRecord()
	w := newWorld(t, hub.Options{Log: log.logger()})
	stop := w.gateway.OnRevoked(w.hub.Kick)
	defer stop()
	conn, err := tls.Dial("tcp", w.hub.Addr(), w.identity(fleet.RoleEdge, "fra").HubTLS("us"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "INFO ") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := w.gateway.SetRevoked(map[string]time.Time{"edge-fra": time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false,\"tls_required\":true,\"protocol\":1}\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		var line string
		if line, err = lines.ReadString('\n'); strings.HasPrefix(line, "PONG") {
			t.Fatal("it was let in")
		}
	}
	if got := w.hub.Rejected()[hub.RejectedRevoked]; got != 1 || len(w.hub.Connected()) != 0 {
		t.Errorf("%d counted, connected: %v", got, w.hub.Connected())
	}
	const times = 5
	for range times { // and when it begins anew
		if nc, err := w.raw(fleet.RoleEdge, "fra"); err == nil {
			nc.Close()
			t.Fatal("it was let in")
		}
	}
	until(t, "each is counted", func() bool { return w.hub.Rejected()[hub.RejectedRevoked] == 1+times })
	if by := log.refusals(t); by[hub.RejectedRevoked] != 2 || by[hub.RejectedCertificate] != 0 { // inside, where its name is known, and before that
		t.Errorf("logged: %v", by)
	}
}

// TestKickAndTwice ends connections that may come again, and has a name in use by more than may be, and at two addresses.
func TestKickAndTwice(t *testing.T) {
	log := newRecord()
	w := newWorld(t, hub.Options{Log: log.logger()})
	first, err := w.raw(fleet.RoleEdge, "fra")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	peer := fleet.Peer{Role: fleet.RoleEdge, Name: "fra", Network: "demo"}
	for range 2 { // a second may be there, a third may not
		nc, err := w.raw(fleet.RoleEdge, "fra", nats.Dialer(&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	until(t, "the oldest of three is ended", func() bool { return first.IsClosed() && w.hub.Connected()[peer] == 2 })
	if got := w.hub.Rejected()[hub.RejectedReplaced]; got != 1 {
		t.Errorf("%d counted", got)
	}
	if by, twice := log.refusals(t), log.count("in use from two addresses at once"); by[hub.RejectedReplaced] != 1 || twice != 1 {
		t.Errorf("logged %v, and %d times that there are two", by, twice)
	}
	for range 5 { // an operator may have several windows
		nc, err := w.raw(fleet.RoleOperator, "main")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	if got := w.hub.Connected()[fleet.Peer{Role: fleet.RoleOperator, Name: "main", Network: "demo"}]; got != 5 {
		t.Errorf("an operator with %d windows", got)
	}
	w.hub.Kick(peer)
	until(t, "all of a node's connections end", func() bool { return w.hub.Connected()[peer] == 0 })
	w.dial(fleet.RoleEdge, "fra")
}

// patient dials connections whose Close returns when the other side has closed as well, so that it knows.
type patient struct{}

func (patient) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return patientConn{c.(*net.TCPConn)}, nil
}

type patientConn struct{ *net.TCPConn }

func (c patientConn) Close() error {
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	io.Copy(io.Discard, c.TCPConn)
	return c.TCPConn.Close()
}

// TestShortCommands has an operator give many short commands while a long one waits: connections that came and went count no more, so the long
// one is not ended for them.
func TestShortCommands(t *testing.T) {
	w := newWorld(t)
	long, err := w.raw(fleet.RoleOperator, "main")
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	for range 40 {
		short, err := w.raw(fleet.RoleOperator, "main", nats.SetCustomDialer(patient{}))
		if err != nil {
			t.Fatal(err)
		}
		short.Close()
	}
	if long.IsClosed() || w.hub.Rejected()[hub.RejectedReplaced] != 0 {
		t.Errorf("the long one ended: %v; rejected: %v", long.IsClosed(), w.hub.Rejected())
	}
	for range 16 { // while as many that live are too many
		nc, err := w.raw(fleet.RoleOperator, "main")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	until(t, "the oldest of 17 is ended", func() bool { return long.IsClosed() && w.hub.Rejected()[hub.RejectedReplaced] == 1 })
}

// TestDeniedCounted has a stolen edge say and ask for what it may not, and what is no NATS: nobody hears it, all of it is counted, and the
// log has one line of it.
func TestDeniedCounted(t *testing.T) {
	log := newRecord()
	w := newWorld(t, hub.Options{Log: log.logger()})
	heard := make(chan *bus.Message, 1000)
	for _, subject := range []string{"journal", "table.>", "live.>", "control.>", "to.>", "up.edge.iad.>", "_INBOX.edge.iad.>"} {
		if _, err := w.control.Subscribe(subject, func(m *bus.Message) { heard <- m }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.control.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	thief, err := w.raw(fleet.RoleEdge, "fra")
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	tried := int64(0)
	for _, subject := range []string{
		"journal", "table.target.main", "live.journal", "control.main.purge", "to.edge.iad.call", "up.edge.iad.report", "_INBOX.edge.iad.x", "$JS.API.STREAM.PURGE.JOURNAL",
	} {
		for range 20 {
			if err := thief.Publish(subject, []byte(`{"v":1}`)); err != nil {
				t.Fatal(err)
			}
			tried++
		}
	}
	for _, subject := range []string{">", "_INBOX.>", "to.>", "up.edge.iad.report", "journal", "secret.>"} {
		if _, err := thief.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		tried++
	}
	own, err := thief.SubscribeSync("_INBOX.edge.fra.x")
	if err != nil {
		t.Fatal(err)
	}
	for _, read := range [][2]string{
		{bus.StreamSecrets, own.Subject}, {"KV_x", own.Subject}, {bus.StreamTables, bus.LiveJournal}, {bus.StreamJournal, "_INBOX.edge.iad.x"}, {bus.StreamTables, "journal"},
	} {
		if err := thief.PublishRequest(bus.ReadSubject(fleet.RoleEdge, "fra", read[0]), read[1], []byte(`{"seq":1,"batch":10}`)); err != nil {
			t.Fatal(err)
		}
		tried++
	}
	until(t, "all of it is counted", func() bool { return w.hub.Rejected()[hub.RejectedDenied] == tried })
	for range 2 { // the secrets, and what is no stream of ours
		if m, err := own.NextMsg(20 * time.Second); err != nil || len(m.Data) > 0 || m.Header.Get("Status") != "403" {
			t.Errorf("%v, %v", m, err)
		}
	}
	if len(heard) > 0 {
		t.Errorf("heard %+v", <-heard)
	}
	// On a line that is its own, for it ends with that.
	conn, err := tls.Dial("tcp", w.hub.Addr(), w.identity(fleet.RoleEdge, "sin").HubTLS("us"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "CONNECT {\"verbose\":false}\r\nGET / HTTP/1.1\r\n\r\n")
	io.Copy(io.Discard, conn)
	until(t, "what is no NATS is counted", func() bool { return w.hub.Rejected()[hub.RejectedGarbage] == 1 })
	// What it said, and what it wanted to read.
	if by := log.refusals(t); by[hub.RejectedDenied] < 1 || by[hub.RejectedDenied] > 2 || by[hub.RejectedGarbage] != 1 {
		t.Errorf("logged: %v", by)
	}
	if thief.IsClosed() {
		t.Error("its connection was ended, though that was no flood")
	}
}

// TestLogRoom has a stranger come by many names: it cannot keep a line about somebody else out of the log.
func TestLogRoom(t *testing.T) {
	log := newRecord()
	w := newWorld(t, hub.Options{Log: log.logger()})
	other := newWorld(t)
	const names = 200
	for i := range names {
		name := fmt.Sprintf("p%d", i)
		cert := other.forged("hither://demo/edge/"+name, name+".edge.demo.hither.internal", time.Now().AddDate(0, 1, 0))
		shows := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}
		if nc, err := nats.Connect(w.hub.URL(), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Secure(shows)); err == nil {
			nc.Close()
			t.Fatal("a stranger was let in")
		}
	}
	until(t, "all are counted", func() bool { return w.hub.Rejected()[hub.RejectedCertificate] == names })
	thief, err := w.raw(fleet.RoleEdge, "fra")
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if err := thief.Publish("journal", nil); err != nil {
		t.Fatal(err)
	}
	until(t, "a node that does what it may not is counted", func() bool { return w.hub.Rejected()[hub.RejectedDenied] == 1 })
	until(t, "and logged", func() bool { return log.refusals(t)[hub.RejectedDenied] == 1 })
	if n := log.refusals(t)[hub.RejectedCertificate]; n == 0 || n > 2 {
		t.Errorf("%d lines of strangers", n)
	}
}
