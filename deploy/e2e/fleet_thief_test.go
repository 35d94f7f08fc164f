//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// A thief has a copy of a node's identity, and speaks with the hub by NATS's library alone.
type thief struct {
	id  *fleet.Identity
	url string
	nc  *nats.Conn
	own chan *nats.Msg // what came to its inbox

	denied atomic.Int64 // errors of permissions that it was told
	heard  atomic.Int64 // messages at subjects that are not its own
	broken atomic.Int64 // other errors
}

// steal copies an identity.
func steal(t *testing.T, folder string) *fleet.Identity {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "stolen")
	if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(copied)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// thief connects with an identity that was copied from a folder.
func (n *network) thief(t *testing.T, folder string) *thief {
	t.Helper()
	x := &thief{id: steal(t, folder), url: "tls://" + n.at("0.1", 4222), own: make(chan *nats.Msg, 100)}
	var err error
	if x.nc, err = x.connect(x.id.HubTLS("us")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.nc.Close)
	if _, err := x.nc.ChanSubscribe(bus.Inbox(x.id.Peer)+".>", x.own); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *thief) connect(config *tls.Config) (*nats.Conn, error) {
	return nats.Connect(x.url, nats.Secure(config), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(endTime),
		nats.CustomInboxPrefix(bus.Inbox(x.id.Peer)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				x.denied.Add(1)
			} else {
				x.broken.Add(1)
			}
		}))
}

// says publishes each of the contents at each of the subjects, and waits until the hub has taken all.
func (x *thief) says(t *testing.T, subjects []string, contents [][]byte) (n int64) {
	t.Helper()
	for _, s := range subjects {
		for _, c := range contents {
			if err := x.nc.Publish(s, c); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			n++
		}
	}
	if err := x.nc.FlushTimeout(endTime); err != nil {
		t.Fatal(err)
	}
	return n
}

// listens subscribes to each of the subjects.
func (x *thief) listens(t *testing.T, subjects []string) (n int64) {
	t.Helper()
	for _, s := range subjects {
		if _, err := x.nc.Subscribe(s, func(*nats.Msg) { x.heard.Add(1) }); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		n++
	}
	if err := x.nc.FlushTimeout(endTime); err != nil {
		t.Fatal(err)
	}
	return n
}

// reads asks for a stream, with the answer to come elsewhere where reply is not "", and returns how many entries came to its own inbox.
func (x *thief) reads(t *testing.T, stream, reply string) (entries int) {
	t.Helper()
	if reply == "" {
		reply = bus.Inbox(x.id.Peer) + ".mine"
	}
	for len(x.own) > 0 {
		<-x.own
	}
	if err := x.nc.PublishRequest(bus.ReadSubject(x.id.Role, x.id.Name, stream), reply, []byte(`{"seq":1,"batch":100}`)); err != nil {
		t.Fatal(err)
	}
	wait := endTime
	if !strings.HasPrefix(reply, bus.Inbox(x.id.Peer)) {
		wait = 200 * time.Millisecond // nothing is to come here
	}
	for {
		select {
		case m := <-x.own:
			if len(m.Data) == 0 {
				return entries // the end, or that there is nothing for it
			}
			entries++
		case <-time.After(wait):
			return entries
		}
	}
}

// floods publishes until the hub ends the connection; false where it does not.
func (x *thief) floods(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		for range 100 {
			if x.nc.Publish(bus.UpSubject(x.id.Role, x.id.Name, bus.UpReport), []byte("{}")) != nil {
				break
			}
		}
		if x.nc.FlushTimeout(5*time.Second) != nil || x.nc.IsClosed() {
			return true
		}
	}
	return false
}

// forbidden are the subjects that are none of an edge's to publish at. Those with %s are of another node.
func forbidden(other string) (all []string) {
	for _, s := range []string{
		bus.SubjectJournal, bus.SubjectJournal + ".x", bus.LiveJournal, bus.LiveHead, bus.LiveTables + "drain.%s", bus.RevisionSubject(2),
		bus.TableSubject(bus.TableTarget, bus.TargetKey),
		bus.TableSubject(bus.TableRevoked, "edge-%s"), bus.TableSubject(bus.TableDrain, "%s"), bus.SubjectSecret + "token.mine",
		"control.main.purge", "control.main.apply", "control.main.token-add", "control.main.revoke", "control.main.drain", "control.main.move-hub",
		"control.fra.purge",
		"to.edge.%s.call", "to.origin.us.call", "up.edge.%s.report", "up.edge.%s.receipt", "up.edge.%s.rtt", "up.origin.us.report",
		"read.edge.%s.TABLES", "_INBOX.edge.%s.x", "_INBOX.dns.ns1.x",
		"$JS.API.INFO", "$JS.API.STREAM.PURGE.JOURNAL", "$JS.API.STREAM.DELETE.JOURNAL", "$JS.API.STREAM.MSG.DELETE.JOURNAL",
		"$JS.API.STREAM.MSG.GET.SECRETS", "$JS.API.DIRECT.GET.SECRETS",
		"$JS.API.DIRECT.GET.TABLES", "$JS.API.CONSUMER.CREATE.SECRETS", "$JS.API.STREAM.CREATE.MINE", "$SYS.REQ.SERVER.PING",
	} {
		all = append(all, strings.ReplaceAll(s, "%s", other))
	}
	return all
}

// deaf are the subjects that are none of an edge's to hear.
func deaf(other string) []string {
	return []string{
		">", "*.>", "_INBOX.>", "_INBOX.operator.>", "_INBOX.origin.us.>", "to.>", "to.edge." + other + ".call", "up.>", "up.edge." + other + ".report",
		"control.>", "read.>", "journal", "table.>", "revision.>", "secret.>", "$JS.>", "$SYS.>",
	}
}

// junk is what nobody can read, or means what its author may not say.
func junk() [][]byte {
	return [][]byte{
		nil, []byte("garbage \xff\x00\x16\x03"), []byte(`{"v":9,"state":"king"}`), []byte(`{"v":1`),
		bus.Encode(bus.Batch{Journal: "mine", First: 1, At: time.Now(), Orders: []bus.Order{{Kind: "all"}}}),
	}
}

// oversized is as much of it as the hub takes.
func oversized() [][]byte {
	return [][]byte{
		bytes.Repeat([]byte("["), 1<<20), []byte(`{"v":1,"status":` + strings.Repeat("[", 1<<19) + strings.Repeat("]", 1<<19) + `}`),
		[]byte(`{"v":1,"prefixes":[` + strings.TrimSuffix(strings.Repeat(`{},`, 300_000), ",") + `]}`),
	}
}

// impossible are reports and receipts of this node that can be read and cannot be.
func (x *thief) impossible() map[string][][]byte {
	return map[string][][]byte{
		bus.UpReport: {
			[]byte(`{"v":1,"state":"ready","requests":-1}`), []byte(`{"v":1,"state":"ready","errors":9007199254740993}`), []byte(`{"v":1,"state":"ready","load":1e300}`),
			[]byte(`{"v":1,"state":"king"}`), []byte(`{"v":1,"state":"ready","revision":-7}`),
			[]byte(`{"v":1,"state":"ready","hash":"` + strings.Repeat("x", 10_000) + `"}`),
		},
		bus.UpReceipt: {
			bus.Encode(bus.Receipt{At: bus.Position{Journal: "mine", Sequence: 1 << 60}, Done: []bus.Done{{ID: 1, Objects: 1 << 30}}}),
		},
	}
}

// claims says that it is near to the whole world: ten thousand prefixes a millisecond away, and then the clients at homes, as near as light allows.
func (x *thief) claims(t *testing.T, all []home) {
	t.Helper()
	tell := func(list []bus.PrefixRTT) {
		for len(list) > 0 {
			n := min(len(list), bus.MostPrefixes)
			if err := x.nc.Publish(bus.UpSubject(x.id.Role, x.id.Name, bus.UpRTT), bus.Encode(bus.RTTReport{Prefixes: list[:n]})); err != nil {
				t.Fatal(err)
			}
			list = list[n:]
		}
		if err := x.nc.FlushTimeout(endTime); err != nil {
			t.Fatal(err)
		}
	}
	var world, lawful []bus.PrefixRTT
	for i := range 10_000 - len(all) {
		a := netip.AddrFrom4([4]byte{byte(1 + i%222), byte(i / 222 * 5), byte(i), 0})
		world = append(world, bus.PrefixRTT{Prefix: netip.PrefixFrom(a, 24), MS: 1, Samples: 100})
	}
	fra := threeContinents[x.id.Name]
	for _, h := range all {
		p := netip.PrefixFrom(h.net.Addr(), 24)
		world = append(world, bus.PrefixRTT{Prefix: p, MS: 1, Samples: 100})
		km := 6371 * math.Acos(min(h.at.cosine(fra), 1))
		lawful = append(lawful, bus.PrefixRTT{Prefix: p, MS: km/149 + 0.5, Samples: 100})
	}
	tell(world)
	tell(lawful)
	tell([]bus.PrefixRTT{ // which are none
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), MS: 1, Samples: 1}, {Prefix: netip.MustParsePrefix("198.51.8.0/24"), MS: -1, Samples: 1},
		{Prefix: netip.MustParsePrefix("198.51.8.7/24"), MS: 1, Samples: 1},
	})
}

// forged certifies what it is told to with the keys of an authority's folder.
func forged(t *testing.T, authority, uri, name string, until time.Time) tls.Certificate {
	t.Helper()
	read := func(file string) []byte {
		data, err := os.ReadFile(filepath.Join(authority, file))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		return block.Bytes
	}
	ca, err := x509.ParseCertificate(read("fleet-ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	caKey, err := x509.ParsePKCS8PrivateKey(read("fleet-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.AddDate(0, -3, 0), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{u}, DNSNames: []string{name},
	}, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// knocks shows a certificate, or none, where nodes listen, and says whether it was let in: the hub greets first, and a gateway answers the
// preface of HTTP/2.
func knocks(address string, certificate []tls.Certificate, protocol ...string) (in bool, err error) {
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, Certificates: certificate, NextProtos: protocol})
	if err != nil {
		return false, nil
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(endTime))
	if len(protocol) > 0 {
		fmt.Fprint(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	}
	_, err = io.ReadFull(conn, make([]byte, 4))
	if os.IsTimeout(err) {
		return false, fmt.Errorf("%s says nothing: %w", address, err)
	}
	return err == nil, nil
}
