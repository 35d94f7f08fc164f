package ops

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type status struct {
	Node  string `json:"node"`
	State State  `json:"state"`
}

type drain struct {
	Grace string `json:"grace"`
}

func newAdmin() *Admin {
	a := NewAdmin()
	a.Handle("GET /v1/status", func(*http.Request) (string, any, error) {
		return "status", status{"edge-fra", Ready}, nil
	})
	a.Handle("POST /v1/drain", func(r *http.Request) (string, any, error) {
		var d drain
		if err := DecodeBody(r, &d); err != nil {
			return "", nil, err
		}
		return "drain", d, nil
	})
	a.Handle("GET /v1/broken", func(*http.Request) (string, any, error) {
		return "", nil, errors.New("edge: count what cannot be counted")
	})
	a.Handle("GET /v1/list", func(*http.Request) (string, any, error) { return "list", []int{1}, nil })
	return a
}

func openAdmin(t *testing.T, dir string) *Admin {
	t.Helper()
	a := newAdmin()
	if err := a.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestCalls(t *testing.T) {
	dir := t.TempDir()
	openAdmin(t, dir)
	c := Dial(dir)

	var s status
	if err := c.Get(t.Context(), "/v1/status", &s); err != nil || s != (status{"edge-fra", Ready}) {
		t.Errorf("status %+v, %v", s, err)
	}
	var raw json.RawMessage
	if err := c.Get(t.Context(), "/v1/status", &raw); err != nil ||
		string(raw) != `{"schema":"hither/status/1","node":"edge-fra","state":"ready"}` {
		t.Errorf("status %s, %v", raw, err)
	}
	var d drain
	if err := c.Post(t.Context(), "/v1/drain", drain{"10s"}, &d); err != nil || d.Grace != "10s" {
		t.Errorf("drain %+v, %v", d, err)
	}

	for _, wrong := range []struct {
		err    error
		status int
		text   string
	}{
		{c.Get(t.Context(), "/v1/drain", &d), 405, "Method Not Allowed"},
		{c.Post(t.Context(), "/v1/status", nil, &d), 405, "Method Not Allowed"},
		{c.Get(t.Context(), "/v1/nothing", &d), 404, "Not Found"},
		{c.Get(t.Context(), "/v1/broken", &d), 500, "edge: count what cannot be counted"},
		{c.Get(t.Context(), "/v1/list", &d), 500, "no JSON object"},
		{c.Post(t.Context(), "/v1/drain", map[string]int{"gracee": 1}, &d), 400, `unknown field "gracee"`},
		{c.Post(t.Context(), "/v1/drain", drain{strings.Repeat("x", maxBody)}, &d), 400, "too large"},
		{c.Post(t.Context(), "/v1/drain", nil, &d), 400, "EOF"},
	} {
		var r *Refusal
		if !errors.As(wrong.err, &r) || r.Status != wrong.status || !strings.Contains(wrong.err.Error(), wrong.text) {
			t.Errorf("error %v, want %d %s", wrong.err, wrong.status, wrong.text)
		}
	}
}

func TestUnknownSchema(t *testing.T) {
	for _, body := range []string{`{"schema":"hither/status/2"}`, `{"schema":"other/status/1"}`, `{}`, `[]`, ``} {
		if checkSchema([]byte(body)) == nil {
			t.Errorf("%q passes as a document", body)
		}
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	openAdmin(t, dir)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		resp, err := Dial(dir).HTTP().Get("http://node" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || len(body) == 0 {
			t.Errorf("%s: %d, %d bytes, %v", path, resp.StatusCode, len(body), err)
		}
		resp.Body.Close()
	}
}

func TestNobodyThere(t *testing.T) {
	for name, dir := range map[string]string{
		"no socket": t.TempDir(),
		"no folder": filepath.Join(t.TempDir(), "none"),
		"long":      longDir(t),
	} {
		err := Dial(dir).Get(t.Context(), "/v1/status", &status{})
		if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// longDir is a folder whose socket's path does not fit a socket address.
func longDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLongPath(t *testing.T) {
	dir := longDir(t)
	a := openAdmin(t, dir)
	if err := Dial(dir).Get(t.Context(), "/v1/status", &status{}); err != nil {
		t.Error(err)
	}
	if err := newAdmin().Open(dir); err == nil {
		t.Error("a second one opened")
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

func TestSocketMode(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	openAdmin(t, dir)
	info, err := os.Lstat(filepath.Join(dir, SocketName))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestLiveSocketIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := openAdmin(t, dir)
	err := newAdmin().Open(dir)
	want := "ops: open admin socket " + dir + "/admin.sock: another process serves it; stop that one, or use another state folder"
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	if err := Dial(dir).Get(t.Context(), "/v1/status", &status{}); err != nil {
		t.Errorf("the first one no longer answers: %v", err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Error(err)
	}
	openAdmin(t, dir)
}

// What a killed process left is replaced; a real one is killed here.
func TestStaleSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	child := startChild(t, "socket", dir)
	child.expect(t, "open")
	if err := newAdmin().Open(dir); err == nil {
		t.Fatal("opened beside a live process")
	}
	child.signal(t, syscall.SIGKILL)
	child.wait(t)
	if _, err := os.Lstat(filepath.Join(dir, SocketName)); err != nil {
		t.Fatalf("the killed process left nothing: %v", err)
	}
	if err := Dial(dir).Get(t.Context(), "/v1/status", &status{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("error %v", err)
	}
	openAdmin(t, dir)
	if err := Dial(dir).Get(t.Context(), "/v1/status", &status{}); err != nil {
		t.Error(err)
	}
}

func childSocket() int {
	if err := newAdmin().Open(os.Args[1]); err != nil {
		println(err.Error())
		return 1
	}
	os.Stdout.WriteString("open\n")
	select {}
}

func TestFileInThePlace(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SocketName), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newAdmin().Open(dir); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("error %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, SocketName)); string(b) != "mine" {
		t.Error("the file was overwritten")
	}
}

// A process that was replaced does not take its successor's socket away.
func TestCloseLeavesASuccessor(t *testing.T) {
	dir := t.TempDir()
	a := openAdmin(t, dir)
	path := filepath.Join(dir, SocketName)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error("the successor's socket is gone")
	}
}
