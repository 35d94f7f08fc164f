package discover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// zone is a resolver with answers by "name type"; a name that it does not have does not exist.
type zone struct {
	mu      sync.Mutex
	answers map[string]Answer
	errors  map[string]error
	asked   []string
	hang    bool
}

func (z *zone) Lookup(ctx context.Context, name, qtype string) (Answer, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	key := name + " " + qtype
	z.asked = append(z.asked, key)
	if z.hang {
		z.mu.Unlock()
		<-ctx.Done()
		z.mu.Lock()
		return Answer{}, ctx.Err()
	}
	if err := z.errors[key]; err != nil {
		return Answer{}, err
	}
	if a, ok := z.answers[key]; ok {
		a.Rcode = "NOERROR"
		return a, nil
	}
	return Answer{Rcode: "NXDOMAIN"}, nil
}

func (z *zone) set(key string, a Answer, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.answers[key], z.errors[key] = a, err
}

func (z *zone) questions() (n int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return len(z.asked)
}

func addrs(s ...string) (all []netip.Addr) {
	for _, a := range s {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// watch makes a watcher; got runs it when it is called first, and returns what was handed on so far, each as addresses.
func watch(t *testing.T, cfg Config) (z *zone, w *Watcher, got func() []string) {
	t.Helper()
	z = &zone{answers: map[string]Answer{}, errors: map[string]error{}}
	cfg.Resolver = z
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []string
	run := sync.OnceFunc(func() {
		go w.Run(t.Context(), func(found []Found) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, short(found))
		})
	})
	return z, w, func() []string {
		run()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func short(found []Found) string {
	var s []string
	for _, f := range found {
		s = append(s, f.Addr.String())
	}
	return strings.Join(s, " ")
}

func TestWatchFollowsTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, w, got := watch(t, Config{Name: "app.test", Type: "A", Port: 80})
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.2", "10.0.0.1"), TTL: 20 * time.Second}, nil)
		if g := got(); fmt.Sprint(g) != "[10.0.0.1:80 10.0.0.2:80]" {
			t.Fatalf("found %q", g)
		}
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.1", "10.0.0.2"), TTL: 20 * time.Second}, nil)
		time.Sleep(60 * time.Second)
		if g := got(); len(g) != 1 {
			t.Errorf("the same in another order was handed on: %q", g)
		}
		if n := z.questions(); n < 3 || n > 4 {
			t.Errorf("%d questions in a minute with a TTL of 20 s, want 3 or 4", n)
		}
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.3"), TTL: 0}, nil)
		time.Sleep(22 * time.Second)
		if g := got(); g[len(g)-1] != "10.0.0.3:80" {
			t.Errorf("the answer changed, and %q was handed on", g)
		}
		n := z.questions()
		time.Sleep(60 * time.Second)
		if n = z.questions() - n; n < 10 || n > 14 {
			t.Errorf("%d questions in a minute with a TTL of 0, want one in 5 s", n)
		}
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.3"), TTL: 24 * time.Hour}, nil)
		time.Sleep(10 * time.Second)
		n = z.questions()
		time.Sleep(20 * time.Minute)
		if n = z.questions() - n; n < 3 || n > 5 {
			t.Errorf("%d questions in 20 minutes with a TTL of a day, want one in 5 minutes", n)
		}
		s := w.Status()
		if s.LookupsTotal["ok"] != uint64(z.questions()) || len(s.Found) != 1 || s.Looked.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestWatchNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, w, got := watch(t, Config{Name: "app.test", Type: "A", Port: 80})
		z.set("app.test A", Answer{}, errors.New("SERVFAIL"))
		got()
		if time.Sleep(7 * time.Second); len(got()) != 0 {
			t.Errorf("no answer yet, and %q was handed on", got())
		}
		if n := z.questions(); n < 3 {
			t.Errorf("%d questions in the first seven seconds, want one after 1, 2 and 4", n)
		}
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.1"), TTL: time.Minute}, nil)
		time.Sleep(time.Minute)
		z.set("app.test A", Answer{}, errors.New("SERVFAIL"))
		time.Sleep(100 * time.Minute)
		n := z.questions()
		time.Sleep(100 * time.Minute)
		if g := got(); fmt.Sprint(g) != "[10.0.0.1:80]" {
			t.Errorf("no answer for hours: handed on %q", g)
		}
		if n = z.questions() - n; n < 90 || n > 112 {
			t.Errorf("%d questions in 100 minutes without an answer, want one in a minute", n)
		}
		if s := w.Status(); s.Error != "SERVFAIL" || len(s.Found) != 1 || s.LookupsTotal["error"] < 100 {
			t.Errorf("status %+v", s)
		}
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.2"), TTL: time.Minute}, nil)
		time.Sleep(70 * time.Second)
		if s := w.Status(); s.Error != "" || short(s.Found) != "10.0.0.2:80" {
			t.Errorf("it answers again: %+v", s)
		}
		z.mu.Lock()
		z.hang = true
		z.mu.Unlock()
		time.Sleep(time.Hour)
		if s := w.Status(); s.Error != context.DeadlineExceeded.Error() {
			t.Errorf("a resolver that hangs: %+v", s)
		}
	})
}

func TestWatchNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, w, got := watch(t, Config{Name: "app.test", Type: "A", Port: 80})
		if g := got(); fmt.Sprint(g) != "[]" || len(g) != 1 {
			t.Errorf("a name that never was: handed on %q, want nothing, once", g)
		}
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.1"), TTL: 5 * time.Second}, nil)
		time.Sleep(20 * time.Second)
		// Gone for 20 seconds, as when a name server is restarted.
		z.set("app.test A", Answer{}, nil)
		time.Sleep(20 * time.Second)
		s := w.Status()
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.1"), TTL: 5 * time.Second}, nil)
		time.Sleep(20 * time.Second)
		if g := got(); len(g) != 2 || g[1] != "10.0.0.1:80" {
			t.Errorf("gone for 20 s: handed on %q", g)
		}
		if len(s.Found) != 1 || len(s.Problems) != 1 {
			t.Errorf("status meanwhile %+v", s)
		}
		z.set("app.test A", Answer{}, nil)
		time.Sleep(29 * time.Second)
		if g := got(); len(g) != 2 {
			t.Errorf("gone for less than 30 s: handed on %q", g)
		}
		time.Sleep(12 * time.Second)
		if g := got(); len(g) != 3 || g[2] != "" {
			t.Errorf("gone for more than 30 s and three answers: handed on %q", g)
		}
		// Two answers are no three, however long they are apart.
		z.set("app.test A", Answer{Addrs: addrs("10.0.0.1"), TTL: 5 * time.Minute}, nil)
		time.Sleep(6 * time.Minute)
		empty := w.Status().LookupsTotal["empty"]
		z.set("app.test A", Answer{TTL: time.Hour}, nil)
		for w.Status().LookupsTotal["empty"] == empty {
			time.Sleep(time.Second)
		}
		z.set("app.test A", Answer{}, errors.New("SERVFAIL"))
		time.Sleep(5 * time.Minute)
		z.set("app.test A", Answer{TTL: time.Hour}, nil)
		for w.Status().LookupsTotal["empty"] == empty+1 {
			time.Sleep(time.Second)
		}
		if s := w.Status(); len(s.Found) != 1 {
			t.Errorf("after two empty answers: %+v", s)
		}
		if time.Sleep(time.Minute); len(w.Status().Found) != 0 {
			t.Errorf("after a minute of them: %+v", w.Status())
		}
	})
}

func TestWatchThousand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var thousand []netip.Addr
		for i := range 1000 {
			thousand = append(thousand, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		found := func(node string, drop int) []string {
			z, w, got := watch(t, Config{Name: "app.test", Type: "A", Port: 80, Node: node})
			z.set("app.test A", Answer{Addrs: slices.Delete(slices.Clone(thousand), drop, drop+1), TTL: time.Minute}, nil)
			g := strings.Fields(got()[0])
			if s := w.Status(); len(g) != 64 || s.LookupsTotal["truncated"] != 1 || len(s.Problems) != 1 {
				t.Errorf("%d used, %v", len(g), s)
			}
			return g
		}
		a := found("edge-fra", 0)
		i := slices.IndexFunc(thousand, func(x netip.Addr) bool { return netip.AddrPortFrom(x, 80).String() == a[0] })
		b, other := found("edge-fra", i), found("edge-iad", 0)
		if same := common(a, b); same != 63 {
			t.Errorf("one of those used is gone: %d of the other 63 stay", same)
		}
		if same := common(a, other); same > 20 {
			t.Errorf("two nodes share %d of 64, of a thousand", same)
		}
	})
}

func common(a, b []string) (n int) {
	for _, s := range a {
		if slices.Contains(b, s) {
			n++
		}
	}
	return n
}

func TestWatchNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := addrs("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1", "255.255.255.255", "ff02::1")
		z, w, got := watch(t, Config{Name: "app.test", Type: "A", Port: 80})
		z.set("app.test A", Answer{Addrs: append(addrs("10.0.0.1", "192.168.1.1", "203.0.113.9", "2001:db8::1", "fd00::1"), bad...), TTL: 5 * time.Second}, nil)
		if g := got(); g[0] != "10.0.0.1:80 192.168.1.1:80 203.0.113.9:80 [2001:db8::1]:80 [fd00::1]:80" {
			t.Errorf("used %q", g)
		}
		if s := w.Status(); s.LookupsTotal["refused"] != 1 || len(s.Problems) != 4 || !strings.Contains(s.Problems[3], "8 more") {
			t.Errorf("status %+v", s)
		}
		// Nothing but loopback is like nothing: what was used stays for a while, and then nothing is used.
		z.set("app.test A", Answer{Addrs: bad, TTL: 5 * time.Second}, nil)
		if time.Sleep(20 * time.Second); len(got()) != 1 {
			t.Errorf("only forbidden ones for 20 s: %q", got())
		}
		if time.Sleep(30 * time.Second); len(got()) != 2 || got()[1] != "" {
			t.Errorf("only forbidden ones for 50 s: %q", got())
		}

		z, _, got = watch(t, Config{Name: "app.test", Type: "A", Port: 80, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		z.set("app.test A", Answer{Addrs: addrs("127.0.0.1", "10.0.0.1", "::ffff:127.0.0.2"), TTL: 5 * time.Second}, nil)
		if g := got(); g[0] != "127.0.0.1:80 127.0.0.2:80" {
			t.Errorf("with 127.0.0.0/8 alone: %q", g)
		}
	})
}

func TestWatchSRV(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, w, got := watch(t, Config{Name: "_http._tcp.app.test", Type: "SRV"})
		z.set("_http._tcp.app.test SRV", Answer{TTL: 10 * time.Second, Services: []Service{
			{Target: "A.test.", Port: 81, Priority: 1, Weight: 5},
			{Target: "b.test.", Port: 82, Priority: 0, Weight: 0},
			{Target: "a.test.", Port: 83, Priority: 2, Weight: 1},
			{Target: "none.test.", Port: 84},
		}}, nil)
		z.set("a.test. A", Answer{Addrs: addrs("10.0.0.1"), TTL: time.Minute}, nil)
		z.set("a.test. AAAA", Answer{Addrs: addrs("2001:db8::1"), TTL: time.Minute}, nil)
		z.set("b.test. A", Answer{}, errors.New("SERVFAIL")) // one family is enough
		z.set("b.test. AAAA", Answer{Addrs: addrs("2001:db8::2"), TTL: time.Minute}, nil)
		if g := got(); g[0] != "10.0.0.1:81 10.0.0.1:83 [2001:db8::1]:81 [2001:db8::1]:83 [2001:db8::2]:82" {
			t.Errorf("found %q", g)
		}
		for _, f := range w.Status().Found {
			if want := map[uint16]Found{81: {Weight: 5, Priority: 1}, 82: {Weight: 1}, 83: {Weight: 1, Priority: 2}}[f.Addr.Port()]; f.Weight != want.Weight || f.Priority != want.Priority {
				t.Errorf("%+v, want weight %d and priority %d", f, want.Weight, want.Priority)
			}
		}
		n := 0
		for _, q := range z.asked { // nobody asks now
			if q == "a.test. A" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("a target of two records was asked for %d times", n)
		}
		// A target that cannot be looked up keeps its addresses, the others change.
		z.set("a.test. A", Answer{}, errors.New("timeout"))
		z.set("a.test. AAAA", Answer{}, errors.New("timeout"))
		z.set("b.test. AAAA", Answer{Addrs: addrs("2001:db8::3"), TTL: time.Minute}, nil)
		time.Sleep(12 * time.Second)
		if g := got(); g[len(g)-1] != "10.0.0.1:81 10.0.0.1:83 [2001:db8::1]:81 [2001:db8::1]:83 [2001:db8::3]:82" {
			t.Errorf("one target has no answer: %q", g)
		}
		time.Sleep(time.Hour)
		if g := got(); len(g) != 2 {
			t.Errorf("an hour later: %q", g)
		}
		// "." is the operator's word that there is nothing; it is believed like any empty answer.
		z.set("_http._tcp.app.test SRV", Answer{TTL: 10 * time.Second, Services: []Service{{Target: "."}}}, nil)
		time.Sleep(50 * time.Second)
		if g := got(); g[len(g)-1] != "" || len(g) != 3 {
			t.Errorf("the service is decidedly not available: %q", g)
		}
		// A thousand targets are not a thousand questions.
		var many []Service
		for i := range 1000 {
			many = append(many, Service{Target: fmt.Sprintf("t%d.test.", i), Port: 80, Priority: uint16(i % 2)})
			z.set(fmt.Sprintf("t%d.test. A", i), Answer{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}, TTL: time.Minute}, nil)
		}
		before := z.questions()
		z.set("_http._tcp.app.test SRV", Answer{TTL: time.Minute, Services: many}, nil)
		time.Sleep(17 * time.Second)
		found := w.Status().Found
		if len(found) != 64 || slices.ContainsFunc(found, func(f Found) bool { return f.Priority != 0 }) {
			t.Errorf("of a thousand targets: %d, %v", len(found), found)
		}
		if n := z.questions() - before; n > 140 {
			t.Errorf("%d questions for a thousand targets", n)
		}
	})
}

func TestNewChecks(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Name: "app.test", Type: "A"}, "needs a port"},
		{Config{Name: "", Type: "SRV"}, "no name"},
		{Config{Name: "a..b", Type: "SRV"}, "no name"},
		{Config{Name: "10.0.0.1", Type: "A", Port: 80}, "an address"},
		{Config{Name: "app.test", Type: "MX"}, "none of"},
		{Config{Name: "app.test", Type: "SRV", Most: -1}, "at most"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
	if _, err := New(Config{Name: "_http._tcp.app.test", Type: "SRV"}); err != nil {
		t.Error(err)
	}
}

// Whatever is found, what is used is inside the networks, unique, in order, not too much, and does not depend on the order
// of the answer.
func TestChooseProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, err := New(Config{Name: "app.test", Type: "A", Port: 1, Most: rapid.IntRange(1, 8).Draw(t, "most"), Node: "n"})
		if err != nil {
			t.Fatal(err)
		}
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Found {
			a := netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{10, 127, 224}).Draw(t, "net"), 0, 0, rapid.Byte().Draw(t, "host")})
			return Found{
				Addr: netip.AddrPortFrom(a, uint16(rapid.IntRange(1, 2).Draw(t, "port"))), Weight: rapid.IntRange(1, 3).Draw(t, "weight"),
				Priority: rapid.IntRange(0, 2).Draw(t, "priority"), Target: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "target"),
			}
		}), 0, 30).Draw(t, "found")
		use, _, _ := w.choose(all)
		if len(use) > w.cfg.Most {
			t.Fatalf("%d used of at most %d", len(use), w.cfg.Most)
		}
		for i, f := range use {
			if !f.Addr.Addr().IsPrivate() || i > 0 && use[i-1].Addr.Compare(f.Addr) >= 0 {
				t.Fatalf("used %v", use)
			}
			for _, g := range all {
				if g.Addr == f.Addr && g.Priority < f.Priority {
					t.Fatalf("%v has a lower priority: %v", f, g)
				}
			}
		}
		again, _, _ := w.choose(rapid.Permutation(all).Draw(t, "other order"))
		if !slices.Equal(use, again) {
			t.Fatalf("in another order %v, was %v", again, use)
		}
	})
}
