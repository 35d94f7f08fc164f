package hub

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// ConfigOptions say what [Config] cannot know from the network file.
type ConfigOptions struct {
	Control   string   // the gateway in which the control runs; "" = the one that the network file names, else the first of the first origin
	Operators []string // names of those who may lead the fleet; none where Issued is given: all of them
	Without   []string // nodes, as ROLE-NAME, that are left out, such as those that were revoked
	Identity  string   // folder of the server's own identity, of RoleHub; "" = /etc/nats/identity
	Store     string   // folder for JetStream; "" = /var/lib/nats

	// Issued is what the authority remembers, by which the servers know each one's key, and who was revoked. Users are those that it names,
	// whether the network file does or not. nil: users are those of the network file, and any key is taken that the authority signed for.
	Issued []fleet.Issued

	// Servers are those of the cluster, which speak TLS with each other. It wants Issued. None: the cluster is left to who runs it.
	Servers []ConfigServer
}

// A ConfigServer is one of a cluster.
type ConfigServer struct {
	Name    string // of its identity, of RoleHub, and its server_name
	Address string // HOST:PORT at which the others reach it
}

// Config returns the configuration of a NATS cluster that is to be the hub of a network, the same for each server, which has its
// name from its environment: TLS with the fleet's certificates, JetStream, limits, and an account in which each node is a user, known by its certificate,
// with the permissions that it has at a hub of ours. What a NATS server alone cannot do is in the README.
func Config(n *deploy.Network, o ConfigOptions) (string, error) {
	if n.Hub.EmbeddedIn != "" {
		return "", fmt.Errorf("hub: network %s has its hub in origin %s; `embedded_in` is left out where a NATS cluster serves", n.Name, n.Hub.EmbeddedIn)
	}
	if o.Control == "" {
		o.Control = n.Hub.Control
	}
	if o.Control == "" && len(n.Origins) > 0 {
		o.Control = n.Origins[0].Name
	}
	if err := o.check(); err != nil {
		return "", err
	}
	u := usersOf(n, o)
	control := fleet.Peer{Role: fleet.RoleOrigin, Name: o.Control, Network: n.Name}
	if !slices.Contains(u.peers, control) {
		return "", errors.New("hub: " + control.String() + ", in which the control is to run, is no node of the network, or left out")
	}
	if o.Identity == "" {
		o.Identity = "/etc/nats/identity"
	}
	if o.Store == "" {
		o.Store = "/var/lib/nats"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Network %s: what "hither fleet nats-config" prints. Print it again, and reload the servers (nats-server --signal reload, or SIGHUP), when
# nodes, operators or servers are added, or one is revoked: they let in whom the lists have.
`, n.Name)
	for _, p := range u.unknown {
		fmt.Fprintf(&b, "# %v has no identity that is valid, and so is not in the lists.\n", p)
	}
	if o.Issued == nil {
		b.WriteString("# Made without the authority: a certificate that was revoked is taken while the name is in the list.\n")
	}
	own := fmt.Sprintf("  cert_file: %s\n  key_file: %s\n  ca_file: %s\n", quote(filepath.Join(o.Identity, "node.pem")),
		quote(filepath.Join(o.Identity, "node.key")), quote(filepath.Join(o.Identity, "fleet-ca.pem")))
	fmt.Fprintf(&b, `
max_payload: %d
max_pending: %d
max_connections: %d
max_subscriptions: %d
max_control_line: 4096
ping_interval: "10s"
ping_max: 3
write_deadline: "5s"

tls {
%s  verify_and_map: true
  timeout: 5
%s}

jetstream {
  store_dir: %s
  max_file_store: %d
  max_memory_store: %d
  sync_interval: always
}

system_account: SYS
accounts {
  SYS {}
  HITHER {
    jetstream: enabled
    users: [
`, bus.MostMessage+64<<10, mostPending, mostConns, mostSubs, own, pins(u.keys), quote(o.Store), mostDisk, mostMemory)
	for _, p := range u.peers {
		may := PermissionsOf(p)
		if p == control {
			may = ControlPermissions()
		}
		fmt.Fprintf(&b, "      {user: %s, permissions: {publish: %s, subscribe: {allow: %s}}}\n",
			quote(p.ServerName()), allow(may.Publish), list(may.Subscribe))
	}
	b.WriteString("    ]\n  }\n}\n")
	if len(o.Servers) > 0 {
		if err := u.cluster(&b, n, o, own); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// check refuses names that are none, which would be others' in a subject, and paths that the configuration cannot say.
func (o *ConfigOptions) check() error {
	for _, name := range o.Operators {
		if _, err := fleet.ParseNode(fleet.RoleOperator + "-" + name); err != nil {
			return fmt.Errorf("hub: an operator: %w", err)
		}
	}
	if _, err := fleet.ParseNode(fleet.RoleOrigin + "-" + o.Control); o.Control != "" && err != nil {
		return fmt.Errorf("hub: the gateway with the control: %w", err)
	}
	for _, path := range []string{o.Identity, o.Store} {
		if !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Errorf("hub: the path %.200q has a character that a configuration of NATS does not take", path)
		}
	}
	return nil
}

// users are who is let in.
type users struct {
	peers   []fleet.Peer
	keys    []string     // of peers, where the authority is known
	unknown []fleet.Peer // of the network file, that the authority does not know, or that were revoked
}

func usersOf(n *deploy.Network, o ConfigOptions) (u users) {
	in := make(map[fleet.Peer]bool)
	out := func(p fleet.Peer) bool { return slices.Contains(o.Without, p.String()) }
	for _, i := range o.Issued {
		listed := i.Role != fleet.RoleHub && (i.Role != fleet.RoleOperator || len(o.Operators) == 0 || slices.Contains(o.Operators, i.Name))
		if listed && !i.Revoked && !out(i.Peer) {
			u.peers, u.keys = append(u.peers, i.Peer), append(u.keys, i.Key)
			in[i.Peer] = true
		}
	}
	named := func(role, name string) {
		switch p := (fleet.Peer{Role: role, Name: name, Network: n.Name}); {
		case out(p) || in[p]:
		case o.Issued != nil:
			u.unknown = append(u.unknown, p)
		default:
			u.peers = append(u.peers, p)
			in[p] = true
		}
	}
	for i := range n.PoPs {
		named(fleet.RoleEdge, n.PoPs[i].Name)
	}
	for i := range n.Origins {
		for _, g := range n.Origins[i].AllGateways() {
			named(fleet.RoleOrigin, g.Name)
		}
	}
	for i := range n.DNS.Servers {
		named(fleet.RoleDNS, n.DNS.Servers[i].Name)
	}
	for _, name := range o.Operators {
		named(fleet.RoleOperator, name)
	}
	return u
}

// cluster writes how the servers know each other: by their keys, so that no other identity of the fleet passes for a server, which
// could do anything, and their addresses need not stand in certificates (which is what `insecure` leaves out).
func (u *users) cluster(b *strings.Builder, n *deploy.Network, o ConfigOptions, own string) error {
	var routes, keys []string
	for _, s := range o.Servers {
		i := slices.IndexFunc(o.Issued, func(i fleet.Issued) bool { return i.Role == fleet.RoleHub && i.Name == s.Name && !i.Revoked })
		if i < 0 {
			return fmt.Errorf("hub: server %s of the cluster has no identity that is valid; `hither fleet add hub %[1]s` makes it one", s.Name)
		}
		routes, keys = append(routes, "nats-route://"+s.Address), append(keys, o.Issued[i].Key)
	}
	indented := "  " + strings.ReplaceAll(own+"  timeout: 5\n  insecure: true # the address is in no certificate; the key that each shows is held to the list\n"+pins(keys), "\n", "\n  ")
	fmt.Fprintf(b, `
# The same file for each server, which has its name from its environment: NATS_NAME=%s nats-server --config FILE.
server_name: $NATS_NAME
listen: "0.0.0.0:4222"
cluster {
  name: %s
  listen: "0.0.0.0:6222"
  no_advertise: true
  routes: %s
  tls {
%s
  }
}
`, o.Servers[0].Name, quote(n.Name), list(routes), strings.TrimRight(indented, " \n"))
	return nil
}

// pins writes which keys are taken; none = any that the authority signed for.
func pins(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return "  pinned_certs: " + list(keys) + "\n"
}

func allow(subjects []string) string {
	if len(subjects) == 0 {
		return `{deny: [">"]}`
	}
	return "{allow: " + list(subjects) + "}"
}

func list(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func quote(s string) string { return strconv.Quote(s) }
