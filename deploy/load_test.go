package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/deploy"
)

// goodFiles are network files without a mistake, by name.
func goodFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{"network.yaml": string(deploy.Example())}
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/good: %v", err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[p] = string(data)
	}
	return files
}

func TestGoodFiles(t *testing.T) {
	for name, file := range goodFiles(t) {
		if _, err := deploy.Parse(name, []byte(file)); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestExample(t *testing.T) {
	n, err := deploy.Load("network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	var pops []string
	for _, p := range n.PoPs {
		pops = append(pops, p.Name+" "+p.Bind[0].String()+" "+p.Probe[0].String()+" "+p.Listen.MetricsAddress.String())
	}
	if got, want := strings.Join(pops, ", "), "fra 127.0.1.1 127.0.1.1 127.0.1.1, iad 127.0.1.2 127.0.1.2 127.0.1.2, sin 127.0.1.3 127.0.1.3 127.0.1.3"; got != want {
		t.Errorf("PoPs are %s, want %s", got, want)
	}
	if l := n.EdgeOf("sin").Listen; l.HTTPS != 8443 || l.HTTP != 8080 || l.Metrics != 9180 {
		t.Errorf("sin listens on %+v", l)
	}
	g := n.Origin("us").Gateway
	if g.Addresses[0] != (deploy.HostPort{Host: "127.0.0.1", Port: 9443}) || g.Bind[0] != netip.MustParseAddrPort("127.0.0.1:9443") || g.Metrics != netip.MustParseAddrPort("127.0.0.1:9182") {
		t.Errorf("gateway is %+v", g)
	}
	s := n.Server("ns1")
	if s.Port != 5300 || s.Bind[0] != addr("127.0.0.1") || s.Metrics != 9181 || s.MetricsAddress != addr("127.0.0.1") {
		t.Errorf("server is %+v", s)
	}
	if n.Site("www").Trust != "main" || len(n.SitesOf(n.PoP("fra"))) != 1 || !reflect.DeepEqual(n.Hosts(), []string{"www.hither.test"}) {
		t.Errorf("sites are %+v", n.Sites)
	}
	if n.PoP("none") != nil || n.Site("none") != nil || n.Origin("none") != nil || n.Server("none") != nil {
		t.Error("a look-up found what is not there")
	}
	if got := n.DNS.Geo.Prefixes[netip.MustParsePrefix("127.0.0.0/8")]; got.PoP != "fra" || got.Place != nil {
		t.Errorf("127.0.0.0/8 is at %+v", got)
	}
}

// TestExampleSaysDefaults holds the values of the example, which look like the
// defaults, to the defaults, but for the ports of a machine shared by many nodes.
func TestExampleSaysDefaults(t *testing.T) {
	said, err := deploy.Parse("network.yaml", deploy.Example())
	if err != nil {
		t.Fatal(err)
	}
	short, err := deploy.Load("testdata/good/short.yaml")
	if err != nil {
		t.Fatal(err)
	}
	said.Edge.Listen, short.Edge.Listen = deploy.Listen{}, deploy.Listen{}
	said.Edge.Trusted = nil // [] and absent are the same
	if !reflect.DeepEqual(said.Edge, short.Edge) {
		t.Errorf("edge: the example says %+v, the default is %+v", said.Edge, short.Edge)
	}
	o, d := said.Origins[0], short.Origins[0]
	if o.Pool != d.Pool || o.Limits != d.Limits || !reflect.DeepEqual(o.Balance, d.Balance) || !reflect.DeepEqual(o.Retry, d.Retry) || *o.App.Static != *d.App.Static {
		t.Errorf("origin: the example says %+v, the default is %+v", o, d)
	}
	s, e := said.Sites[0], short.Sites[0]
	if s.Trust != e.Trust || s.TLS != e.TLS || s.EarlyData != e.EarlyData || s.Cache != e.Cache || s.DNS != e.DNS {
		t.Errorf("site: the example says %+v, the default is %+v", s, e)
	}
	if said.Zones[0].SOA.Retry != short.Zones[0].SOA.Retry || said.Zones[0].Steered[0].TTL != short.Zones[0].Steered[0].TTL {
		t.Errorf("zone: the example says %+v, the default is %+v", said.Zones[0], short.Zones[0])
	}
	if said.DNS.Probe != short.DNS.Probe {
		t.Errorf("probe: the example says %+v, the default is %+v", said.DNS.Probe, short.DNS.Probe)
	}
}

// TestPortsOnThePublicInternet are defaults too, and metrics are never public by
// default.
func TestPortsOnThePublicInternet(t *testing.T) {
	n, err := deploy.Load("testdata/good/short.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l := n.EdgeOf("fra").Listen
	if l.HTTPS != 443 || l.HTTP != 80 || l.Metrics != 9180 || l.MetricsAddress.String() != "127.0.0.1" {
		t.Errorf("edge listens on %+v", l)
	}
	if m := n.Origins[0].Gateway.Metrics.String(); m != "127.0.0.1:9182" {
		t.Errorf("origin serves metrics on %s", m)
	}
	if s := n.DNS.Servers[0]; s.Port != 53 || s.Metrics != 9181 || s.MetricsAddress.String() != "127.0.0.1" {
		t.Errorf("server listens on %+v", s)
	}
}

func TestPoPOverridesEdge(t *testing.T) {
	n, err := deploy.Load("testdata/good/every-key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fra, iad := n.EdgeOf("fra"), n.EdgeOf("iad")
	if fra.Cache.Memory != 2<<30 || fra.Cache.Disk != 100<<30 || iad.Cache.Memory != 1<<30 {
		t.Errorf("cache: fra %+v, iad %+v", fra.Cache, iad.Cache)
	}
	if fra.Limits.Idle != deploy.Duration(5*time.Minute) || fra.Limits.HeaderFields != 64 || iad.Limits.Idle != deploy.Duration(90*time.Second) {
		t.Errorf("limits: fra %+v, iad %+v", fra.Limits, iad.Limits)
	}
	if fra.Listen.HTTPS != 8443 || fra.Listen.HTTP != 80 || iad.Listen.HTTPS != 443 {
		t.Errorf("listen: fra %+v, iad %+v", fra.Listen, iad.Listen)
	}
	if len(fra.Listen.ProxyProtocol) != 2 || len(n.Origins[0].Gateway.ProxyProtocol) != 1 {
		t.Errorf("proxies: fra %v, origin %v", fra.Listen.ProxyProtocol, n.Origins[0].Gateway.ProxyProtocol)
	}
	if len(fra.Trusted) != 0 || len(iad.Trusted) != 2 || n.PoP("fra").Weight != 0 || n.PoP("iad").Weight != 1 {
		t.Errorf("fra %+v, iad %+v", fra, iad)
	}
	if got := n.EdgeOf("none"); got.Cache != n.Edge.Cache {
		t.Errorf("an unknown PoP has %+v", got)
	}
}

func TestGatewayOfANameListensEverywhere(t *testing.T) {
	n, err := deploy.Parse("n.yaml", []byte(strings.Replace(string(deploy.Example()), `["127.0.0.1:9443"]`, `["origin:9443"]`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Origins[0].Gateway.Bind[0].String(); got != "[::]:9443" {
		t.Errorf("gateway listens on %s", got)
	}
}

// TestLineEnds: a file from an editor of Windows reads the same, at the same places.
func TestLineEnds(t *testing.T) {
	data, err := os.ReadFile("testdata/bad/several.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/bad/several.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, err = deploy.Parse("several.yaml", []byte(strings.ReplaceAll(string(data), "\n", "\r\n")))
	if err == nil || err.Error()+"\n" != string(want) {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestLoadMissing(t *testing.T) {
	_, err := deploy.Load("testdata/none.yaml")
	want := "deploy: network file testdata/none.yaml does not exist; `hither up` writes one to begin with, and deploy/network.yaml is the annotated example"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	var mistakes deploy.Mistakes
	if _, err := deploy.Load("testdata"); err == nil || errors.As(err, &mistakes) {
		t.Errorf("a folder: %v", err)
	}
}

// padded makes a file as large as it is to be, by comments.
func padded(file []byte, size int) []byte {
	return append(append(slices.Clone(file), '\n'), bytes.Repeat([]byte("# nothing\n"), size/10)...)[:size]
}

// TestReadLargest takes a file of just the largest size, and tells how large one is that has a byte more.
func TestReadLargest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for size, want := range map[int]string{
		deploy.MaxBytes:     "",
		deploy.MaxBytes + 1: path + ":1:1: the file has 786433 bytes; a network file may have 786432 bytes (768KiB), for it is one message to the nodes",
		5 << 20:             path + ":1:1: the file has 5242880 bytes; a network file may have 786432 bytes (768KiB), for it is one message to the nodes",
	} {
		if err := os.WriteFile(path, padded(deploy.Example(), size), 0o600); err != nil {
			t.Fatal(err)
		}
		got := ""
		if _, err := deploy.Load(path); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%d bytes: %q, wanted %q", size, got, want)
		}
	}
	// What has no end is not read to it.
	var mistakes deploy.Mistakes
	if _, err := deploy.Read("/dev/zero"); !errors.As(err, &mistakes) || !strings.HasPrefix(mistakes[0].Msg, "the file has more; ") {
		t.Error(err)
	}
}

// BenchmarkParse checks files with many PoPs, the last as large as a file may be.
func BenchmarkParse(b *testing.B) {
	head, tail, _ := bytes.Cut(deploy.Example(), []byte("\norigins:"))
	for _, n := range []int{1000, 2000, 4000, 7000} {
		file := slices.Clone(head)
		for i := range n {
			file = fmt.Appendf(file, "\n  - {name: pop-%d, place: {lat: 50.11, lon: 8.68, city: Frankfurt}, addresses: [10.1.%d.%d]}", i, i/250, i%250)
		}
		file = append(append(file, "\norigins:"...), tail...)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportMetric(float64(len(file)>>10), "KiB")
			for b.Loop() {
				if _, err := deploy.Parse("f", file); err != nil {
					b.Fatalf("%.500v", err)
				}
			}
		})
	}
}
