package steer

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hither/bench/lab"
)

// reported waits until the DNS server has heard every PoP: from then on what they measure counts.
func (s *scene) reported(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		n, err := s.series(ctx, "hither_dns_reports_total", `kind="report"`, `result="taken"`)
		if err != nil {
			return err
		}
		if n.series == len(lab.Edges()) && n.least > 0 {
			return nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("steer: the DNS server has heard %d of %d PoPs: %w", n.series, len(lab.Edges()), err)
		}
	}
}

// explored is how many times the DNS server has sent a prefix to its second PoP for a minute, to measure it.
func (s *scene) explored(ctx context.Context) (int, error) {
	n, err := s.series(ctx, "hither_dns_moves_total", `reason="explore"`)
	return int(n.sum), err
}

// loaded is the load of the PoP that all clients are near to.
func (s *scene) loaded(ctx context.Context) (float64, error) {
	status, err := s.net.Status(ctx, lab.Edge)
	return status.Load, err
}

// A summed is some series of a metric together.
type summed struct {
	series     int
	sum, least float64
}

// series reads a metric of the DNS server, of the series that have all the labels.
func (s *scene) series(ctx context.Context, name string, labels ...string) (n summed, err error) {
	at := s.lab.At(lab.DNS)
	tr := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return at.DialContext(ctx, network, address)
	}}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9181/metrics", nil)
	if err != nil {
		return n, err
	}
	answer, err := tr.RoundTrip(r)
	if err != nil {
		return n, fmt.Errorf("steer: read the DNS server's metrics: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		return n, fmt.Errorf("steer: read the DNS server's metrics: %w", err)
	}
	return sum(string(text), name, labels...)
}

// sum is that of the series of a metric, in Prometheus' text format, which have all the labels.
func sum(text, name string, labels ...string) (n summed, err error) {
next:
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+"{")
		if !ok {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue next
			}
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return n, fmt.Errorf("steer: read metric %s: %w", name, err)
		}
		if n.series == 0 || v < n.least {
			n.least = v
		}
		n.series++
		n.sum += v
	}
	return n, nil
}
