package ops_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"hither/deploy/ops"
)

// FuzzAnswer asks an admin socket anything by another road: what answers is a call below /v1/ that was named as it is, or an error; and each answer is a
// document.
func FuzzAnswer(f *testing.F) {
	for _, path := range []string{"/v1/status", "/v1/status?x=%zz", "/v1/../debug/pprof/heap", "/v1/%2e%2e/debug/pprof/", "//evil/v1/status",
		"@evil/v1/status", "/v1/status#x", "/v1/\x00", "", "/debug/pprof/", "/v1/drain/", "/v1//drain"} {
		for _, method := range []string{"GET", "POST", "G T", "", "CONNECT", "\n"} {
			f.Add(method, path, []byte(`{"told":true}`))
		}
	}
	f.Add("POST", "/v1/drain", []byte(`{"told":true} x`))
	f.Add("POST", "/v1/drain", []byte(`{"planet":"mars"}`))
	f.Add("POST", "/v1/drain", []byte("\xff"))
	called := ""
	a := ops.NewAdmin()
	a.Handle("GET /v1/status", func(r *http.Request) (string, any, error) {
		called = r.Method + " " + r.URL.Path
		return "status", struct{}{}, nil
	})
	a.Handle("POST /v1/drain", func(r *http.Request) (string, any, error) {
		called = r.Method + " " + r.URL.Path
		var call struct {
			Told bool `json:"told"`
		}
		if err := ops.DecodeBody(r, &call); err != nil {
			return "", nil, err
		}
		return "drain", call, nil
	})
	f.Fuzz(func(t *testing.T, method, path string, content []byte) {
		called = ""
		status, body := a.Answer(t.Context(), method, path, content)
		var doc struct {
			Schema string `json:"schema"`
			Error  string `json:"error"`
		}
		if err := json.Unmarshal(body, &doc); err != nil || !strings.HasPrefix(doc.Schema, "hither/") || (status/100 == 2) != (doc.Error == "") {
			t.Fatalf("%q %q: %d %s, %v", method, path, status, body, err)
		}
		before, _, _ := strings.Cut(path, "?")
		switch called {
		case "":
			if status/100 == 2 {
				t.Errorf("%q %q: %d, and nobody was called", method, path, status)
			}
		case "GET /v1/status", "HEAD /v1/status", "POST /v1/drain":
			if !strings.HasPrefix(before, "/v1/") {
				t.Errorf("%q called %s", path, called)
			}
		default:
			t.Errorf("%q %q called %s", method, path, called)
		}
	})
}
