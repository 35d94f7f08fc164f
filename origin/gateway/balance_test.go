package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy"
)

// instance is a server that counts what it is asked.
type instance struct {
	*httptest.Server
	asked atomic.Int64
}

func (i *instance) id() string { return i.Listener.Addr().String() }

func newInstance(t *testing.T, h http.HandlerFunc) *instance {
	t.Helper()
	i := new(instance)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/up" {
			i.asked.Add(1)
		}
		h(w, r)
	}))
	i.Config.ErrorLog = quiet
	t.Cleanup(i.Close)
	return i
}

// crowd sends GETs, so many at once, and returns how many were answered with content and status 200.
func crowd(t *testing.T, s server, workers, each int) (well int64) {
	t.Helper()
	var ok atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				res, err := s.get(t, "/")
				if body, err := whole(res, err); err == nil && res.StatusCode == 200 && body != "" {
					ok.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return ok.Load()
}

// Two instances answer at once, one with an error and one with nothing; two take their time and are good. With a word on
// what a good answer is the fast ones get next to nothing. Without, the empty one wins: so the test is known to bite.
func TestFailingFastDoesNotWin(t *testing.T) {
	const workers, each = 8, 100
	for _, expect := range []bool{true, false} {
		t.Run(fmt.Sprint("expect ", expect), func(t *testing.T) {
			work := 10 * time.Millisecond
			if !expect {
				work = 50 * time.Millisecond // much more than what a busy machine takes for an empty answer
			}
			slow := func(w http.ResponseWriter, r *http.Request) {
				select { // an application at work
				case <-time.After(work):
				case <-r.Context().Done():
				}
				io.WriteString(w, "content")
			}
			failing := newInstance(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
			empty := newInstance(t, func(w http.ResponseWriter, r *http.Request) {})
			good := []*instance{newInstance(t, slow), newInstance(t, slow)}
			keys := ""
			if expect {
				keys = "balance: {expect: {min_bytes: 1}}\n"
			}
			s := before(t, keys, failing.URL, empty.URL, good[0].URL, good[1].URL)
			well := crowd(t, s, workers, each)
			all := int64(workers * each)
			t.Logf("of %d: %d well; failing %d, empty %d, good %d and %d", all, well, failing.asked.Load(), empty.asked.Load(), good[0].asked.Load(), good[1].asked.Load())
			if !expect {
				if 3*empty.asked.Load() < all {
					t.Error("the empty answers do not win when nothing is expected")
				}
				return
			}
			if failing.asked.Load() > all/20 || empty.asked.Load() > all/20 {
				t.Error("who fails fast is asked again and again")
			}
			if well < all*95/100 {
				t.Error("clients see the bad answers")
			}
			for _, g := range good {
				if g.asked.Load() < all/5 {
					t.Error("a good one is left out")
				}
			}
		})
	}
}

// An active check takes an instance out after as many failures in a row as fall says, and in again.
func TestChecksTakeOutAndIn(t *testing.T) {
	var fail atomic.Int64 // so many checks fail
	shaky := newInstance(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" {
			if r.Host != "shop.example" {
				t.Errorf("a check for %s", r.Host)
			}
			if fail.Add(-1) >= 0 {
				w.WriteHeader(500)
				return
			}
		}
		io.WriteString(w, "ready")
	})
	steady := newInstance(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ready") })
	a := behind(t, list(shaky.URL, steady.URL)+
		"balance: {slow_start: 0s, health: {path: /up, host: shop.example, body: ready, interval: 1s, timeout: 1s, fall: 3, rise: 2}}\n")
	s := newServer(t, a)
	down := func() bool { return strings.Contains(strings.Join(a.problems(), "\n"), shaky.id()+" is down") }
	checks := func() (n uint64) {
		for _, c := range a.up.Status().Checks {
			if c.ID == shaky.id() {
				n = c.PassTotal + c.FailTotal
			}
		}
		return n
	}

	fail.Store(1) // is not enough
	until(t, "checks after one that failed", func() bool { return fail.Load() < 0 && checks() >= 5 })
	if n := a.up.Status().Balance.EjectionsTotal["checks"]; n != 0 {
		t.Errorf("taken out %d times for one check", n)
	}
	fail.Store(1 << 40)
	until(t, "down", down)
	asked := shaky.asked.Load()
	if well := crowd(t, s, 4, 20); well != 80 || shaky.asked.Load() != asked {
		t.Errorf("%d of 80 well, and who is down was asked %d times", well, shaky.asked.Load()-asked)
	}
	fail.Store(0)
	until(t, "up again", func() bool { return !down() })
	until(t, "asked again", func() bool { crowd(t, s, 4, 5); return shaky.asked.Load() > asked })
}

func TestLimitRefusesEarly(t *testing.T) {
	release := make(chan struct{})
	begun := make(chan struct{}, 10)
	app := newInstance(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-release
		io.WriteString(w, "done")
	})
	s := before(t, "limits: {total: 1, waiting: 0}\n", app.URL)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got, err := whole(s.get(t, "/")); err != nil || got != "done" {
			t.Errorf("who has the place: %q, %v", got, err)
		}
	})
	<-begun
	res, err := s.do(t, "POST", "/", &endless{closed: make(chan struct{})}) // whose content nobody reads
	if err != nil || res.StatusCode != 503 || res.Header.Get("Proxy-Status") != "us; error=connection_limit_reached" || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %v, %v", res, err)
	} else {
		drop(res)
	}
	close(release)
	wg.Wait()
}

func TestRetriesAsTheFileSays(t *testing.T) {
	for _, test := range []struct {
		keys   string
		status int // that clients see
	}{
		{"retry: {statuses: [503]}\n", 200},
		{"retry: {statuses: []}\n", 503},
		{"retry: {attempts: 0}\n", 503},
		{"retry: {percent: 0}\n", 503},
	} {
		t.Run(test.keys, func(t *testing.T) {
			bad := newInstance(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
			good := newInstance(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") })
			s := before(t, "balance: {algorithm: round-robin, eject: {consecutive: 0, max_percent: 0}}\n"+test.keys, bad.URL, good.URL)
			var seen []int
			for range 4 {
				res, err := s.get(t, "/")
				if err != nil {
					t.Fatal(err)
				}
				drop(res)
				seen = append(seen, res.StatusCode)
			}
			if (test.status == 200) == slices.Contains(seen, 503) {
				t.Errorf("statuses %v", seen)
			}
		})
	}
}

// What a cookie says of an instance is of this network: nobody who knows the origin's name finds its address by trying all.
func TestAffinityCookieIsOfTheNetwork(t *testing.T) {
	i := newInstance(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Cache-Control", "no-store") })
	var said []string
	for range 2 {
		h := newHouse(t, deploy.LocalOptions{})
		o := &Options{Name: "us", Identity: h.identity(t, "origin-us"), Log: slog.New(slog.DiscardHandler), Now: time.Now}
		s := newServer(t, behindWith(t, list(i.URL)+"balance: {affinity: {cookie: node}}\n", o))
		res, err := s.get(t, "/")
		if _, err := whole(res, err); err != nil || len(res.Cookies()) != 1 {
			t.Fatalf("%v, %v", res, err)
		}
		said = append(said, res.Cookies()[0].Value)
	}
	if said[0] == said[1] {
		t.Errorf("two networks with an origin of one name both say %s", said[0])
	}
}

// A cookie keeps a client with the instance that made its session.
func TestAffinity(t *testing.T) {
	var urls []string
	for i := range 4 {
		urls = append(urls, newInstance(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			fmt.Fprint(w, i, r.Header.Get("Cookie"))
		}).URL)
	}
	s := before(t, "balance: {affinity: {cookie: node}}\n", urls...)
	res, err := s.get(t, "/")
	first, err := whole(res, err)
	if err != nil || len(res.Cookies()) != 1 || res.Cookies()[0].Name != "node" {
		t.Fatalf("%v, %v", res, err)
	}
	for range 20 {
		got, err := whole(s.do(t, "GET", "/", nil, func(r *http.Request) { r.AddCookie(res.Cookies()[0]) }))
		if err != nil || got != first { // which shows as well that the cookie is not passed on
			t.Errorf("%q after %q, %v", got, first, err)
		}
	}
	s = before(t, "balance: {affinity: {header: X-User}}\n", urls...)
	for _, user := range []string{"a", "b", "c"} {
		seen := map[string]bool{}
		for range 10 {
			got, err := whole(s.do(t, "GET", "/", nil, func(r *http.Request) { r.Header.Set("X-User", user) }))
			if err != nil {
				t.Fatal(err)
			}
			seen[got] = true
		}
		if len(seen) != 1 {
			t.Errorf("%s was with %v", user, seen)
		}
	}
}
