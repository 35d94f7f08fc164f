package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"hither/deploy"
)

// TestCheckIsAsStrictAsStart gives each key of an origin each of many values, and then many keys at once: what `hither
// check` takes, a gateway starts with. What it refuses, it refuses at a place in the file.
func TestCheckIsAsStrictAsStart(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{Net: "127.65"})
	var taken, refused int
	try := func(what string, origin map[string]any) {
		t.Helper()
		file := fileWith(t, origin)
		n, err := deploy.Parse("network.yaml", file, Check)
		if err != nil {
			refused++
			var all deploy.Mistakes
			if !errors.As(err, &all) {
				t.Fatalf("%s: %v", what, err)
			}
			first := strings.Count(string(file[:strings.Index(string(file), "origins:")]), "\n") + 1
			for _, m := range all {
				if m.Line <= first || m.Col < 3 {
					t.Errorf("%s: %v is told of no place in the origin:\n%s", what, m, file)
				}
			}
			return
		}
		taken++
		us := n.Origin("us")
		us.Gateway.Bind, us.Gateway.Metrics = []netip.AddrPort{netip.MustParseAddrPort("127.65.9.1:0")}, netip.AddrPort{}
		start := func() (*Gateway, error) {
			return New(Options{Name: "us", State: h.state("origin-us"), Network: n, Identity: h.identity(t, "origin-us"), Log: slog.New(slog.DiscardHandler)})
		}
		g, err := start()
		for range 3 { // a port that TCP gets may be taken for UDP
			if !errors.Is(err, syscall.EADDRINUSE) {
				break
			}
			g, err = start()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return // a file that its machine will have
		}
		if err != nil {
			t.Errorf("%s: the file is taken, and the gateway does not start: %v", what, err)
			return
		}
		g.close()
	}
	keys := keysOf("", reflect.TypeFor[deploy.Origin]())
	for _, k := range keys {
		for _, v := range valuesOf(k.kind) {
			try(fmt.Sprintf("%s: %#v", k.path, v), k.set(plainOrigin(), v))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		origin, what := plainOrigin(), ""
		for range 2 + r.IntN(4) {
			k := keys[r.IntN(len(keys))]
			if all := valuesOf(k.kind); len(all) > 0 {
				v := all[r.IntN(len(all))]
				what += fmt.Sprintf("%s: %#v ", k.path, v)
				origin = k.set(origin, v)
			}
		}
		try(what, origin)
	}
	t.Logf("%d keys; %d files taken, %d refused", len(keys), taken, refused)
	if len(keys) < 30 || taken < 200 || refused < 200 {
		t.Error("the test does not see what it should")
	}
}

func plainOrigin() map[string]any {
	return map[string]any{
		"name": "us", "gateway": map[string]any{"addresses": []any{"127.65.0.1:9443"}},
		"app": map[string]any{"instances": []any{map[string]any{"url": "http://127.65.0.9:3000"}}},
	}
}

// fileWith is a network file with one origin, a line for each key. JSON is YAML, but for what it has no words for.
func fileWith(t *testing.T, origin map[string]any) []byte {
	t.Helper()
	text, err := json.MarshalIndent(origin, "    ", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`"(\.nan|\.inf)"`).ReplaceAll(append([]byte(`version: 1
name: demo
pops: [{name: fra, place: {lat: 50, lon: 8}, addresses: [127.65.1.1]}]
sites: [{name: www, hosts: [www.hither.test], origin: us}]
origins:
  - `), text...), []byte("$1"))
}

// A key is one of an origin's in the network file.
type key struct {
	path string // such as app.instances[].url
	kind reflect.Type
}

// keysOf lists the keys below a struct of the file. Where a gateway stands is another test's.
func keysOf(path string, s reflect.Type) (keys []key) {
	for i := range s.NumField() {
		name, option, _ := strings.Cut(s.Field(i).Tag.Get("yaml"), ",")
		here, kind := strings.TrimPrefix(path+"."+name, "."), s.Field(i).Type
		if option == "inline" {
			here = path
		}
		switch here {
		case "name", "gateway", "gateways", "place", "shield":
			continue
		}
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct && kind.Elem().PkgPath() == s.PkgPath() {
			here, kind = here+"[]", kind.Elem()
		}
		if kind.Kind() == reflect.Struct && kind.PkgPath() == s.PkgPath() {
			keys = append(keys, keysOf(here, kind)...)
			continue
		}
		keys = append(keys, key{here, kind})
	}
	return keys
}

// set returns the origin with a value of the key.
func (k key) set(origin map[string]any, v any) map[string]any {
	path := strings.Split(k.path, ".")
	if path[0] == "app" { // one of its three
		kind := strings.TrimSuffix(path[1], "[]")
		if old, _ := origin["app"].(map[string]any); old[kind] == nil {
			least := map[string]any{
				"static": map[string]any{}, "discover": map[string]any{"dns": "app.hither.test"}, "instances": plainOrigin()["app"].(map[string]any)["instances"],
			}
			origin["app"] = map[string]any{kind: least[kind]}
		}
	}
	at := origin
	for _, name := range path[:len(path)-1] {
		if list, ok := strings.CutSuffix(name, "[]"); ok {
			at = at[list].([]any)[0].(map[string]any)
			continue
		}
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	at[path[len(path)-1]] = v
	return origin
}

// valuesOf are values of a kind: ordinary ones, those at the bounds of something, and those that mean something to somebody.
func valuesOf(kind reflect.Type) (values []any) {
	switch kind {
	case reflect.TypeFor[deploy.Duration]():
		return texts("0s", "1ms", "999ms", "1s", "5s", "5001ms", "5m", "24h", "87600h", "87601h")
	case reflect.TypeFor[deploy.Size]():
		return texts("0B", "1B", "1KiB", "8388607TiB", "8388608TiB")
	case reflect.TypeFor[netip.Prefix]():
		return texts("0.0.0.0/0", "::/0", "127.0.0.0/8", "::ffff:0.0.0.0/96")
	case reflect.TypeFor[netip.AddrPort]():
		return texts("127.65.0.1:53", "[::1]:0", "[fe80::1%eth0]:53", "0.0.0.0:53")
	}
	switch kind.Kind() {
	case reflect.Int:
		for _, n := range []int{-1, 0, 1, 2, 31, 32, 33, 64, 65, 99, 100, 101, 199, 200, 399, 400, 599, 600, 1000, 1001, 65535, 65536, 1 << 31, 1<<53 + 1} {
			values = append(values, n)
		}
	case reflect.Float64:
		values = append(values, -0.1, 0.0, 0.5, 1.0, 1.1, ".nan", ".inf")
	case reflect.Bool:
		values = append(values, true, false)
	case reflect.String:
		label := strings.Repeat("a", 62)
		values = texts("", " ", "/", "up", "/up?x=1", "/%zz", "/a b", "/\tb", "//", "/#", "/é", "*", "a,b", "a;b", "é", "\x01", "a\nb", "x-instance", "__Host-i",
			"http", "https", "tcp", "grpc", "h1", "h2", "h2c", "h3", "v1", "v2", "SRV", "A", "AAAA", "MX",
			"http://127.65.0.9:3000", "https://127.65.0.9:3000", "http://[::1]:3000", "http://[fe80::1%25eth0]:3000", "http://app", "http://app:0", "http://app:080", "http://a_b:80", "http://:80", "http://A:80",
			"app.internal", "app.internal.", "_http._tcp.app.internal", "_.app", "._a", "a_b.app", "192.0.2.1", "::1", ".", "_"+label+".app", "_"+label+"a.app", strings.Repeat("_"+label+".", 4)+"b",
			"/nowhere/at/all")
		for _, a := range []string{"p2c-ewma", "round-robin", "weighted-round-robin", "least-requests", "random", "weighted-response-time", "maglev", "bounded-hash"} {
			values = append(values, a)
		}
	case reflect.Slice:
		values = append(values, []any{})
		for _, v := range valuesOf(kind.Elem()) {
			values = append(values, []any{v}, []any{v, v})
		}
	}
	return values
}

func texts(list ...string) (values []any) {
	for _, s := range list {
		values = append(values, s)
	}
	return values
}
