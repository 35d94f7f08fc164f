package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hither/origin/balance"
	"hither/origin/health"
	"hither/origin/limit"
	"hither/origin/pool"
)

func TestConfig(t *testing.T) {
	_, err := New(Config{
		Affinity: Affinity{Cookie: "a b", Rebalance: -1}, Retry: Retry{Percent: 101, Statuses: []int{200}},
	})
	for _, want := range []string{"no name", "nobody makes", `"a b"`, "below zero", "101 %", "after 200"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	sender := func(Instance) (Sender, error) { return nil, errors.New("no such key") }
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Origin: "app", Sender: sender, Instances: []Instance{instance("a")}}, "instance a: no such key"},
		{Config{Origin: "app", Sender: sender, Instances: []Instance{{ID: "a", Weight: -1}}}, "weight -1"},
		{Config{Origin: "app", Sender: sender, Check: &health.Check{Type: "ftp"}}, "ftp"},
		{Config{Origin: "app", Sender: sender, Check: &health.Check{}, Instances: []Instance{{ID: "a"}}}, "no address to check"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v does not say %q", err, c.want)
		}
	}
}

func TestPlain(t *testing.T) {
	b := over(t, answer{"a": says(200, "from a"), "b": says(200, "from b")}, nil)
	got := map[string]int{}
	for range 10 {
		got[get(t, b)]++
	}
	if got["200 from a"] != 5 || got["200 from b"] != 5 {
		t.Error(got)
	}
	s := b.Status()
	if s.RequestsTotal != 10 || retries(b.Upstream) != "" || s.Balance.Instances[0].OutcomesTotal["good"] != 5 {
		t.Errorf("%+v", s)
	}
}

func TestNoInstance(t *testing.T) {
	b := over(t, answer{}, nil)
	_, err := b.RoundTrip(request(t, "GET", "/", nil))
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, balance.ErrNone) || e.Status() != 503 || e.Reason() != "no-instance" ||
		e.ProxyStatus() != "destination_unavailable" || !e.Retryable() {
		t.Error(err)
	}
	b.Close()
	if got := get(t, b); got != "upstream-closed" {
		t.Error(got)
	}
	if err := b.Set(nil); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

// A request's content is closed in every case.
func TestContentIsClosed(t *testing.T) {
	b := over(t, answer{"a": says(200, "")}, func(c *Config) { c.Limit = &limit.Config{Concurrent: 1} })
	held, err := b.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	held.Body.Close()
	for _, change := range []func(){func() {}, func() { b.Set(nil) }, func() { b.Close() }} {
		change()
		c := &closing{Reader: strings.NewReader("x")}
		res, err := b.RoundTrip(request(t, "POST", "/", c))
		if err == nil {
			res.Body.Close()
		}
		if c.closed != 1 {
			t.Errorf("closed %d times after %v", c.closed, err)
		}
	}
}

type closing struct {
	io.Reader
	closed int
}

func (c *closing) Close() error { c.closed++; return nil }

func TestSet(t *testing.T) {
	a := answer{"a": says(200, "a"), "b": says(200, "b"), "c": says(200, "c")}
	b := over(t, a, nil)
	old := map[string]*fake{"a": b.fakes["a"], "b": b.fakes["b"]}
	held, err := b.RoundTrip(request(t, "GET", "/", nil)) // at a
	if err != nil {
		t.Fatal(err)
	}
	defer held.Body.Close()

	heavier, elsewhere := instance("a"), instance("b")
	heavier.Weight = 3
	elsewhere.URL.Host = "elsewhere:443"
	if err := b.Set([]Instance{heavier, elsewhere}); err != nil {
		t.Fatal(err)
	}
	<-old["b"].gone
	if b.fakes["a"] != old["a"] || b.fakes["b"] == old["b"] {
		t.Error("a has lost its sender, or b has kept it")
	}
	now := b.fakes["b"]
	if err := b.Set([]Instance{heavier, elsewhere, elsewhere}); err == nil {
		t.Error("twice the same instance")
	}
	if err := b.Set([]Instance{heavier, elsewhere, {ID: "new", Weight: -1}}); err == nil {
		t.Error("a weight below zero")
	}
	<-b.fakes["new"].gone // its sender was made in vain
	if now.drained.Load() || get(t, b) == "" {
		t.Error("an error has changed something")
	}
}

// What an instance that has gone has under way is waited for, but not for ever.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *bench
		b = over(t, answer{"a": func(int, *http.Request) (*http.Response, error) {
			<-b.fakes["a"].gone
			return fails(pool.KindTerminated, false)
		}, "b": says(200, "b")}, func(c *Config) { c.Linger = time.Minute })
		got := make(chan string)
		began := time.Now()
		go func() { got <- said(fetch(b, request(t, "GET", "/", nil).WithContext(context.Background()))) }()
		synctest.Wait()
		if err := b.Set([]Instance{instance("b")}); err != nil {
			t.Fatal(err)
		}
		if s := said(fetch(b, request(t, "GET", "/", nil))); s != "200 b" {
			t.Error(s)
		}
		if s, took := <-got, time.Since(began); s != "200 b" || took != time.Minute {
			t.Errorf("%s after %v", s, took)
		}
	})
}

func TestDrain(t *testing.T) {
	asked, go_ := make(chan struct{}), make(chan struct{})
	b := over(t, answer{"a": func(n int, _ *http.Request) (*http.Response, error) {
		if n == 0 {
			close(asked)
			<-go_
		}
		return answers(200, "late")
	}}, nil)
	got, drained := make(chan string), make(chan error)
	go func() { got <- get(t, b) }()
	<-asked
	go func() { drained <- b.Drain(t.Context()) }()
	for get(t, b) != "upstream-closed" {
	}
	close(go_)
	if s := <-got; s != "200 late" {
		t.Error(s)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// What balance learns: the time to the final header, and how each attempt ended.
func TestOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := over(t, answer{"a": func(n int, req *http.Request) (*http.Response, error) {
			time.Sleep(40 * time.Millisecond) // the clock is the test's
			switch req.URL.Path {
			case "/500":
				return answers(500, "")
			case "/404":
				return answers(404, "")
			case "/timeout":
				return fails(pool.KindFirstByte, false)
			}
			return answers(200, strings.Repeat("x", small+1))
		}}, nil)
		for _, c := range []struct {
			path string
			read bool
			want string
		}{
			{"/", true, "good"}, {"/", false, "neutral"}, {"/500", true, "bad"}, {"/404", true, "neutral"}, {"/timeout", true, "bad"},
		} {
			was := b.Status().Balance.Instances[0].OutcomesTotal
			res, err := b.RoundTrip(request(t, "GET", c.path, nil))
			if err == nil {
				if n := b.Status().Balance.Instances[0].Score.InFlight; n != 1 {
					t.Errorf("%s: %d in flight while the content is read", c.path, n)
				}
				time.Sleep(time.Minute) // the content is not the first byte
				if c.read {
					io.Copy(io.Discard, res.Body)
				}
				res.Body.Close()
			}
			for word, n := range b.Status().Balance.Instances[0].OutcomesTotal {
				if (n != was[word]) != (word == c.want) {
					t.Errorf("%s: %s has gone from %d to %d", c.path, word, was[word], n)
				}
			}
		}
		if ms := b.Status().Balance.Instances[0].Score.LatencyMS; ms != 40 {
			t.Errorf("first byte of %v ms", ms)
		}
	})
}

// The time that a client takes for its content is not the instance's.
func TestUploadIsNotLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := over(t, answer{"a": func(_ int, req *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, req.Body)
			time.Sleep(40 * time.Millisecond)
			return answers(200, "")
		}}, nil)
		r, w := io.Pipe()
		go func() {
			time.Sleep(time.Second)
			w.Write([]byte("slow"))
			w.Close()
		}()
		res, err := b.RoundTrip(request(t, "POST", "/", r))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if ms := b.Status().Balance.Instances[0].Score.LatencyMS; ms != 40 {
			t.Errorf("first byte of %v ms", ms)
		}
	})
}

func TestOverPools(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }
	u := overPools(t, nil, newServer(t, h), newServer(t, h))
	for range 20 {
		if got := said(fetch(u, request(t, "POST", "/", strings.NewReader("echo")))); got != "200 echo" {
			t.Fatal(got)
		}
	}
	s := u.Status()
	if len(s.Senders) != 2 {
		t.Errorf("%d senders", len(s.Senders))
	}
	ctx, cancel := context.WithTimeout(t.Context(), limitOfTests)
	defer cancel()
	if err := u.Drain(ctx); err != nil {
		t.Error(err)
	}
}
