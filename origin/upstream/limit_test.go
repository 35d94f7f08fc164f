package upstream

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hither/origin/balance"
	"hither/origin/limit"
)

// How long a place is held: to the first byte where the limit is found from that, else to the end of the content or until
// its reader lets the origin wait.
func TestPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		u := over(t, answer{"a": func(int, *http.Request) (*http.Response, error) {
			res, err := answers(200, "")
			res.Body, res.ContentLength = r, -1
			return res, err
		}}, func(cfg *Config) { cfg.Limit = &limit.Config{Concurrent: 5} })
		in := func(want int, when string) {
			t.Helper()
			if n := u.Status().Limit.In; n != want {
				t.Errorf("%d places are taken %s, want %d", n, when, want)
			}
		}
		res, err := u.RoundTrip(request(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		in(1, "after the header")
		go w.Write([]byte("x"))
		res.Body.Read(make([]byte, 1))
		time.Sleep(900 * time.Millisecond)
		in(1, "while the reader is away for a moment")
		go func() {
			time.Sleep(5 * time.Second)
			w.Write([]byte("x"))
		}()
		go func() {
			time.Sleep(4 * time.Second)
			in(1, "while the reader waits for the origin")
		}()
		res.Body.Read(make([]byte, 1))
		time.Sleep(3 * time.Second)
		in(0, "when the reader is away")
		res.Body.Close()

		u.ChangeLimit(limit.Config{})
		r, w = io.Pipe()
		res, err = u.RoundTrip(request(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		in(0, "after the header, with an adaptive limit")
		res.Body.Close()
	})
}

// An adaptive limit does not stand still because a hundred clients listen to something without an end.
func TestEventStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := over(t, answer{"a": func(_ int, req *http.Request) (*http.Response, error) {
			res, err := answers(200, "")
			r, w := io.Pipe()
			go func() { <-req.Context().Done(); w.Close() }()
			res.Body, res.ContentLength = r, -1
			return res, err
		}}, func(cfg *Config) { cfg.Limit = &limit.Config{Waiting: 10} })
		for range 100 {
			res, err := u.RoundTrip(request(t, "GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
		}
	})
}

// An answer of unknown length of which something is expected is good for the limit when content has come.
func TestPendingSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := ""
		u := over(t, answer{"a": func(int, *http.Request) (*http.Response, error) {
			time.Sleep(50 * time.Millisecond)
			res, err := answers(200, content)
			res.ContentLength = -1
			return res, err
		}}, func(cfg *Config) { cfg.Limit, cfg.Balance.Expect = &limit.Config{}, balance.Expect{MinBytes: 1} })
		for _, c := range []struct {
			content string
			good    int
		}{{"", 0}, {"something", 10}} {
			content = c.content
			for range 20 { // so that the last window has nothing else
				get(t, u)
			}
			if w := u.Status().Limit.Last; w.Good != c.good || w.Requests != 10 {
				t.Errorf("content %q: %d of %d are good", content, w.Good, w.Requests)
			}
		}
	})
}

// Which answers make an adaptive limit fall: those of an origin that has enough to do as a whole.
func TestBackpressure(t *testing.T) {
	full := []string{"Retry-After: 3", "Proxy-Status: us; error=connection_limit_reached"}
	share := func(percent int, bad func(int, *http.Request) (*http.Response, error)) func(int, *http.Request) (*http.Response, error) {
		return func(n int, req *http.Request) (*http.Response, error) {
			time.Sleep(20 * time.Millisecond)
			if n*percent%100 < percent {
				return bad(n, req)
			}
			return answers(200, "")
		}
	}
	for _, c := range []struct {
		name  string
		a, b  func(int, *http.Request) (*http.Response, error)
		floor bool
	}{
		{"one client in three has asked too often", share(33, says(429, "", "Retry-After: 2")), nil, false},
		{"one page in three is closed", share(33, says(503, "", "Retry-After: 2")), nil, false},
		{"one request in three fails", share(33, says(503, "")), nil, false},
		{"maintenance", says(503, "", "Retry-After: 3600"), nil, false},
		{"a gateway refuses one in three", share(33, says(503, "", full...)), nil, true},
		{"most are refused", share(70, says(503, "", "Retry-After: 2")), nil, true},
		{"one of two is busy", says(503, "", full...), share(0, nil), false},
		{"both are", says(503, "", full...), says(503, "", full...), true},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := answer{"a": c.a}
			if c.b != nil {
				a["b"] = c.b
			}
			u := over(t, a, func(cfg *Config) { cfg.Limit = &limit.Config{} })
			for range 600 {
				fetch(u, request(t, "POST", "/", nil)) // so that nothing is sent again
				time.Sleep(10 * time.Millisecond)
			}
			if at := u.Status().Limit.Limit; (at == 8) != c.floor {
				t.Errorf("%s: the limit is %d", c.name, at)
			}
		})
	}
}

// A writer of the response is a writer of the connection after 101, and what copies itself still does.
func TestBodies(t *testing.T) {
	u := over(t, answer{"a": func(_ int, req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/copy" {
			res, err := answers(200, "")
			res.Body, res.ContentLength = struct {
				io.ReadCloser
				io.WriterTo
			}{io.NopCloser(nil), strings.NewReader("copied")}, -1
			return res, err
		}
		res, err := answers(101, "")
		in, out := io.Pipe()
		res.Body = struct {
			io.ReadCloser
			io.Writer
		}{in, out}
		return res, err
	}}, func(cfg *Config) { cfg.Limit = &limit.Config{Concurrent: 1} })

	res, err := u.RoundTrip(request(t, "GET", "/up", nil))
	if err != nil {
		t.Fatal(err)
	}
	rw, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("%T is not both ways", res.Body)
	}
	go rw.Write([]byte("echo"))
	got := make([]byte, 4)
	if _, err := io.ReadFull(rw, got); string(got) != "echo" {
		t.Error(string(got), err)
	}
	rw.Close()
	if s := u.Status(); s.Balance.Instances[0].OutcomesTotal["good"] != 1 || s.Limit.In != 0 {
		t.Errorf("%+v", s)
	}

	res, err = u.RoundTrip(request(t, "GET", "/copy", nil))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if n, err := res.Body.(io.WriterTo).WriteTo(&b); n != 6 || err != nil || b.String() != "copied" {
		t.Error(n, err, b.String())
	}
	if s := u.Status(); s.Balance.Instances[0].OutcomesTotal["good"] != 2 {
		t.Error("a copy to the end is not counted")
	}
	res.Body.Close()
}
