package ops

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func openPage(t *testing.T, node string, life *Life) (url string, m *Metrics) {
	t.Helper()
	m = NewMetrics(node)
	p, err := OpenPage("127.0.0.1:0", node, life, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := p.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return "http://" + p.Addr().String(), m
}

func ask(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestHealthFollowsLife(t *testing.T) {
	var life Life
	url, _ := openPage(t, "edge-fra", &life)
	check := func(path string, status int, body string) {
		t.Helper()
		gotStatus, gotBody := ask(t, "GET", url+path)
		if gotStatus != status || gotBody != body+"\n" {
			t.Errorf("%v: GET %s = %d %swant %d %s", life.State(), path, gotStatus, gotBody, status, body)
		}
	}
	check("/live", 200, `{"schema":"hither/live/1","node":"edge-fra","state":"starting","ready":false,"reason":"starting"}`)
	check("/ready", 503, `{"schema":"hither/ready/1","node":"edge-fra","state":"starting","ready":false,"reason":"starting"}`)
	life.Expect("certificates: none yet")
	check("/ready", 503, `{"schema":"hither/ready/1","node":"edge-fra","state":"starting","ready":false,"reason":"certificates: none yet"}`)
	life.Advance(Ready)
	check("/ready", 200, `{"schema":"hither/ready/1","node":"edge-fra","state":"ready","ready":true}`)
	life.Advance(Draining)
	check("/live", 200, `{"schema":"hither/live/1","node":"edge-fra","state":"draining","ready":false,"reason":"draining"}`)
	check("/ready", 503, `{"schema":"hither/ready/1","node":"edge-fra","state":"draining","ready":false,"reason":"draining"}`)
	life.Advance(Down)
	check("/live", 503, `{"schema":"hither/live/1","node":"edge-fra","state":"down","ready":false,"reason":"down"}`)
}

func TestPageIsReadOnly(t *testing.T) {
	url, _ := openPage(t, "edge-fra", &Life{})
	for _, path := range []string{"/metrics", "/live", "/ready"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PURGE"} {
			if status, _ := ask(t, method, url+path); status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s = %d, want 405", method, path, status)
			}
		}
		if status, body := ask(t, "HEAD", url+path); body != "" || status == http.StatusMethodNotAllowed {
			t.Errorf("HEAD %s = %d %q", path, status, body)
		}
	}
	if status, _ := ask(t, "GET", url+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles on the public page: %d", status)
	}
}

// Two nodes in one process have metrics of the same names.
func TestMetricsNameTheirNode(t *testing.T) {
	for _, node := range []string{"edge-fra", "edge-iad"} {
		url, m := openPage(t, node, &Life{})
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hither_edge_requests_total", Help: "Requests."}, []string{"site"})
		m.MustRegister(c)
		c.WithLabelValues("www").Add(3)
		_, body := ask(t, "GET", url+"/metrics")
		for _, want := range []string{
			fmt.Sprintf("hither_edge_requests_total{node=%q,site=\"www\"} 3\n", node),
			fmt.Sprintf("go_goroutines{node=%q} ", node),
			fmt.Sprintf("process_open_fds{node=%q} ", node),
		} {
			if !strings.Contains(body, want) {
				t.Errorf("page of %s lacks %s", node, want)
			}
		}
	}
}

func TestTakenAddress(t *testing.T) {
	var life Life
	url, m := openPage(t, "edge-fra", &life)
	_, err := OpenPage(strings.TrimPrefix(url, "http://"), "edge-iad", &life, m)
	if err == nil || !strings.HasPrefix(err.Error(), "ops: open the metrics page of edge-iad: ") {
		t.Errorf("error %v", err)
	}
}
