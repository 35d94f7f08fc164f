package hub_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// TestSites has a hub in this process and a cluster elsewhere give the same to the same. A cluster takes seconds to find itself, so there
// is one for all that is tried.
func TestSites(t *testing.T) {
	cluster, servers := newCluster(t)
	for what, at := range map[string]*world{"embedded": newWorld(t), "cluster": cluster} {
		t.Run(what, func(t *testing.T) {
			t.Run("permissions", func(t *testing.T) { permissions(t, at.in(t)) })
			t.Run("replies", func(t *testing.T) { replyElsewhere(t, at.in(t)) })
		})
	}
	t.Run("a server ends", func(t *testing.T) { serverEnds(t, cluster.in(t), servers) })
}

// in is the same world, for a part of the test.
func (w *world) in(t *testing.T) *world {
	part := *w
	part.t = t
	return &part
}

// newCluster starts three NATS servers that are configured from the text that Config prints.
func newCluster(t *testing.T) (*world, []*server.Server) {
	t.Helper()
	w := &world{t: t, folder: t.TempDir()}
	var err error
	if w.authority, err = fleet.OpenAuthority(filepath.Join(w.folder, "authority"), "demo"); err != nil {
		t.Fatal(err)
	}
	network := &deploy.Network{Name: "demo"}
	for _, name := range []string{"me", "fra", "iad"} {
		network.PoPs = append(network.PoPs, deploy.PoP{Name: name})
	}
	network.Origins = []deploy.Origin{{Name: "us"}, {Name: "me"}}
	network.DNS.Servers = []deploy.Server{{Name: "me"}, {Name: "ns1"}}
	// Each server of a cluster names the others' ports, so they are chosen before. So are the keys of all.
	var ports []int
	o := hub.ConfigOptions{Control: "us"}
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		l.Close()
		o.Servers = append(o.Servers, hub.ConfigServer{Name: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("127.0.0.1:%d", ports[i])})
		w.identity(fleet.RoleHub, o.Servers[i].Name)
	}
	for role, names := range map[string][]string{fleet.RoleEdge: {"me", "fra", "iad"}, fleet.RoleOrigin: {"us", "me"}, fleet.RoleDNS: {"me", "ns1"}, fleet.RoleOperator: {"main", "me"}} {
		for _, name := range names {
			w.identity(role, name)
		}
	}
	if o.Issued, err = w.authority.AllIssued(); err != nil {
		t.Fatal(err)
	}
	w.route = o.Servers[0].Address
	t.Setenv("NATS_NAME", "options")
	var servers []*server.Server
	for i, port := range ports {
		o.Identity = filepath.Join(w.folder, fmt.Sprintf("hub-n%d", i), "identity")
		o.Store = filepath.Join(w.folder, fmt.Sprintf("store%d", i))
		text, err := hub.Config(network, o)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(w.folder, fmt.Sprintf("n%d.conf", i))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		options, err := server.ProcessConfigFile(path)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		options.ServerName, options.Host, options.Port = o.Servers[i].Name, "127.0.0.1", server.RANDOM_PORT
		options.Cluster.Host, options.Cluster.Port = "127.0.0.1", port
		options.NoSigs, options.NoLog = true, true
		s, err := server.NewServer(options)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(30 * time.Second) {
			t.Fatal("a server of the cluster is not ready")
		}
		w.urls = append(w.urls, "tls://"+s.Addr().String())
	}
	w.control = w.dial(fleet.RoleOrigin, "us")
	if err := hub.Ensure(t.Context(), w.control, 3); err != nil {
		t.Fatal(err)
	}
	return w, servers
}

// serverEnds has a server of three end while a node hears and reads: nothing that was written is lost.
func serverEnds(t *testing.T, w *world, servers []*server.Server) {
	id, fresh, err := hub.Journal(w.ctx(), w.control)
	if err != nil || !fresh || id == "" {
		t.Fatalf("%q, %v, %v", id, fresh, err)
	}
	edge := w.dial(fleet.RoleEdge, "fra")
	append1 := func(i uint64) {
		t.Helper()
		data := bus.Encode(bus.Batch{Journal: id, First: i, Orders: []bus.Order{{Kind: "all"}}})
		// While a leader is chosen an append is refused, or its answer is lost; then it may be there.
		until(t, fmt.Sprintf("entry %d is written", i), func() bool {
			seq, err := w.control.Append(w.ctx(), bus.SubjectJournal, data, bus.ExpectLast(i-1))
			if err != nil {
				w.control.Read(w.ctx(), bus.StreamJournal, i, func(m *bus.Message) error { seq = m.Sequence; return nil })
			}
			return seq == i
		})
	}
	for i := range uint64(20) {
		append1(i + 1)
	}
	// The one to which the edge is connected ends, and no other: it goes on to one of them at once.
	gone := slices.IndexFunc(servers, func(s *server.Server) bool {
		c, err := s.Connz(&server.ConnzOptions{Username: true})
		return err == nil && slices.ContainsFunc(c.Conns, func(one *server.ConnInfo) bool {
			return one.AuthorizedUser == (fleet.Peer{Role: fleet.RoleEdge, Name: "fra", Network: "demo"}).ServerName()
		})
	})
	servers[gone].Shutdown()
	servers[gone].WaitForShutdown()
	for i := range uint64(20) {
		append1(i + 21)
	}
	if err := edge.Wait(w.ctx()); err != nil {
		t.Fatal(err)
	}
	until(t, "the edge reads all", func() bool { // a replica may be behind for a while
		next := uint64(1)
		err := edge.Read(w.ctx(), bus.StreamJournal, 1, func(m *bus.Message) error {
			if m.Sequence != next {
				return fmt.Errorf("entry %d after %d", m.Sequence, next-1)
			}
			next++
			return nil
		})
		return err == nil && next == 41
	})
	if again, fresh, err := hub.Journal(w.ctx(), w.control); err != nil || fresh || again != id {
		t.Errorf("the journal's name afterwards: %q, %v, %v", again, fresh, err)
	}
}

// TestClusterKeys has those that no list of the cluster has: a key that the authority signed for a name that is there, an edge that passes for
// a server, and a server that passes for an edge.
func TestClusterKeys(t *testing.T) {
	w, _ := newCluster(t)
	again := filepath.Join(w.folder, "again")
	if _, err := w.authority.Issue(again, fleet.RoleEdge, "fra", nil); err != nil {
		t.Fatal(err)
	}
	other, err := fleet.LoadIdentity(again)
	if err != nil {
		t.Fatal(err)
	}
	for what, id := range map[string]*fleet.Identity{"another key of a name": other, "a server": w.identity(fleet.RoleHub, "n0"), "who is on no list": w.identity(fleet.RoleEdge, "sin")} {
		nc, err := nats.Connect(w.urls[0], nats.Secure(id.HubTLS("")), nats.NoReconnect())
		if err == nil {
			nc.Close()
			t.Errorf("%s was let in as a client", what)
		}
	}
	for _, c := range []struct {
		id *fleet.Identity
		in bool
	}{{w.identity(fleet.RoleHub, "n1"), true}, {w.identity(fleet.RoleEdge, "fra"), false}, {w.identity(fleet.RoleOrigin, "us"), false}} {
		conn, err := tls.Dial("tcp", w.route, c.id.HubTLS(""))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		word := make([]byte, 4)
		if _, err := io.ReadFull(conn, word); (err == nil && string(word) == "INFO") != c.in {
			t.Errorf("%v where servers meet: %q, %v", c.id.Peer, word, err)
		}
		conn.Close()
	}
}

// TestConfigMistakes has what cannot be a configuration.
func TestConfigMistakes(t *testing.T) {
	n := &deploy.Network{Name: "demo", Origins: []deploy.Origin{{Name: "us"}}}
	for _, o := range []hub.ConfigOptions{
		{Control: "eu"}, {Without: []string{"origin-us"}}, {Issued: []fleet.Issued{}}, {Servers: []hub.ConfigServer{{Name: "n1", Address: "127.0.0.1:1"}}},
		{Issued: []fleet.Issued{{Peer: fleet.Peer{Role: fleet.RoleOrigin, Name: "us", Network: "demo"}, Revoked: true}}},
	} {
		if text, err := hub.Config(n, o); err == nil {
			t.Errorf("%+v: %s", o, text)
		}
	}
	n.Hub.EmbeddedIn = "us"
	if _, err := hub.Config(n, hub.ConfigOptions{}); err == nil {
		t.Error("a hub that is embedded has a configuration")
	}
}
