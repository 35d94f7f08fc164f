package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"hither/deploy"
)

// origin is the origin us of a network file that says that of it: the keys of an origin, in lines.
func origin(t *testing.T, keys string) *deploy.Origin {
	t.Helper()
	n, err := deploy.Parse("network.yaml", []byte(`version: 1
name: demo
pops:
  - {name: fra, place: {lat: 50.11, lon: 8.68}, addresses: [192.0.2.1]}
origins:
  - name: us
    gateway: {addresses: ["192.0.2.3:9443"]}
    `+strings.ReplaceAll(strings.TrimSpace(keys), "\n", "\n    ")+`
sites:
  - {name: www, hosts: [www.hither.test], origin: us}
`))
	if err != nil {
		t.Fatal(err)
	}
	return n.Origin("us")
}

// list is the key app for instances, each what is in the braces, or a URL alone.
func list(instances ...string) string {
	for i, in := range instances {
		if !strings.Contains(in, ": ") {
			instances[i] = fmt.Sprintf("url: %q", in)
		}
	}
	return "app: {instances: [{" + strings.Join(instances, "}, {") + "}]}\n"
}

// behind is the application of an origin, until the test ends.
func behind(t *testing.T, keys string) *application {
	t.Helper()
	return behindWith(t, keys, &Options{Name: "us", Log: slog.New(slog.DiscardHandler), Now: time.Now})
}

func behindWith(t *testing.T, keys string, o *Options) *application {
	t.Helper()
	a, err := newApplication(origin(t, keys), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.close() })
	return a
}

// before is a gateway in front of the given instances, with further keys of the origin.
func before(t *testing.T, keys string, instances ...string) server {
	t.Helper()
	return newServer(t, behind(t, list(instances...)+keys))
}

// until waits for something to become true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := deadline(t); !is(); {
		select {
		case <-end.Done():
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// drop reads and forgets.
func drop(res *http.Response) {
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
}
