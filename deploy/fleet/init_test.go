package fleet

import (
	"crypto/tls"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hither/deploy"
)

// tree lists the files below a folder, with what each holds.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, mode)
		}
		if !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			files[name] = mustRead(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInit(t *testing.T) {
	n, file := exampleNetwork(t)
	out := filepath.Join(t.TempDir(), "out")
	changes, err := initAt(n, file, out, at(start))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, c := range changes {
		nodes = append(nodes, c.Node)
		if !c.New || c.Renewed || c.Dir != filepath.Join(out, "nodes", c.Node) || len(c.Certificates) == 1 != strings.HasPrefix(c.Node, "edge-") {
			t.Errorf("%+v", c)
		}
	}
	if want := []string{"edge-fra", "edge-iad", "edge-sin", "origin-us", "dns-ns1"}; !slices.Equal(nodes, want) {
		t.Errorf("nodes are %v, want %v", nodes, want)
	}
	want := []string{"authority/fleet-ca.key", "authority/fleet-ca.pem", "authority/site-ca.key", "authority/site-ca.pem", "ca.pem"}
	for _, node := range append([]string{"operator-main"}, nodes...) {
		want = append(want, "authority/issued/"+node+".pem")
	}
	for _, node := range nodes {
		for _, name := range []string{"age.key", "fleet-ca.pem", "hub.yaml", "node.key", "node.pem"} {
			want = append(want, "nodes/"+node+"/identity/"+name)
		}
		want = append(want, "nodes/"+node+"/revision/current.yaml")
		if strings.HasPrefix(node, "dns-") {
			want = append(want, "nodes/"+node+"/identity/site-ca.pem")
		}
		if strings.HasPrefix(node, "edge-") {
			want = append(want, "nodes/"+node+"/certs/www.hither.test/cert.pem", "nodes/"+node+"/certs/www.hither.test/key.pem")
		}
	}
	for _, name := range []string{"age.key", "fleet-ca.pem", "hub.yaml", "node.key", "node.pem"} {
		want = append(want, "operator/"+name)
	}
	slices.Sort(want)
	first := tree(t, out)
	var got []string
	for name := range first {
		got = append(got, name)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if first["ca.pem"] != first["authority/site-ca.pem"] || first["nodes/dns-ns1/revision/current.yaml"] != string(file) {
		t.Error("ca.pem is not the root of the sites, or the revision not the file")
	}

	// Every bundle loads, and two of them meet.
	ids := map[string]*Identity{}
	for _, c := range changes {
		if ids[c.Node], err = loadIdentity(filepath.Join(c.Dir, "identity"), at(start)); err != nil {
			t.Fatal(err)
		}
		if ids[c.Node].String() != c.Node || !slices.Equal(ids[c.Node].Hub, n.Hub.URLs) {
			t.Errorf("%s is %+v", c.Node, ids[c.Node])
		}
	}
	if _, _, serverErr, clientErr := shake(t, ids["origin-us"].ServerTLS(RoleEdge), ids["edge-sin"].ClientTLS(RoleOrigin, "us")); serverErr != nil || clientErr != nil {
		t.Errorf("server: %v, client: %v", serverErr, clientErr)
	}

	// Once more changes nothing.
	changes, err = initAt(n, file, out, at(start.Add(day)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if c.New || c.Renewed || len(c.Certificates) != 0 {
			t.Errorf("%+v", c)
		}
	}
	second := tree(t, out)
	for name, data := range second {
		if first[name] != data {
			t.Errorf("%s changed", name)
		}
	}
	if len(second) != len(first) {
		t.Errorf("%d files, then %d", len(first), len(second))
	}
}

// TestInitAgain: a node more, a bundle lost, a file changed, and life running out.
func TestInitAgain(t *testing.T) {
	n, file := exampleNetwork(t)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := initAt(n, file, out, at(start)); err != nil {
		t.Fatal(err)
	}
	first := tree(t, out)
	if err := os.RemoveAll(filepath.Join(out, "nodes/edge-iad")); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(file), "\norigins:", "\n  - {name: syd, place: {lat: -33.9, lon: 151.2}, addresses: [127.0.1.4]}\norigins:", 1)
	text = strings.Replace(text, "hosts: [www.hither.test]", `hosts: [www.hither.test, "*.hither.test"]`, 1)
	n, err := deploy.Parse("network.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	changes, err := initAt(n, []byte(text), out, at(start.Add(day)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		isNew := c.Node == "edge-syd" || c.Node == "edge-iad"
		if c.New != isNew || c.Renewed {
			t.Errorf("%+v", c)
		}
		if c.Node == "edge-fra" && !slices.Equal(c.Certificates, []string{"*.hither.test"}) {
			t.Errorf("edge-fra got %v", c.Certificates)
		}
	}
	second := tree(t, out)
	for _, name := range []string{"authority/fleet-ca.key", "nodes/edge-fra/identity/node.pem", "nodes/edge-fra/revision/current.yaml", "nodes/edge-fra/certs/www.hither.test/cert.pem"} {
		if first[name] != second[name] {
			t.Errorf("%s changed", name)
		}
	}
	if second["nodes/edge-syd/revision/current.yaml"] != text || second["nodes/edge-iad/revision/current.yaml"] != text {
		t.Error("new nodes begin with the new file")
	}
	changes, err = initAt(n, []byte(text), out, at(start.Add(60*day)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if young := c.Node == "edge-syd" || c.Node == "edge-iad"; c.New || c.Renewed == young {
			t.Errorf("%+v", c)
		}
	}
	old, err := loadIdentity(filepath.Join(out, "nodes/edge-iad/identity"), at(start.Add(60*day)))
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := loadIdentity(filepath.Join(out, "nodes/origin-us/identity"), at(start.Add(60*day)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, serverErr, clientErr := shake(t, renewed.ServerTLS(RoleEdge), old.ClientTLS(RoleOrigin, "us")); serverErr != nil || clientErr != nil {
		t.Errorf("renewed and old do not meet: server: %v, client: %v", serverErr, clientErr)
	}
}

// TestInitSites: only edges of a site's trust domain hold its certificate, and only
// local ones are made.
func TestInitSites(t *testing.T) {
	_, file := exampleNetwork(t)
	text := strings.NewReplacer(
		"addresses: [127.0.1.3]", "addresses: [127.0.1.3]\n    trust: other",
		"\nzones:", `
  - {name: shop, hosts: [shop.hither.test], origin: us, trust: other}
  - {name: files, hosts: [files.hither.test], origin: us, tls: {certificate: {cert: /c.pem, key: /k.pem}}}
  - {name: real, hosts: [real.hither.test], origin: us, tls: {certificate: acme}}

zones:`).Replace(string(file))
	n, err := deploy.Parse("network.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	changes, err := Init(n, []byte(text), out)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range changes {
		got[c.Node] = strings.Join(c.Certificates, " ")
	}
	if got["edge-fra"] != "www.hither.test" || got["edge-sin"] != "shop.hither.test" || got["origin-us"] != "" {
		t.Errorf("certificates are %v", got)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(out, "nodes/edge-sin/certs/shop.hither.test/cert.pem"), filepath.Join(out, "nodes/edge-sin/certs/shop.hither.test/key.pem")); err != nil {
		t.Error(err)
	}
}

func TestInitRefusesAnotherNetwork(t *testing.T) {
	n, file := exampleNetwork(t)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Init(n, file, out); err != nil {
		t.Fatal(err)
	}
	before := tree(t, out)
	n.Name = "other"
	if _, err := Init(n, file, out); err == nil || !strings.Contains(err.Error(), "use another folder") {
		t.Errorf("got %v", err)
	}
	if after := tree(t, out); len(after) != len(before) {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
}

// Each gateway of an origin is a node of its own, with an identity of its own.
func TestInitGateways(t *testing.T) {
	n, file := exampleNetwork(t)
	o := &n.Origins[0]
	o.Gateways = []deploy.NamedGateway{{Name: "us-2", Gateway: o.Gateway}, {Name: "us-3", Gateway: o.Gateway}}
	changes, err := initAt(n, file, filepath.Join(t.TempDir(), "out"), at(start))
	if err != nil {
		t.Fatal(err)
	}
	var origins []string
	for _, c := range changes {
		if !strings.HasPrefix(c.Node, "origin-") {
			continue
		}
		origins = append(origins, c.Node)
		id, err := loadIdentity(filepath.Join(c.Dir, "identity"), at(start))
		if err != nil || id.Role != RoleOrigin || id.String() != c.Node {
			t.Errorf("%s: %+v, %v", c.Node, id, err)
		}
	}
	if want := []string{"origin-us", "origin-us-2", "origin-us-3"}; !slices.Equal(origins, want) {
		t.Errorf("origin nodes are %v, want %v", origins, want)
	}
}
