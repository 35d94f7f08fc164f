package ops_test

import (
	"net/http"
	"strings"
	"testing"

	"hither/deploy/ops"
)

// TestFleet has a node show what its process knows of the fleet, and one without a process what it counted itself.
func TestFleet(t *testing.T) {
	var none *ops.Fleet
	s := ops.Status{Revision: 4, Nodes: []ops.NodeStatus{{Revision: 4}}}
	if none.Show(&s); s.Revision != 4 || none.Number(4) != 4 {
		t.Errorf("without a fleet: %+v", s)
	}
	f := new(ops.Fleet)
	if f.Connected() || f.Number(4) != 0 {
		t.Error("a fleet that has heard nothing knows a number")
	}
	f.Use(7, "abc")
	f.Hub(func() bool { return true })
	f.Problem("hub", "its port is taken")
	f.Problem("disk", "full")
	f.Problem("disk", "")
	s.Nodes[0].Problems = []string{"first"}
	f.Show(&s)
	n := s.Nodes[0]
	if !s.Hub.Connected || s.Revision != 7 || n.Revision != 7 || n.Hash != "abc" || strings.Join(n.Problems, "|") != "first|hub: its port is taken" {
		t.Errorf("%+v", s)
	}
	f.Hub(nil)
	if f.Connected() {
		t.Error("connected to no hub")
	}
}

// TestAnswer asks an admin socket by another road, which leads to its calls and nothing else.
func TestAnswer(t *testing.T) {
	a := ops.NewAdmin()
	a.Handle("POST /v1/echo", func(r *http.Request) (string, any, error) {
		var in struct {
			Word string `json:"word"`
		}
		if err := ops.DecodeBody(r, &in); err != nil {
			return "", nil, err
		}
		return "echo", map[string]string{"word": in.Word, "query": r.URL.RawQuery}, nil
	})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/echo?a=b", `{"word":"x"}`, 200, `"query":"a=b","word":"x"`},
		{"POST", "/v1/echo", `{"other":1}`, 400, "unknown field"},
		{"GET", "/v1/echo", "", 405, "Method Not Allowed"},
		{"GET", "/v1/none", "", 404, "Not Found"},
		{"GET", "/debug/pprof/cmdline", "", 404, "is not below /v1/"},
		{"GET", "/v1/../debug/pprof/", "", 400, "is no path of a call"},
		{"GET", "/v1/%2e%2e/debug/pprof/", "", 400, "is no path of a call"},
		{"GET", "@elsewhere/v1/echo", "", 400, "is no path of a call"},
		{"G T", "/v1/echo", "", 400, "is no path of a call"},
	} {
		status, body := a.Answer(t.Context(), c.method, c.path, []byte(c.body))
		if status != c.status || !strings.Contains(string(body), c.want) || !strings.HasPrefix(string(body), `{"schema":"hither/`) {
			t.Errorf("%s %s: %d %s, wanted %d with %s", c.method, c.path, status, body, c.status, c.want)
		}
	}
}
