//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// counters are a node's metrics page at one moment.
type counters map[string]*dto.MetricFamily

// counters reads a node's page.
func (n *network) counters(t *testing.T, node string) counters {
	t.Helper()
	status, body, err := fetch(n.page(node), "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("the metrics page of %s: %d %v", node, status, err)
	}
	c, err := parseCounters(body)
	if err != nil {
		t.Fatalf("the metrics page of %s: %v", node, err)
	}
	return c
}

func parseCounters(body io.Reader) (counters, error) {
	p := expfmt.NewTextParser(model.LegacyValidation)
	return p.TextToMetricFamilies(body)
}

// sum adds up the samples of a metric that have all labels given, as name, value, ....
// Histograms count their observations. A metric that is not there is 0.
func (c counters) sum(name string, labels ...string) (sum int64) {
	for _, m := range c[name].GetMetric() {
		has := map[string]string{}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		all := true
		for i := 0; i < len(labels); i += 2 {
			all = all && has[labels[i]] == labels[i+1]
		}
		if all {
			sum += int64(m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue())
			sum += int64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// A meter says by how much a counter grows. The counter is one of a node's, or any
// other number.
type meter struct {
	what   string
	read   func(*testing.T) int64
	before int64
}

// meter starts to measure a node's counter.
func (n *network) meter(t *testing.T, node, name string, labels ...string) *meter {
	t.Helper()
	return newMeter(t, fmt.Sprint(node, " ", name, labels), func(t *testing.T) int64 {
		t.Helper()
		return n.counters(t, node).sum(name, labels...)
	})
}

func newMeter(t *testing.T, what string, read func(*testing.T) int64) *meter {
	t.Helper()
	m := &meter{what: what, read: read, before: read(t)}
	// What was answered just now may still be on its way into the counter.
	still := time.Now()
	until(2*time.Second, func() bool { // it may go on growing
		now := read(t)
		if now != m.before {
			m.before, still = now, time.Now()
		}
		return time.Since(still) >= 300*time.Millisecond
	})
	return m
}

// grown is the growth since the meter was made or checked.
func (m *meter) grown(t *testing.T) int64 {
	t.Helper()
	return m.read(t) - m.before
}

// countTime is how long after its answer a request may be counted: an edge counts when
// the handler returns, which the client need not wait for.
const countTime = 20 * time.Second

// check says how the growth differs from what it should be; nil if it does not. It
// begins anew afterwards.
func (m *meter) check(t *testing.T, want int64) error {
	t.Helper()
	var got, last int64 = 0, -1
	until(countTime, func() bool {
		got, last = m.grown(t), got
		return got >= want && got == last
	})
	m.before += got
	if got != want {
		return fmt.Errorf("%s grew by %d, not %d", m.what, got, want)
	}
	return nil
}

// expect fails the test if the growth is not what it should be.
func (m *meter) expect(t *testing.T, want int64) {
	t.Helper()
	if err := m.check(t, want); err != nil {
		t.Error(err)
	}
}

// fetch gets a page of a node's health listener.
func fetch(address, path string) (status int, body io.Reader, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, nil, err
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, bytes.NewReader(text), err
}
