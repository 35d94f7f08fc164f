package deploy_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"hither/deploy"
)

// defaultOf is a variable of the compose file with what it is by default.
var defaultOf = regexp.MustCompile(`\$\{\w+:-([^}]*)\}`)

// TestCompose holds the compose file to the network file beside it: each node has a
// container, at the addresses that the network file says.
func TestCompose(t *testing.T) {
	n, err := deploy.Load("compose/network/network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("compose/docker-compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Command, Volumes, Ports []string
			Entrypoint, Profiles    []string
			Grace                   string `yaml:"stop_grace_period"`
			Networks                map[string]struct {
				Address string `yaml:"ipv4_address"`
			}
		}
	}
	// A key beside a merge is not repeated, but this parser says so.
	if err := yaml.UnmarshalWithOptions(defaultOf.ReplaceAll(text, []byte("$1")), &file, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	node := func(role, name, address string) (ports []string) {
		t.Helper()
		full := role + "-" + name
		s, ok := file.Services[full]
		if !ok {
			t.Errorf("no service %s", full)
			return nil
		}
		delete(file.Services, full)
		if len(s.Profiles) > 0 {
			t.Errorf("%s is there with a profile only: %q", full, s.Profiles)
		}
		if want := []string{role, "--name", name, "--state", "/state", "--network", "/network/network.yaml"}; !slices.Equal(s.Command, want) {
			t.Errorf("%s runs %q, not %q", full, s.Command, want)
		}
		if want := []string{"./network:/network:ro", "./state/nodes/" + full + ":/state"}; !slices.Equal(s.Volumes, want) {
			t.Errorf("%s sees %q, not %q", full, s.Volumes, want)
		}
		if got := s.Networks["backbone"].Address; got != address {
			t.Errorf("%s has the address %q, and others look for it at %s", full, got, address)
		}
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace <= time.Duration(n.Edge.Limits.Notice+n.Edge.Limits.Drain) {
			t.Errorf("%s is killed after %q, and may drain for %v and %v", full, s.Grace, n.Edge.Limits.Notice, n.Edge.Limits.Drain)
		}
		return s.Ports
	}
	publishes := func(name string, ports []string, want ...string) {
		t.Helper()
		if !slices.Equal(ports, want) {
			t.Errorf("%s is published at %q, and DNS says %q", name, ports, want)
		}
	}
	for i := range n.PoPs {
		p := &n.PoPs[i]
		publishes(p.Name, node("edge", p.Name, p.Probe[0].String()),
			fmt.Sprintf("%v:%d:%d/tcp", p.Addresses[0], p.Listen.Public, p.Listen.HTTPS),
			fmt.Sprintf("%v:%d:%d/udp", p.Addresses[0], p.Listen.Public, p.Listen.HTTPS),
			fmt.Sprintf("%v:%d:%d/tcp", p.Addresses[0], p.Listen.HTTP, p.Listen.HTTP))
	}
	for i := range n.Origins {
		o := &n.Origins[i]
		address, _ := o.Gateway.Addresses[0].Addr()
		publishes(o.Name, node("origin", o.Name, address.String()))
	}
	for i := range n.DNS.Servers {
		s := &n.DNS.Servers[i]
		publishes(s.Name, node("dns", s.Name, "10.83.0.53"),
			fmt.Sprintf("%v:%d:%d/udp", s.Addresses[0], s.Port, s.Port),
			fmt.Sprintf("%v:%d:%d/tcp", s.Addresses[0], s.Port, s.Port))
	}
	delete(file.Services, "init")
	if s := file.Services["operator"]; !slices.Equal(s.Profiles, []string{"operator"}) || len(s.Ports) > 0 {
		t.Errorf("the operator's container is there by the profiles %q, and published at %q", s.Profiles, s.Ports)
	}
	delete(file.Services, "operator")
	// What the profile adds leads to where the network file has the nodes.
	var edges, published []string
	for i := range n.PoPs {
		p := &n.PoPs[i]
		edges = append(edges, p.Probe[0].String())
		published = append(published, fmt.Sprintf("%v=%v", p.Addresses[0], p.Probe[0]))
	}
	for name, want := range map[string][]string{"distance": edges, "client": append(edges, "10.83.0.53")} {
		s := file.Services[name]
		delete(file.Services, name)
		if !slices.Equal(s.Profiles, []string{"distance"}) {
			t.Errorf("%s has the profiles %q", name, s.Profiles)
		}
		var to, pairs []string
		for _, word := range append(s.Entrypoint, s.Command...) {
			if addr, ok := strings.CutPrefix(word, "--to="); ok {
				addr, _, _ = strings.Cut(addr, "=")
				to = append(to, addr)
			}
			if pair, ok := strings.CutPrefix(word, "--published="); ok {
				pairs = append(pairs, pair)
			}
		}
		if !slices.Equal(to, want) {
			t.Errorf("%s puts distance before %q, want %q", name, to, want)
		}
		if name == "client" && !slices.Equal(pairs, published) {
			t.Errorf("client takes as published %q, and DNS says %q", pairs, published)
		}
	}
	for name := range file.Services {
		t.Errorf("%s is no node of the network", name)
	}
}
