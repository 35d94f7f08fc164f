package upstream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hither/origin/balance"
	"hither/origin/health"
	"hither/origin/limit"
)

// told is a log that tells of flips.
type told chan string

func (l told) Enabled(context.Context, slog.Level) bool { return true }
func (l told) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l told) WithGroup(string) slog.Handler            { return l }
func (l told) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "changed by its checks") {
		var id, up string
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "instance":
				id = a.Value.String()
			case "up":
				up = a.Value.String()
			}
			return true
		})
		l <- id + " " + up
	}
	return nil
}

func (l told) wait(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-l:
		if got != want {
			t.Fatalf("told %s, want %s", got, want)
		}
	case <-time.After(limitOfTests):
		t.Fatal("never told ", want)
	}
}

// An instance whose checks fail gets no request until they pass again, and one that joins is checked as well.
func TestChecks(t *testing.T) {
	var sick, got atomic.Int64 // which one is; requests of it
	serve := func(n int64) *server {
		return newServer(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/health" && sick.Load() == n:
				w.WriteHeader(503)
			case r.URL.Path != "/health" && sick.Load() == n:
				got.Add(1)
			}
			io.WriteString(w, "content")
		})
	}
	a, b, c := serve(1), serve(2), serve(3)
	instance := func(s *server) Instance {
		i, f := s.instance(), newFleet()
		i.TLS = &tls.Config{Certificates: []tls.Certificate{f.edge}, RootCAs: f.roots, ServerName: "us.origin"}
		return i
	}
	log := told(make(chan string, 10))
	u := overPools(t, func(cfg *Config) {
		cfg.Check = &health.Check{Path: "/health", Interval: 2 * time.Second, Timeout: 2 * time.Second}
		cfg.Instances, cfg.Log = []Instance{instance(a), instance(b)}, slog.New(log)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); u.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	asked := func() {
		t.Helper()
		for range 10 {
			if s := get(t, u); s != "200 content" {
				t.Error(s)
			}
		}
	}
	asked()
	sick.Store(1)
	log.wait(t, a.addr+" false")
	for deadline := time.Now().Add(limitOfTests); u.Status().Balance.EjectionsTotal["checks"] == 0 && time.Now().Before(deadline); {
		runtime.Gosched() // the log is told first
	}
	got.Store(0)
	asked()
	if n := got.Load(); n != 0 {
		t.Errorf("%d requests went to the sick one", n)
	}
	if e := u.Explain(request(t, "GET", "/", nil)); e.Checks[0].Up == e.Checks[1].Up || !strings.Contains(e.Sentence, b.addr+" is the only one") {
		t.Errorf("%+v", e)
	}
	sick.Store(0)
	log.wait(t, a.addr+" true")
	asked()

	if err := u.Set([]Instance{instance(b), instance(c)}); err != nil {
		t.Fatal(err)
	}
	sick.Store(3)
	log.wait(t, c.addr+" false")
	if s := u.Status(); len(s.Checks) != 2 || len(s.Balance.Instances) != 2 {
		t.Errorf("%+v", s)
	}
}

// Explain is JSON with the names that hither explain origin prints, and the next request does what it says.
func TestExplain(t *testing.T) {
	for _, algorithm := range balance.Algorithms() {
		a := answer{}
		for _, id := range []string{"a", "b", "c", "d"} {
			a[id] = says(200, id)
		}
		u := over(t, a, func(cfg *Config) {
			cfg.Balance = balance.Config{Algorithm: algorithm, Eject: balance.Eject{PanicPercent: 30}}
			cfg.Limit = &limit.Config{Concurrent: 5}
			cfg.Affinity.Cookie = "at"
		})
		for range 50 {
			r := request(t, "GET", "/", nil)
			e := u.Explain(r)
			if got := said(fetch(u, r)); got != "200 "+e.Next.Instance {
				t.Errorf("%s: %s, after: %s", algorithm, got, e.Sentence)
			}
		}
		e := u.Explain(nil)
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Origin, Sentence, Algorithm string
			Next                        struct{ Instance, Why string }
			Instances                   []struct{ ID, State string }
			Limit                       struct{ Limit, In int }
			Retry                       struct{ Attempts, Percent, Tokens int }
			Affinity                    struct{ Cookie string }
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Origin != "app" || doc.Algorithm != algorithm || doc.Next.Instance == "" || doc.Next.Why == "" || len(doc.Instances) != 4 ||
			doc.Limit.Limit != 5 || doc.Retry.Attempts != 2 || doc.Retry.Percent != 20 || doc.Retry.Tokens != 10 || doc.Affinity.Cookie != "at" ||
			!strings.HasPrefix(doc.Sentence, "the request goes to "+doc.Next.Instance) {
			t.Errorf("%s", text)
		}
	}
	none := over(t, answer{}, nil).Explain(nil)
	if none.Next != nil || none.Sentence != "the request fails: no instance takes requests" {
		t.Errorf("%+v", none)
	}
}
