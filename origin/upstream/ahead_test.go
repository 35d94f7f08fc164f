package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"hither/origin/limit"
	"hither/origin/pool"
)

// cut is an instance whose first answer breaks off in its content.
func cut(k pool.Kind, content string) func(int, *http.Request) (*http.Response, error) {
	return func(n int, _ *http.Request) (*http.Response, error) {
		res, err := answers(200, "content")
		if n == 0 {
			_, cut := fails(k, false)
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(content), broken{cut}))
		}
		return res, err
	}
}

// A small answer that breaks off is not handed on, where the request may be sent again.
func TestCut(t *testing.T) {
	for _, c := range []struct {
		method, content string
		k               pool.Kind
		want, sent      string
	}{
		{"GET", "", pool.KindTerminated, "200 content", "lost 1"},
		{"GET", "conten", pool.KindTerminated, "200 content", "lost 1"},
		{"GET", "conten", pool.KindShort, "200 content", "lost 1"},
		{"GET", "content", pool.KindTerminated, "origin-reset", ""}, // at its end; see TestCutAtTheEnd
		{"GET", "content, and more", pool.KindLong, "origin-long", ""},
		{"GET", "", pool.KindSilent, "origin-silent", ""},
		{"DELETE", "conten", pool.KindLost, "200 content", "lost 1"},
		{"POST", "conten", pool.KindTerminated, "origin-reset", ""},
	} {
		u := over(t, answer{"a": cut(c.k, c.content), "b": says(200, "content")}, nil)
		if got := said(fetch(u, request(t, c.method, "/", nil))); got != c.want || retries(u.Upstream) != c.sent {
			t.Errorf("%s, %q and %v: %s, sent again %q; want %s, %q", c.method, c.content, c.k, got, retries(u.Upstream), c.want, c.sent)
		}
		if bad := u.Status().Balance.Instances[0].OutcomesTotal["bad"]; bad != 1 {
			t.Errorf("%s, %v: %d bad answers", c.method, c.k, bad)
		}
	}
}

// Where all has come but the word that it is all, the content is handed on, and that word too.
func TestCutAtTheEnd(t *testing.T) {
	u := over(t, answer{"a": cut(pool.KindTerminated, "content")}, nil)
	res, err := u.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	var e *pool.Error
	if string(content) != "content" || !errors.As(err, &e) || e.Kind != pool.KindTerminated {
		t.Errorf("%q, %v", content, err)
	}
}

// What does not come at once is handed on as it comes, and a reader that leaves ends it.
func TestAheadDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *io.PipeReader
		var work sync.WaitGroup
		defer work.Wait()
		u := over(t, answer{"a": func(int, *http.Request) (*http.Response, error) {
			res, err := answers(200, "onetwo")
			res.Body = r
			return res, err
		}}, func(cfg *Config) { cfg.Limit = &limit.Config{Concurrent: 1} })
		for _, leaves := range []bool{false, true} {
			var w *io.PipeWriter
			r, w = io.Pipe()
			work.Go(func() {
				defer w.Close()
				for _, part := range []string{"one", "two"} {
					time.Sleep(10 * time.Second)
					w.Write([]byte(part))
				}
			})
			began := time.Now()
			res, err := u.RoundTrip(request(t, "GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != moment {
				t.Errorf("the header is handed on after %v", took)
			}
			p := make([]byte, 10)
			n, err := res.Body.Read(p)
			if took := time.Since(began); string(p[:n]) != "one" || err != nil || took != 10*time.Second {
				t.Errorf("%q, %v after %v", p[:n], err, took)
			}
			if n := u.Status().Limit.In; n != 1 {
				t.Errorf("%d places are taken", n)
			}
			if !leaves {
				if rest, err := io.ReadAll(res.Body); string(rest) != "two" || err != nil {
					t.Errorf("%q, %v", rest, err)
				}
			}
			res.Body.Close()
		}
		if o := u.Status().Balance.Instances[0].OutcomesTotal; o["good"] != 1 || o["neutral"] != 1 {
			t.Error(o)
		}
	})
}

func TestAheadIsWhole(t *testing.T) {
	for _, reader := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader, iotest.OneByteReader,
	} {
		for _, n := range []int{1, 2, 1000, small - 1, small, small + 1} {
			want := strings.Repeat("x", n)
			u := over(t, answer{"a": func(int, *http.Request) (*http.Response, error) {
				res, err := answers(200, want)
				res.Body = io.NopCloser(reader(res.Body))
				return res, err
			}}, nil)
			if got := get(t, u); got != "200 "+want {
				t.Errorf("%d bytes: got %d", n, len(got)-4)
			}
		}
	}
}
