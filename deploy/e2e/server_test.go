//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serverWord is the first argument by which this program is told to be a server instead
// of running tests.
const serverWord = "serve-as-instance"

// servedAfter is how long a server has a request: so long that it can be killed with it.
const servedAfter = 100 * time.Millisecond

// longPath begins the paths whose answers come in two halves, longAfter between them: as
// long as it takes that an instance is removed meanwhile.
const (
	longPath  = "/long/"
	longAfter = 3 * time.Second
)

// asServer is an instance with a process of its own, so that it can be killed as one. It
// writes a line for each request before it answers; what is in the pipe outlives it.
func asServer(address string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == checkPath {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Println(r.Method, r.URL.Path)
		w.Header().Set("Cache-Control", "no-store")
		if strings.HasPrefix(r.URL.Path, longPath) {
			w.Write(line(r.URL.Path))
			http.NewResponseController(w).Flush()
			<-time.After(longAfter)
		}
		<-time.After(servedAfter)
		w.Write(line(r.URL.Path))
	})}
	context.AfterFunc(ctx, func() { srv.Shutdown(context.Background()) })
	fmt.Println("listens")
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Serve returns when Shutdown begins. The second call returns when all are answered.
	srv.Shutdown(context.Background())
	return 0
}

// A server is an instance with a process of its own, or several, one after the other.
type server struct {
	name, address string
	lives         []*process
}

// newServer starts a server.
func newServer(t *testing.T, name, address string) *server {
	t.Helper()
	s := &server{name: name, address: address}
	s.start(t)
	return s
}

func (s *server) url() string { return "http://" + s.address }

// start starts a process, when there is none.
func (s *server) start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, self, serverWord, s.address)
	s.lives = append(s.lives, p)
	if !p.stdout.wait(10*time.Second, "listens", 1) {
		t.Fatalf("server %s does not listen: %s", s.name, p.stderr)
	}
}

// signal sends a signal to the process, and waits for its end.
func (s *server) signal(t *testing.T, sig syscall.Signal) (status int) {
	t.Helper()
	p := s.lives[len(s.lives)-1]
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	return p.status(t)
}

// endWith ends the process by a signal while it has a request that may be sent again.
func (s *server) endWith(t *testing.T, sig syscall.Signal, status int) {
	t.Helper()
	p := s.lives[len(s.lives)-1]
	if !p.stdout.wait(10*time.Second, "\n"+http.MethodGet+" ", p.stdout.count("\n"+http.MethodGet+" ")+1) {
		t.Errorf("server %s gets no request", s.name)
	}
	if got := s.signal(t, sig); got != status {
		t.Errorf("server %s ended with status %d, not %d", s.name, got, status)
	}
}

// arrived lists the requests that have arrived in all lives: "GET /a".
func (s *server) arrived() (all []string) {
	for _, p := range s.lives {
		for l := range strings.Lines(p.stdout.String()) {
			if l = strings.TrimSuffix(l, "\n"); l != "listens" {
				all = append(all, l)
			}
		}
	}
	return all
}

// gets waits until so many further requests have arrived.
func (s *server) gets(t *testing.T, count int) {
	t.Helper()
	from := len(s.arrived())
	if !until(20*time.Second, func() bool { return len(s.arrived()) >= from+count }) {
		t.Errorf("server %s got %d requests, not %d", s.name, len(s.arrived())-from, count)
	}
}

// gotNone fails the test if a request arrives while so many are answered. What was on
// its way may arrive before.
func (s *server) gotNone(t *testing.T, l *traffic, count int) {
	t.Helper()
	l.further(t, l.rate/5)
	before := s.arrived()
	l.further(t, count)
	if now := s.arrived(); len(now) != len(before) {
		t.Errorf("server %s got %d requests more: %q", s.name, len(now)-len(before), now[len(before):min(len(now), len(before)+5)])
	}
}

// posts compares the POSTs that arrived with those that were answered: which arrived
// more than once, and which were answered without having arrived. Repeated is how many
// other requests arrived more than once, as they may.
func posts(arrived, answered []string) (wrong []string, repeated int) {
	times := map[string]int{}
	for _, a := range arrived {
		switch times[a]++; {
		case times[a] != 2:
		case strings.HasPrefix(a, http.MethodPost+" "):
			wrong = append(wrong, a+" arrived more than once")
		default:
			repeated++
		}
	}
	for _, a := range answered {
		if times[a] == 0 {
			wrong = append(wrong, a+" was answered and has not arrived")
		}
	}
	return wrong, repeated
}
