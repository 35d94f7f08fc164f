package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"hither/deploy"
	"hither/deploy/fleet"
)

// TestCheckIsAsStrictAsStart gives what an edge reads of an origin many values: what `hither check` takes, an edge starts
// with; what it refuses, it refuses at the key.
func TestCheckIsAsStrictAsStart(t *testing.T) {
	const file = `version: 1
name: demo
edge: {listen: {https: 8443, http: 0, metrics: 0}}
pops: [{name: fra, place: {lat: 50, lon: 8}, addresses: [127.65.1.2]}]
sites: [{name: www, hosts: [www.hither.test], origin: us}]
origins:
  - name: us
    gateway: {addresses: ["127.65.0.2:9443"]}
    app: {static: {}}
    KEY
`
	plain := strings.Replace(file, "    KEY\n", "", 1)
	dir := t.TempDir()
	n, err := deploy.Parse("network.yaml", []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Init(n, []byte(plain), dir); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "nodes", "edge-fra")
	id, err := fleet.LoadIdentity(filepath.Join(state, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	numbers := []any{-1, 0, 1, 2, 31, 32, 33, 64, 65, 100, 1000, 65536, 1 << 31}
	times := []any{"0s", "1ms", "999ms", "1s", "2s", "30s", "5m", "24h", "87600h", "87601h"}
	taken, refused := 0, 0
	for key, values := range map[string][]any{
		"pool.protocol": {"", "h1", "h2", "h2c", "h3"}, "pool.connections": numbers, "pool.max_age": times,
		"limits.concurrent": numbers, "limits.waiting": numbers, "limits.wait": times, "limits.connect": times, "limits.first_byte": times, "limits.idle": times,
		"shield": {"", "fra", "iad"},
	} {
		for _, v := range values {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			path := strings.Split(key, ".")
			set := path[0] + ": " + string(text)
			if len(path) == 2 {
				set = fmt.Sprintf("%s: {%s: %s}", path[0], path[1], text)
			}
			n, err := deploy.Parse("network.yaml", []byte(strings.Replace(file, "KEY", set, 1)), Check)
			if err != nil {
				refused++
				var all deploy.Mistakes
				if !errors.As(err, &all) || all[0].Line != 10 {
					t.Errorf("%s: %v", set, err)
				}
				continue
			}
			taken++
			node, err := New(Options{Name: "fra", State: state, Network: n, Identity: id, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Errorf("%s: the file is taken, and the edge does not start: %v", set, err)
				continue
			}
			node.close()
		}
	}
	t.Logf("%d files taken, %d refused", taken, refused)
	if taken < 40 || refused < 20 {
		t.Error("the test does not see what it should")
	}
}
