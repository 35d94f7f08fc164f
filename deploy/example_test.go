package deploy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"hither/deploy"
)

func ExampleParse() {
	_, err := deploy.Parse("network.yaml", []byte(`version: 1
name: demo
pops:
  - {name: fra, place: {lat: 150.11, lon: 8.68}, adress: [192.0.2.1]}
`))
	fmt.Println(err)
	// Output:
	// network.yaml:4:5: pops: key `addresses` is missing
	// network.yaml:4:30: lat: 150.11 is out of range; it goes from -90 to 90
	// network.yaml:4:50: unknown key `adress`; did you mean `addresses`?
}

func ExampleLocal() {
	file, err := deploy.Local(deploy.LocalOptions{Net: "127.20", Origin: "http://127.0.0.1:3000"})
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := deploy.Parse("network.yaml", file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n.PoP("fra").Addresses, n.Origin("us").App.Instances[0].URL)
	// Output:
	// [127.20.1.1] http://127.0.0.1:3000
}

func TestLocalIsTheExample(t *testing.T) {
	for _, net := range []string{"", "127.0"} {
		file, err := deploy.Local(deploy.LocalOptions{Net: net})
		if err != nil || string(file) != string(deploy.Example()) {
			t.Errorf("net %q changes the example: %v", net, err)
		}
	}
}

func TestLocalNet(t *testing.T) {
	file, err := deploy.Local(deploy.LocalOptions{Net: "127.255"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := deploy.Parse("network.yaml", file)
	if err != nil {
		t.Fatal(err)
	}
	half := netip.MustParsePrefix("127.255.0.0/16")
	addrs := []netip.Addr{n.Origins[0].Gateway.Bind[0].Addr(), n.Origins[0].Gateway.Metrics.Addr(), n.DNS.Servers[0].Addresses[0]}
	for _, p := range n.PoPs {
		addrs = append(addrs, p.Addresses[0], p.Listen.MetricsAddress)
	}
	for _, a := range addrs {
		if !half.Contains(a) {
			t.Errorf("%v did not move", a)
		}
	}
	if n.Hub.URLs[0] != "tls://127.255.0.1:4222" || n.Zones[0].Records[0] != "ns1 300 A 127.255.0.1" {
		t.Errorf("hub %v, records %v", n.Hub.URLs, n.Zones[0].Records)
	}
	// A client on this machine has a source in 127.0.0.0/8 all the same.
	if _, ok := n.DNS.Geo.Prefixes[netip.MustParsePrefix("127.0.0.0/8")]; !ok {
		t.Errorf("prefixes are %v", n.DNS.Geo.Prefixes)
	}
	if got, want := strings.Count(string(file), "#"), strings.Count(string(deploy.Example()), "#"); got != want {
		t.Errorf("%d comments of %d are left", got, want)
	}
}

func TestLocalApp(t *testing.T) {
	for _, folder := range []string{"/srv/www", `/srv/"a" b\c: #`, "/srv/ü\t日本\u2028", "/127.0.1.1"} {
		file, err := deploy.Local(deploy.LocalOptions{Site: folder, Net: "127.9"})
		if err != nil {
			t.Fatal(err)
		}
		n, err := deploy.Parse("network.yaml", file)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Origins[0].App.Static.Folder; got != folder {
			t.Errorf("folder is %q, want %q", got, folder)
		}
	}
}

// With an origin the comments still say what stands before them.
func TestLocalOriginComments(t *testing.T) {
	const url = "http://127.0.0.1:3000"
	file, err := deploy.Local(deploy.LocalOptions{Origin: url, Net: "127.9"})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if strings.Contains(line, "built-in site") && !strings.Contains(line, "static:") {
			t.Errorf("not about this line: %s", line)
		}
		if strings.Contains(line, "any HTTP servers") && !strings.HasPrefix(strings.TrimSpace(line), `instances: [{url: "`+url+`"`) {
			t.Errorf("the servers are shown as others than they are: %s", line)
		}
	}
	n, err := deploy.Parse("network.yaml", file)
	if err != nil {
		t.Fatal(err)
	}
	if app := n.Origin("us").App; app.Static != nil || len(app.Instances) != 1 || app.Instances[0].URL != url {
		t.Errorf("app is %+v", app)
	}
}

func TestLocalRefuses(t *testing.T) {
	const net = "; only those addresses are this machine's own without setting them up"
	for want, o := range map[string]deploy.LocalOptions{
		"deploy: net `10.0`: write 127.N with N from 0 to 255" + net:                                                                             {Net: "10.0"},
		"deploy: net `127.256`: write 127.N with N from 0 to 255" + net:                                                                          {Net: "127.256"},
		"deploy: net `127.020`: write 127.N with N from 0 to 255" + net:                                                                          {Net: "127.020"},
		"deploy: net `127.20.0`: write 127.N with N from 0 to 255" + net:                                                                         {Net: "127.20.0"},
		"deploy: net `127.`: write 127.N with N from 0 to 255" + net:                                                                             {Net: "127."},
		"deploy: site folder `www`: want an absolute path in UTF-8":                                                                              {Site: "www"},
		"deploy: site folder \"/\\xff\": want an absolute path in UTF-8":                                                                         {Site: "/\xff"},
		"deploy: a site folder and an origin URL exclude one another; give one of them":                                                          {Site: "/a", Origin: "http://a"},
		"deploy: origin: `localhost:3000` is not the address of an HTTP server; write http://HOST:PORT or https://HOST:PORT":                     {Origin: "localhost:3000"},
		"deploy: origin: `http://127.0.0.1:3000/app` has more than a host and a port; requests bring a path of their own, so the URL ends there": {Origin: "http://127.0.0.1:3000/app"},
		"deploy: origin: `http://127.0.0.1:3000?a` has more than a host and a port; requests bring a path of their own, so the URL ends there":   {Origin: "http://127.0.0.1:3000?a"},
	} {
		if file, err := deploy.Local(o); err == nil || err.Error() != want {
			t.Errorf("%+v gives %v, %d bytes\nwant %s", o, err, len(file), want)
		}
	}
}
