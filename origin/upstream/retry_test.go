package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hither/origin/balance"
	"hither/origin/limit"
	"hither/origin/pool"
)

// once is an instance that answers its first request so, and further ones well.
func once(status int, content string, fields ...string) func(int, *http.Request) (*http.Response, error) {
	return func(n int, _ *http.Request) (*http.Response, error) {
		if n > 0 {
			return answers(200, "again")
		}
		return answers(status, content, fields...)
	}
}

func failsOnce(k pool.Kind, unprocessed bool) func(int, *http.Request) (*http.Response, error) {
	return func(n int, req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			io.Copy(io.Discard, io.LimitReader(req.Body, 1))
		}
		if n > 0 {
			return answers(200, "again")
		}
		return fails(k, unprocessed)
	}
}

// idleClosed is a pool's error over HTTP/1.1.
type idleClosed struct{ e *pool.Error }

func (i idleClosed) ClosedIdle() bool { return true }
func (i idleClosed) Error() string    { return i.e.Error() }
func (i idleClosed) Unwrap() error    { return i.e }

// The table of reasons: what comes of a request whose first instance, a, fails.
func TestReasons(t *testing.T) {
	for _, c := range []struct {
		name   string
		a      func(int, *http.Request) (*http.Response, error)
		all    string // what comes of a GET; POST where certainly unprocessed as well
		post   string // what comes of a POST without content
		reason string
	}{
		{"refused", failsOnce(pool.KindRefused, true), "200 b", "200 b", "unconnected"},
		{"connect timeout", failsOnce(pool.KindConnectTimeout, true), "200 b", "200 b", "unconnected"},
		{"certificate", failsOnce(pool.KindCertificate, true), "200 b", "200 b", "unconnected"},
		{"closed", failsOnce(pool.KindClosed, true), "200 b", "200 b", "closed"},
		{"goaway", failsOnce(pool.KindGoAway, true), "200 b", "200 b", "goaway"},
		{"unusable", failsOnce(pool.KindUnusable, true), "200 b", "200 b", "unusable"},
		{"refused stream", failsOnce(pool.KindStreamRefused, true), "200 b", "200 b", "stream-refused"},
		{"full", failsOnce(pool.KindFull, true), "200 b", "200 b", "full"},
		{"idle", func(int, *http.Request) (*http.Response, error) {
			_, err := fails(pool.KindProtocol, false)
			return nil, idleClosed{err.(*pool.Error)}
		}, "200 b", "origin-protocol", "closed-idle"},
		{"reset", failsOnce(pool.KindTerminated, false), "200 b", "origin-reset", "lost"},
		{"lost", failsOnce(pool.KindLost, false), "200 b", "origin-lost", "lost"},
		{"502", once(502, "a"), "200 b", "502 a", "status"},
		{"503", once(503, "a"), "200 b", "503 a", "status"},
		{"504", once(504, "a"), "200 b", "504 a", "status"},
		{"busy", once(503, "a", "Retry-After: 2"), "200 b", "503 a", "busy"},
		{"maintenance", once(503, "a", "Retry-After: Mon, 01 Jan 2420 00:00:00 GMT"), "200 b", "503 a", "busy"},
		{"a word", once(503, "a", "Retry-After: soon"), "200 b", "503 a", "status"},
		{"empty", once(200, ""), "200 b", "200", "odd"},
		{"500", once(500, "a"), "500 a", "500 a", ""},
		{"429", once(429, "a", "Retry-After: 2"), "429 a", "429 a", ""},
		{"404", once(404, "a"), "404 a", "404 a", ""},
		{"timeout", failsOnce(pool.KindFirstByte, false), "origin-timeout", "origin-timeout", ""},
		{"protocol", failsOnce(pool.KindProtocol, false), "origin-protocol", "origin-protocol", ""},
		{"header size", failsOnce(pool.KindHeaderSize, false), "origin-header-size", "origin-header-size", ""},
		{"client gone", failsOnce(pool.KindCanceled, true), "client-gone", "client-gone", ""},
		{"client's content", failsOnce(pool.KindRequestBody, false), "client-body", "client-body", ""},
		{"deadline", failsOnce(pool.KindDeadline, false), "deadline", "deadline", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, m := range []string{"GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"} {
				u := over(t, answer{"a": c.a, "b": says(200, "b")}, func(cfg *Config) { cfg.Balance.Expect.MinBytes = 1 })
				want, retried := c.all, c.reason
				if m == "POST" || m == "PATCH" {
					if want = c.post; want != "200 b" {
						retried = ""
					}
				}
				got := said(fetch(u, request(t, m, "/", nil)))
				if m == "HEAD" && c.reason == "odd" {
					continue // HEAD has no content to judge
				}
				if got != want {
					t.Errorf("%s brings %q, want %q", m, got, want)
				}
				if retried != "" {
					retried += " 1"
				}
				if got := retries(u.Upstream); got != retried {
					t.Errorf("%s: retries %q, want %q", m, got, retried)
				}
			}
		})
	}
}

// Content must be had again: nothing of it was read, or GetBody gives it. After an answer or a reset it is not sent twice.
func TestContent(t *testing.T) {
	unread := func(n int, _ *http.Request) (*http.Response, error) { return fails(pool.KindRefused, true) }
	echo := func(_ int, req *http.Request) (*http.Response, error) {
		c, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		return answers(200, string(c))
	}
	readAll := func(_ int, req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		return fails(pool.KindGoAway, true)
	}
	large := strings.Repeat("x", keep+1)
	for _, c := range []struct {
		name    string
		a       func(int, *http.Request) (*http.Response, error)
		content string
		getBody bool
		want    string
	}{
		{"nothing read", unread, "content", false, "200 content"},
		{"nothing read of much", unread, large, false, "200 " + large},
		{"a byte read", failsOnce(pool.KindGoAway, true), large, false, "200 " + large},
		{"read", readAll, "content", false, "200 content"},
		{"too much read", readAll, large, false, "origin-goaway"},
		{"too much read, and there again", readAll, large, true, "200 " + large},
		{"lost", failsOnce(pool.KindLost, false), "content", true, "origin-lost"},
		{"502", once(502, "a"), "content", true, "502 a"},
	} {
		u := over(t, answer{"a": c.a, "b": echo}, nil)
		r := request(t, "PUT", "/", strings.NewReader(c.content))
		if !c.getBody {
			r.GetBody = nil
		}
		if got := said(fetch(u, r)); got != c.want {
			t.Errorf("%s: %.20s, want %.20s", c.name, got, c.want)
		}
	}
}

// A broken connection is not an instance: without another one the same is asked again. One that cannot be connected to is
// not.
func TestAlone(t *testing.T) {
	for _, c := range []struct {
		a    func(int, *http.Request) (*http.Response, error)
		want string
	}{
		{failsOnce(pool.KindLost, false), "200 again"},
		{failsOnce(pool.KindGoAway, true), "200 again"},
		{failsOnce(pool.KindRefused, true), "origin-refused"},
		{once(502, "a"), "502 a"},
		{once(503, "a", "Retry-After: 1"), "503 a"},
	} {
		if got := get(t, over(t, answer{"a": c.a}, nil)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// Where no other instance is left, one whose connection broke is asked again, and not one that cannot be reached, or that the
// request is to avoid.
func TestSameAgain(t *testing.T) {
	u := over(t, answer{
		"a": func(int, *http.Request) (*http.Response, error) { return fails(pool.KindRefused, true) },
		"b": failsOnce(pool.KindTerminated, false),
		"c": says(200, "of c"),
	}, nil)
	r := request(t, "GET", "/", nil)
	if got := said(fetch(u, r.WithContext(Avoid(r.Context(), "c")))); got != "200 again" {
		t.Errorf("%s; sent again: %s", got, retries(u.Upstream))
	}
}

// When nothing was answered well, the best answer is passed on, and none is made up.
func TestBestAnswer(t *testing.T) {
	refused := func(int, *http.Request) (*http.Response, error) { return fails(pool.KindRefused, true) }
	for _, c := range []struct {
		name    string
		a, b, c func(int, *http.Request) (*http.Response, error)
		want    string
	}{
		{"the last", says(502, "a"), says(502, "b"), says(504, "c"), "504 c"},
		{"it says when", says(503, "a", "Retry-After: 1"), says(502, "b"), says(502, "c"), "503 a"},
		{"busy twice", says(503, "a", "Retry-After: 1"), says(503, "b", "Retry-After: 1"), says(200, "c"), "503 b"},
		{"an answer before an error", says(502, "a"), refused, refused, "502 a"},
		{"an error before nothing", says(200, ""), says(502, "b"), refused, "502 b"},
		{"all the same", says(200, ""), says(200, ""), says(200, ""), "200"},
		{"another's fault", says(502, "a"), says(404, "b"), says(200, "c"), "404 b"},
		{"no answer", refused, refused, refused, "origin-refused"},
	} {
		u := over(t, answer{"a": c.a, "b": c.b, "c": c.c}, func(cfg *Config) { cfg.Balance.Expect.MinBytes = 1 })
		if got := get(t, u); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// After the final header was handed on nothing is tried again: what breaks off breaks off.
func TestAfterHeader(t *testing.T) {
	u := over(t, answer{
		"a": func(int, *http.Request) (*http.Response, error) {
			res, _ := answers(200, "half of it")
			_, err := fails(pool.KindTerminated, true)
			res.Body, res.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("half"), broken{err})), small+1
			return res, nil
		},
		"b": says(200, "b"),
	}, nil)
	if got := get(t, u); got != "origin-reset" {
		t.Error(got)
	}
	if s := u.Status(); retries(u.Upstream) != "" || s.Balance.Instances[0].OutcomesTotal["bad"] != 1 {
		t.Errorf("%s, %v", retries(u.Upstream), s.Balance.Instances[0].OutcomesTotal)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestAttempts(t *testing.T) {
	for _, c := range []struct{ attempts, want int }{{0, 3}, {1, 2}, {-1, 1}, {9, 4}} {
		bad := says(502, "")
		u := over(t, answer{"a": bad, "b": bad, "c": bad, "d": bad}, func(cfg *Config) { cfg.Retry.Attempts = c.attempts })
		get(t, u)
		n := 0
		for _, f := range u.fakes {
			n += int(f.requests.Load())
		}
		if n != c.want {
			t.Errorf("%d further attempts: %d in all, want %d", c.attempts, n, c.want)
		}
	}
}

func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		statuses []int
		status   int
		want     string
	}{{[]int{}, 502, "502"}, {[]int{500, 429}, 500, "200 b"}, {[]int{500, 429}, 429, "200 b"}, {[]int{500}, 502, "502"}} {
		u := over(t, answer{"a": says(c.status, ""), "b": says(200, "b")}, func(cfg *Config) { cfg.Retry.Statuses = c.statuses })
		if got := get(t, u); got != c.want {
			t.Errorf("%d of %v: %s, want %s", c.status, c.statuses, got, c.want)
		}
	}
}

// What is sent again is bounded by the share of the last ten seconds, or ten; what was no work for anybody is not.
func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name         string
		bad          func(int, *http.Request) (*http.Response, error)
		percent, per int // requests a second
		least, most  uint64
	}{
		{"a share", says(502, ""), 20, 100, 1990, 2010}, // of 10,000 requests, each of which would be
		{"ten of few", says(502, ""), 20, 4, 90, 110},
		{"none", says(502, ""), -1, 100, 0, 0},
		{"free", func(int, *http.Request) (*http.Response, error) { return fails(pool.KindRefused, true) }, -1, 100, 10000, 10000},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := over(t, answer{"a": c.bad, "b": c.bad}, func(cfg *Config) { cfg.Retry.Percent = c.percent })
			for range 100 {
				for range c.per {
					get(t, u)
				}
				time.Sleep(time.Second) // the clock is the test's
			}
			s, sent := u.Status(), uint64(0)
			for _, n := range s.RetriesTotal {
				sent += n
			}
			if sent < c.least || sent > c.most {
				t.Errorf("%s: of %d requests %d were sent again, want %d to %d", c.name, s.RequestsTotal, sent, c.least, c.most)
			}
			if sent+s.RetriesRefusedTotal != s.RequestsTotal {
				t.Errorf("%s: %d sent again and %d refused of %d", c.name, sent, s.RetriesRefusedTotal, s.RequestsTotal)
			}
		})
	}
}

// The one that comes back from an ejection is tried by a request that can be sent again, and its client does not notice.
func TestTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := over(t, answer{"a": says(500, "a"), "b": says(200, "b")}, func(cfg *Config) {
			cfg.Balance.Eject = balance.Eject{Consecutive: 5, MaxPercent: 50}
		})
		for range 10 {
			get(t, u)
		}
		if s := u.Status().Balance.Instances[0]; s.State != "ejected" {
			t.Fatal(s.State)
		}
		time.Sleep(15 * time.Second)
		for range 5 {
			if got := get(t, u); got != "200 b" {
				t.Error(got)
			}
		}
		if got := retries(u.Upstream); got != "odd 1" {
			t.Error(got)
		}
	})
}

// Where several are gone at once, and their connections tell, a request is not sent from one to the next until it has no attempt
// left. Where all are, each is tried as ever.
func TestGoneAtOnce(t *testing.T) {
	gone := func(int, *http.Request) (*http.Response, error) { return fails(pool.KindRefused, true) }
	u := over(t, answer{"a": gone, "b": gone, "c": gone, "d": gone, "e": says(200, "e")}, nil)
	for id, f := range u.fakes {
		f.lost.Store(id != "e")
	}
	for range 20 {
		if got := get(t, u); got != "200 e" {
			t.Error(got)
		}
	}
	if got, want := u.fakes["e"].requests.Load(), int64(20); got != want {
		t.Errorf("e was asked %d times, want %d", got, want)
	}
	u = over(t, answer{"a": gone, "b": gone, "c": gone}, nil)
	for _, f := range u.fakes {
		f.lost.Store(true)
	}
	get(t, u)
	for id, f := range u.fakes {
		if f.requests.Load() != 1 {
			t.Errorf("%s was asked %d times", id, f.requests.Load())
		}
	}
}

// The log tells who was ejected and why, and who is back.
func TestEjectionIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var good atomic.Bool
		u := over(t, answer{"b": says(200, "b"), "a": func(n int, r *http.Request) (*http.Response, error) {
			if good.Load() {
				return says(200, "a")(n, r)
			}
			return says(500, "a")(n, r)
		}}, func(cfg *Config) {
			cfg.Balance.Eject = balance.Eject{Consecutive: 5, MaxPercent: 50}
			cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == "time" || a.Key == "until" {
					return slog.Attr{}
				}
				return a
			}}))
		})
		for range 20 {
			get(t, u)
		}
		good.Store(true)
		time.Sleep(15 * time.Second)
		for range 5 {
			get(t, u)
			time.Sleep(2 * time.Second)
		}
		want := "level=WARN msg=\"instance ejected\" origin=app instance=a why=\"5 in a row: the last answered 500\"\n" +
			"level=INFO msg=\"instance back after its ejection\" origin=app instance=a\n"
		if log.String() != want {
			t.Errorf("got\n%swant\n%s", log.String(), want)
		}
	})
}

// A request that was refused a place is not sent anywhere, and the error says when to come again.
func TestRefused(t *testing.T) {
	u := over(t, answer{"a": says(200, "a"), "b": says(200, "b")}, func(cfg *Config) { cfg.Limit = &limit.Config{Concurrent: 1} })
	res, err := u.RoundTrip(request(t, "POST", "/", nil)) // of which the content is not read ahead
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.RoundTrip(request(t, "GET", "/", nil))
	var refusal *limit.Refusal
	if !errors.As(err, &refusal) || refusal.Status() != 503 || refusal.RetryAfter() < time.Second {
		t.Error(err)
	}
	r := request(t, "GET", "/", nil)
	_, err = u.RoundTrip(r.WithContext(Background(r.Context())))
	if !errors.As(err, &refusal) || refusal.Why != "background" {
		t.Error(err)
	}
	if got := u.Explain(r).Sentence; got != "the request is refused: all 1 places are taken, and none may wait" {
		t.Error(got)
	}
	res.Body.Close()
	if got := get(t, u); !strings.HasPrefix(got, "200") {
		t.Error(got)
	}
	if n := u.fakes["a"].requests.Load() + u.fakes["b"].requests.Load(); n != 2 {
		t.Errorf("%d requests were sent", n)
	}
}

// trailed is content that ends when it is let go, and sets a trailer then.
type trailed struct {
	trailer     http.Header
	begins, end chan struct{}
}

func (r *trailed) Read([]byte) (int, error) {
	close(r.begins)
	<-r.end
	r.trailer["Sum"] = []string{"1"}
	return 0, io.EOF
}

func (r *trailed) Close() error { return nil }

// What a Read of an earlier attempt sets as trailers reaches the next one with the end of the content, not while its head is
// written.
func TestTrailersOfEachAttempt(t *testing.T) {
	c := &trailed{trailer: http.Header{"Sum": nil}, begins: make(chan struct{}), end: make(chan struct{})}
	left := make(chan struct{})
	first := func(_ int, r *http.Request) (*http.Response, error) {
		go func() {
			defer close(left)
			r.Body.Read(make([]byte, 1))
		}()
		<-c.begins
		return fails(pool.KindGoAway, true)
	}
	second := func(_ int, r *http.Request) (*http.Response, error) {
		close(c.end)
		<-left
		if v, named := r.Trailer["Sum"]; v != nil || !named {
			t.Errorf("before the end the trailers are %v", r.Trailer)
		}
		io.Copy(io.Discard, r.Body)
		if r.Trailer.Get("Sum") != "1" {
			t.Errorf("at the end the trailers are %v", r.Trailer)
		}
		return answers(200, "ok")
	}
	u := over(t, answer{"a": first, "b": second}, nil)
	r := request(t, "POST", "/", c)
	r.Trailer = c.trailer
	if got := said(fetch(u, r)); got != "200 ok" {
		t.Error(got)
	}
}

// The one that was killed before is back and not used yet, and now the other one is killed: nobody's request fails.
func TestLastResort(t *testing.T) {
	var dead atomic.Int32
	answer1 := func(n int32) func(int, *http.Request) (*http.Response, error) {
		return func(int, *http.Request) (*http.Response, error) {
			if dead.Load() == n {
				return fails(pool.KindRefused, true)
			}
			return answers(200, "here")
		}
	}
	u := over(t, answer{"a": answer1(1), "b": answer1(2)}, func(cfg *Config) {
		cfg.Balance.Eject = balance.Eject{Consecutive: 5, Time: time.Hour, MaxTime: time.Hour, MaxPercent: 50, PanicPercent: 30}
	})
	ask := func(n int) {
		t.Helper()
		for range n {
			if got := get(t, u); got != "200 here" {
				t.Error(got)
			}
		}
	}
	dead.Store(1)
	ask(20)
	if n := u.Status().Balance.EjectionsTotal["consecutive"]; n != 1 {
		t.Fatalf("%d are ejected", n)
	}
	dead.Store(2)
	ask(20)
}

// An ejection ends when there is a connection again to the one that had none.
func TestReached(t *testing.T) {
	u := over(t, answer{"a": says(503, ""), "b": says(200, "b")}, func(cfg *Config) {
		cfg.Balance.Eject = balance.Eject{Consecutive: 2, Time: time.Hour, MaxTime: time.Hour, MaxPercent: 50}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); u.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	state := func() string {
		get(t, u) // a new view
		for _, i := range u.Status().Balance.Instances {
			if i.ID == "a" {
				return i.State
			}
		}
		return ""
	}
	until := func(want string) bool {
		for end := time.Now().Add(limitOfTests); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if state() == want {
				return true
			}
		}
		return false
	}
	if !until("ejected") {
		t.Fatal(state())
	}
	time.Sleep(3 * lookAgain)
	if s := state(); s != "ejected" {
		t.Errorf("it was never lost, and is %s", s)
	}
	trials := u.fakes["a"].requests.Load()
	u.fakes["a"].lost.Store(true)
	time.Sleep(3 * lookAgain)
	if u.fakes["a"].requests.Load() != trials {
		t.Error("it is lost, and is asked")
	}
	u.fakes["a"].lost.Store(false)
	for end := time.Now().Add(limitOfTests); u.fakes["a"].requests.Load() == trials && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		get(t, u)
	}
	if n := u.fakes["a"].requests.Load(); n == trials {
		t.Error("it is reached again, and nobody tries it")
	}
}
