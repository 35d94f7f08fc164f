//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A manner is how an instance answers requests.
type manner struct {
	status int           // 200 with content, or any other without
	empty  bool          // a 200 with nothing in it
	after  time.Duration // until it answers
	sick   bool          // it fails its checks too
	once   bool          // it ends a connection after its answer
}

// An instance is one of an application's HTTP servers, in the test's process. It counts
// what arrives, whoever has sent it.
type instance struct {
	name     string
	url      string
	manner   atomic.Pointer[manner]
	requests atomic.Int64
	checks   atomic.Int64
}

// checkPath is what active checks of instances ask for.
const checkPath = "/health"

// newInstance serves on a loopback address.
func newInstance(t *testing.T, name, address string, m manner) *instance {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{name: name, url: "http://" + ln.Addr().String()}
	in.manner.Store(&m)
	srv := &http.Server{Handler: in}
	done := make(chan struct{})
	go func() {
		srv.Serve(ln)
		close(done)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return in
}

func (in *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := in.manner.Load()
	if r.URL.Path == checkPath {
		in.checks.Add(1)
		if m.sick {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	in.requests.Add(1)
	w.Header().Set("Cache-Control", "no-store")
	if m.once {
		w.Header().Set("Connection", "close")
	}
	select {
	case <-time.After(m.after):
	case <-r.Context().Done():
		return
	}
	switch {
	case m.status != http.StatusOK:
		w.WriteHeader(m.status)
	case !m.empty:
		w.Write(line(r.URL.Path))
	}
}

// line is what an instance answers to a path. It fits one segment with its field section:
// no instance can end in the middle of it.
func line(path string) []byte { return []byte("here is " + path + "\n") }

// isLine says how an answer differs from what a good instance gives.
func isLine(path string, a answer) error {
	if a.status != http.StatusOK || !bytes.Equal(a.body, line(path)) {
		return fmt.Errorf("%s: status %d with %d bytes; %v", path, a.status, len(a.body), a.header)
	}
	return nil
}

// arrived is what has arrived at each instance: requests and checks.
func arrived(all []*instance) map[string]int64 {
	n := map[string]int64{}
	for _, in := range all {
		n[in.name] = in.requests.Load() + in.checks.Load()
	}
	return n
}

// since is the growth of counts.
func since(before, now map[string]int64) map[string]int64 {
	n := map[string]int64{}
	for name := range now {
		n[name] = now[name] - before[name]
	}
	return n
}

// What the example says of the origin's application and of balance.
const (
	exampleApp     = `static: {folder: "", cache_control: "public, max-age=60"}`
	exampleBalance = `balance: {algorithm: p2c-ewma}`
)

// A listed instance is one as the network file has it.
type listed struct {
	url  string
	more string // further keys: "weight: 0, protocol: h2c"
}

// instancesKey is the key `instances` of the network file, in one line.
func instancesKey(list ...listed) string {
	var text []string
	for _, l := range list {
		one := fmt.Sprintf("url: %q", l.url)
		if l.more != "" {
			one += ", " + l.more
		}
		text = append(text, "{"+one+"}")
	}
	return "instances: [" + strings.Join(text, ", ") + "]"
}

// urls lists instances as they are.
func urls(all []*instance) (list []listed) {
	for _, in := range all {
		list = append(list, listed{url: in.url})
	}
	return list
}

// change puts one text of the network file in another's place, and waits until the
// origin has taken the file.
func (n *network) change(t *testing.T, old, now string) {
	t.Helper()
	before := n.status(t, "origin-us").Revision
	n.put(t, edited(t, n.file(t), old, now))
	n.reload(t, "network file read again")
	// `up` passes the signal on and does not wait for each node's word.
	if !until(10*time.Second, func() bool { return n.status(t, "origin-us").Revision > before }) {
		s := n.status(t, "origin-us")
		t.Fatalf("the origin has not taken the file with %s; its problems: %q", now, s.Problems)
	}
}
