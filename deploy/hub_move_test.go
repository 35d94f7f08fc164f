package deploy_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"hither/deploy"
)

// TestMoveHub moves the hub in files that write it in different ways: nothing else in them changes.
func TestMoveHub(t *testing.T) {
	example := string(deploy.Example())
	const gateways = `gateways: [{name: us-b, addresses: ["127.0.0.2:9443"]}] #`
	if strings.Count(example, "# gateways: [") != 1 {
		t.Fatal("the example has no line for gateways")
	}
	example = strings.Replace(example, "# gateways: [", gateways, 1)
	line := ""
	for l := range strings.Lines(example) {
		if strings.HasPrefix(l, "hub:") {
			line = l
		}
	}
	for name, hub := range map[string]string{
		"as in the example": line,
		"a block":           "hub:\n  urls:\n  - tls://127.0.0.1:4222 # here\n\n  # and there\n  embedded_in: us\n  api:\n    address: 127.0.0.1:9190\n# what comes next\n",
		"several lines":     "hub: {\n  urls: [\"tls://127.0.0.1:4222\"], embedded_in: us,\n  api: {address: \"127.0.0.1:9190\"}\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := []byte(strings.Replace(example, line, hub, 1))
			before, err := deploy.Parse("network.yaml", file)
			if err != nil {
				t.Fatal(err)
			}
			bind := netip.MustParseAddrPort("127.0.0.2:5222")
			next, err := deploy.MoveHub(file, before.Hub, "us-b", []string{"tls://hub.example.net:4222"}, bind)
			if err != nil {
				t.Fatal(err)
			}
			after, err := deploy.Parse("network.yaml", next)
			if err != nil {
				t.Fatalf("%v\n%s", err, next)
			}
			want := deploy.Hub{URLs: []string{"tls://hub.example.net:4222"}, EmbeddedIn: "us-b", Control: "us-b", Bind: bind, API: before.Hub.API}
			if !reflect.DeepEqual(after.Hub, want) {
				t.Errorf("the hub is %+v, not %+v", after.Hub, want)
			}
			before.Hub, after.Hub = deploy.Hub{}, deploy.Hub{}
			if !reflect.DeepEqual(before, after) {
				t.Error("more than the hub is another")
			}
			if strings.Contains(hub, "what comes next") && !bytes.Contains(next, []byte("# what comes next\n")) {
				t.Error("a comment behind it is gone")
			}
		})
	}
	if _, err := deploy.MoveHub([]byte("name: demo\n"), deploy.Hub{}, "us-b", nil, netip.AddrPort{}); err == nil {
		t.Error("a file without a hub")
	}
}
