package hub

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/conf"

	"hither/deploy"
	"hither/deploy/fleet"
)

// FuzzConfig makes the configuration of a cluster of anything that an operator may say beside the network file: it is refused, or NATS reads of it what was
// said, and there is nobody in it with more than the permissions of a name.
func FuzzConfig(f *testing.F) {
	n, err := deploy.Parse("network.yaml", deploy.Example())
	if err != nil {
		f.Fatal(err)
	}
	n.Hub.EmbeddedIn = ""
	for _, s := range []string{"", "main", "*", ">", "a.b", "a b", `a"}`, "a\n}", "\x00", "é", `\`, "$HOME", "a'b", strings.Repeat("x", 64),
		"/etc/nats/\u2028", "#", "//", "\xff", strings.Repeat("\x91", 300)} {
		f.Add(s, "/etc/nats/identity", "/var/lib/nats", "us")
		f.Add("main", s, "/var/lib/nats", "us")
		f.Add("main", "/etc/nats/identity", s, "us")
		f.Add("main", "/etc/nats/identity", "/var/lib/nats", s)
	}
	f.Fuzz(func(t *testing.T, operator, identity, store, control string) {
		text, err := Config(n, ConfigOptions{Operators: []string{operator}, Identity: identity, Store: store, Control: control})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 1000 {
				t.Errorf("it says %q", err)
			}
			return
		}
		m, err := conf.Parse(text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if identity == "" {
			identity = "/etc/nats/identity"
		}
		if store == "" {
			store = "/var/lib/nats"
		}
		if got := m["tls"].(map[string]any)["cert_file"]; got != filepath.Join(identity, "node.pem") {
			t.Errorf("the certificate is %q, of %q", got, identity)
		}
		if got := m["jetstream"].(map[string]any)["store_dir"]; got != store {
			t.Errorf("the store is %q, not %q", got, store)
		}
		users := m["accounts"].(map[string]any)["HITHER"].(map[string]any)["users"].([]any)
		if want := len(n.PoPs) + len(n.Origins) + len(n.DNS.Servers) + 1; len(m) != 12 || len(users) != want {
			t.Errorf("%d parts, %d users, wanted %d", len(m), len(users), want)
		}
		for _, u := range users {
			name := u.(map[string]any)["user"].(string)
			may := fmt.Sprint(u.(map[string]any)["permissions"])
			if strings.ContainsAny(name, "*> ") || strings.Contains(may, "control.>") || strings.Contains(may, "control.*.*") {
				t.Errorf("%q may %s", name, may)
			}
		}
	})
}

// FuzzMark reads anything as the note of where the journal ended: a number, or that it is not known.
func FuzzMark(f *testing.F) {
	for _, s := range []string{"", "7\n", "-7", "18446744073709551616", "\x00", "7 8", strings.Repeat("9", 10_000)} {
		f.Add([]byte(s))
	}
	h := &Hub{o: Options{Folder: f.TempDir(), Log: slog.New(slog.DiscardHandler)}}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(h.o.Folder, markFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if mark, text := h.readMark(), strings.TrimSpace(string(data)); mark != 0 && strings.TrimLeft(text, "0") != fmt.Sprint(mark) {
			t.Errorf("%q is %d", data, mark)
		}
		h.writeMark(h.readMark())
	})
}

// BenchmarkConfig makes the configuration for many nodes.
func BenchmarkConfig(b *testing.B) {
	n, err := deploy.Parse("network.yaml", deploy.Example())
	if err != nil {
		b.Fatal(err)
	}
	n.Hub.EmbeddedIn = ""
	for _, count := range []int{1000, 10_000} {
		o := ConfigOptions{Control: "us", Issued: []fleet.Issued{}}
		pops := n.PoPs[:3:3]
		for i := range count {
			pops = append(pops, deploy.PoP{Name: fmt.Sprintf("p%d", i)})
			o.Issued = append(o.Issued, fleet.Issued{Peer: fleet.Peer{Role: fleet.RoleEdge, Name: fmt.Sprintf("p%d", i), Network: n.Name}})
		}
		o.Issued = append(o.Issued, fleet.Issued{Peer: fleet.Peer{Role: fleet.RoleOrigin, Name: "us", Network: n.Name}})
		all := *n
		all.PoPs = pops
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			for b.Loop() {
				if _, err := Config(&all, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
