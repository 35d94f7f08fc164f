package purge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"hither/bench/lab"
)

// A pop is a client that stands beside an edge, without distance.
type pop struct {
	place lab.Place
	http  *http.Transport
}

func newPoP(at *lab.Node, roots *x509.CertPool) *pop {
	to := netip.AddrPortFrom(at.Place.Addr(), 443).String()
	return &pop{at.Place, &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return at.DialContext(ctx, network, to)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: lab.Host},
		ForceAttemptHTTP2: true,
	}}
}

// get asks for an object and returns the status; only tells whether what is stored is to be all that counts.
func (p *pop) get(ctx context.Context, path string, only bool) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+lab.Host+path, nil)
	if err != nil {
		return 0, err
	}
	if only {
		r.Header.Set("Cache-Control", "only-if-cached") // RFC 9111 section 5.2.1.7
	}
	answer, err := p.http.RoundTrip(r)
	if err != nil {
		return 0, fmt.Errorf("purge: get %s from the %v: %w", path, p.place, err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, fmt.Errorf("purge: get %s from the %v: %w", path, p.place, err)
	}
	return answer.StatusCode, nil
}

// fetch brings an object into the PoP.
func (p *pop) fetch(ctx context.Context, path string) error {
	status, err := p.get(ctx, path, false)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("purge: get %s from the %v: status %d", path, p.place, status)
	}
	return err
}

// has looks an object up.
func (p *pop) has(ctx context.Context, path string) (bool, error) {
	status, err := p.get(ctx, path, true)
	if err == nil && status != http.StatusOK && status != http.StatusGatewayTimeout {
		err = fmt.Errorf("purge: look up %s at the %v: status %d", path, p.place, status)
	}
	return status == http.StatusOK, err
}

// gone looks an object up from an instant on, each millisecond, and returns when the answer was here that it is not there.
func (p *pop) gone(ctx context.Context, path string, from time.Time) (time.Time, error) {
	wait := time.NewTimer(time.Until(from))
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("purge: %s at the %v: %w", path, p.place, context.Cause(ctx))
		}
		has, err := p.has(ctx, path)
		if err != nil || !has {
			return time.Now(), err
		}
		wait.Reset(time.Millisecond)
	}
}

// A hub is where a program purges over HTTP.
type hub struct {
	token string
	http  *http.Transport
}

// hubAPI is the address of fleet.yaml.
const hubAPI = "127.0.0.1:9190"

func newHub(at *lab.Node, token string) *hub {
	return &hub{token, &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return at.DialContext(ctx, network, hubAPI)
		},
	}}
}

// A Told is what the control says of a purge: until the receipt of each PoP was there, by name, since it took the order.
type Told map[string]time.Duration

// purge has an object purged, and returns when every PoP has said that it has done so.
func (h *hub) purge(ctx context.Context, path string) (Told, error) {
	body, err := json.Marshal(map[string]any{"kind": "url", "value": lab.Host + path, "wait": true, "timeout": waitTime.Seconds()})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+hubAPI+"/purge", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+h.token)
	answer, err := h.http.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("purge: %s: %w", path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("purge: %s: %w", path, err)
	}
	var doc struct {
		Complete bool `json:"complete"`
		PoPs     []struct {
			PoP string  `json:"pop"`
			MS  float64 `json:"ms"`
		} `json:"pops"`
	}
	if err := json.Unmarshal(text, &doc); err != nil || !doc.Complete || len(doc.PoPs) != len(lab.Edges()) {
		return nil, fmt.Errorf("purge: %s: status %d, not done by every PoP: %s", path, answer.StatusCode, bytes.TrimSpace(text))
	}
	told := make(Told)
	for _, p := range doc.PoPs {
		told[p.PoP] = time.Duration(p.MS * float64(time.Millisecond))
	}
	return told, nil
}
