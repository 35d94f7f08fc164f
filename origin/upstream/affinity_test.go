package upstream

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hither/origin/balance"
	"hither/origin/pool"
)

// client keeps cookies, as a browser does.
type client struct {
	t       *testing.T
	u       *bench
	cookies []string
}

// get returns who answered and what Set-Cookie it came with.
func (c *client) get(path string) (who, set string) {
	c.t.Helper()
	r := request(c.t, "GET", path, nil)
	if len(c.cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(c.cookies, "; "))
	}
	res, err := c.u.RoundTrip(r)
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body.Close()
	if set = res.Header.Get("Set-Cookie"); set != "" {
		pair, _, _ := strings.Cut(set, ";")
		name, _, _ := strings.Cut(pair, "=")
		var kept []string
		for _, k := range c.cookies {
			if !strings.HasPrefix(k, name+"=") {
				kept = append(kept, k)
			}
		}
		c.cookies = append(kept, pair)
	}
	return res.Header.Get("From"), set
}

// named is an instance that says who it is, privately.
func named(t *testing.T, id string) func(int, *http.Request) (*http.Response, error) {
	return func(_ int, req *http.Request) (*http.Response, error) {
		if c := req.Header.Get("Cookie"); strings.Contains(c, "at=") {
			t.Errorf("%s has seen our cookie: %s", id, c)
		}
		return answers(200, "", "From: "+id, "Cache-Control: private", "Saw: "+req.Header.Get("Cookie"))
	}
}

func TestCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := answer{}
		for _, id := range []string{"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"} {
			a[id] = named(t, id)
		}
		u := over(t, a, func(cfg *Config) { cfg.Affinity = Affinity{Cookie: "at", Rebalance: time.Hour} })
		c := &client{t: t, u: u, cookies: []string{"theme=dark"}}
		first, set := c.get("/")
		if want := "; Path=/; HttpOnly; Secure; SameSite=Lax"; !strings.HasSuffix(set, want) || strings.Contains(set, "10.1") {
			t.Errorf("%q does not end in %q, or tells the address", set, want)
		}
		for range 10 {
			if who, set := c.get("/"); who != first || set != "" {
				t.Errorf("moved from %s to %s, with %q", first, who, set)
			}
		}
		if r := request(t, "GET", "/", nil); true {
			r.Header["Cookie"] = []string{"theme=dark; at=x;odd", c.cookies[1]}
			res, err := u.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.Header.Get("From") != first || res.Header.Get("Saw") != "theme=dark; odd" {
				t.Errorf("%v", res.Header)
			}
			if got := r.Header["Cookie"]; len(got) != 2 || got[0] != "theme=dark; at=x;odd" {
				t.Errorf("the caller's request has changed: %q", got)
			}
			e := u.Explain(r)
			if e.Affinity.Wanted != first || !strings.Contains(e.Sentence, "the cookie names "+first) {
				t.Errorf("%+v", e)
			}
		}

		// After an hour the client is anybody's again.
		time.Sleep(time.Hour + time.Second)
		if _, set := c.get("/"); set == "" {
			t.Error("the cookie holds for ever")
		}
		// Where its instance has gone it goes elsewhere, and stays there.
		first, _ = c.get("/")
		var rest []Instance
		for id := range a {
			if id != first {
				rest = append(rest, instance(id))
			}
		}
		if err := u.Set(rest); err != nil {
			t.Fatal(err)
		}
		second, set := c.get("/")
		if second == first || set == "" {
			t.Errorf("at %s after %s, with %q", second, first, set)
		}
		if third, set := c.get("/"); third != second || set != "" {
			t.Errorf("at %s after %s, with %q", third, second, set)
		}
	})
}

// The client follows to the instance that answered when its own failed.
func TestCookieAfterRetry(t *testing.T) {
	refused := false
	u := over(t, answer{"a": func(n int, req *http.Request) (*http.Response, error) {
		if refused {
			return fails(pool.KindRefused, true)
		}
		return named(t, "a")(n, req)
	}, "b": named(t, "b")}, func(cfg *Config) { cfg.Affinity.Cookie = "at" })
	c := &client{t: t, u: u}
	if who, _ := c.get("/"); who != "a" {
		t.Fatal(who)
	}
	refused = true
	if who, set := c.get("/"); who != "b" || set == "" {
		t.Error(who, set)
	}
	refused = false
	if who, set := c.get("/"); who != "b" || set != "" {
		t.Error(who, set)
	}
}

// A cookie comes only with what no shared cache may store.
func TestCookieAndCaches(t *testing.T) {
	for _, c := range []struct {
		method, auth string
		fields       string
		set          bool
	}{
		{"GET", "", "", false},
		{"GET", "", "Cache-Control: max-age=60", false},
		{"GET", "", "Cache-Control: no-cache", false},
		{"GET", "", "Cache-Control: private", true},
		{"GET", "", "Cache-Control: PRIVATE , max-age=60", true},
		{"GET", "", `Cache-Control: private="Set-Cookie", max-age=60`, false},
		{"GET", "", "Cache-Control: no-store", true},
		{"GET", "", "Cache-Control: private|Cdn-Cache-Control: max-age=60", false},
		{"GET", "", "Cache-Control: private|Surrogate-Control: max-age=60", false},
		{"GET", "", "Cache-Control: max-age=60|Set-Cookie: session=1", true},
		{"HEAD", "", "", false},
		{"POST", "", "", true},
		{"GET", "Basic eA==", "", true},
		{"GET", "Basic eA==", "Cache-Control: public", false},
		{"GET", "Basic eA==", "Cache-Control: s-maxage=60", false},
	} {
		u := over(t, answer{"a": says(200, "", strings.Split(c.fields, "|")...)}, func(cfg *Config) { cfg.Affinity.Cookie = "at" })
		r := request(t, c.method, "/", nil)
		if c.auth != "" {
			r.Header.Set("Authorization", c.auth)
		}
		res, err := u.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := strings.Contains(strings.Join(res.Header["Set-Cookie"], " "), "at="); got != c.set {
			t.Errorf("%s %s %q: cookie %v, want %v", c.method, c.auth, c.fields, got, c.set)
		}
	}
}

// The key decides what a cookie says, so that nodes with the same one agree and nobody else can tell.
func TestCookieKey(t *testing.T) {
	token := func(key string) string {
		return over(t, answer{"a": says(200, "")}, func(cfg *Config) { cfg.Affinity.Key = []byte(key) }).token("a")
	}
	if same := token("k"); same != token("k") || same == token("l") || token("") == token("l") {
		t.Error("tokens do not follow their key")
	}
}

func TestHeader(t *testing.T) {
	a := answer{}
	for _, id := range []string{"a", "b", "c", "d"} {
		a[id] = says(200, id)
	}
	u := over(t, a, func(cfg *Config) { cfg.Affinity.Header = "X-User" })
	all := map[string]bool{}
	for _, user := range strings.Split("abcdefghijklmnopqrst", "") {
		at := map[string]bool{}
		for range 3 {
			r := request(t, "GET", "/", nil)
			r.Header.Set("X-User", user)
			at[said(fetch(u, r))] = true
		}
		if len(at) != 1 {
			t.Errorf("user %s was at %v", user, at)
		}
		for k := range at {
			all[k] = true
		}
	}
	if len(all) < 3 {
		t.Errorf("all users are at %v", all)
	}
}

// A hash without a field is of the host and the path.
func TestHash(t *testing.T) {
	a := answer{}
	for _, id := range []string{"a", "b", "c", "d"} {
		a[id] = says(200, id)
	}
	u := over(t, a, func(cfg *Config) { cfg.Balance = balance.Config{Algorithm: "maglev"} })
	all := map[string]bool{}
	for _, path := range strings.Split("abcdefghijklmnopqrst", "") {
		first := said(fetch(u, request(t, "GET", "/"+path, nil)))
		if again := said(fetch(u, request(t, "GET", "/"+path, nil))); again != first {
			t.Errorf("/%s is at %s and %s", path, first, again)
		}
		all[first] = true
	}
	if len(all) < 3 {
		t.Errorf("all paths are at %v", all)
	}
}

// Whatever a client sends as cookies, ours does not reach the instance and the others do.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"", "at=x", "a=b; at=x; c=d", "at=;at", " at = x", "at=\"a;b\"", ";;", "xat=1;at=2;ata=3"} {
		f.Add(s, s)
	}
	u := over(f, answer{"a": says(200, "")}, func(cfg *Config) { cfg.Affinity = Affinity{Cookie: "at", Rebalance: time.Hour} })
	f.Fuzz(func(t *testing.T, one, two string) {
		r := &http.Request{Header: http.Header{"Cookie": {one, two}, "Other": {"x"}}}
		if got := u.wanted(r); got != "" && got != "a" {
			t.Errorf("wants %q", got)
		}
		out := u.outgoing(r)
		pairs := func(h http.Header, ours bool) (all []string) {
			for _, field := range h["Cookie"] {
				for _, p := range strings.Split(field, ";") {
					if p = strings.Trim(p, " \t"); p != "" && strings.HasPrefix(p, "at=") == ours {
						all = append(all, p)
					}
				}
			}
			return all
		}
		if got := pairs(out.Header, true); len(got) > 0 {
			t.Errorf("%q reach the instance", got)
		}
		if got, want := pairs(out.Header, false), pairs(r.Header, false); !slices.Equal(got, want) || out.Header.Get("Other") != "x" {
			t.Errorf("%q reach the instance, want %q", got, want)
		}
	})
}
