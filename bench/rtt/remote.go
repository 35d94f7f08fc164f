package rtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hither/bench/load"
	"hither/bench/visit"
	"hither/deploy"
)

// RemoteOptions say what to measure of a network that runs already.
type RemoteOptions struct {
	URL      *url.URL // https
	Direct   *url.URL // the same file without an edge; nil = is not measured
	Resolver string   // the DNS server to ask, HOST:PORT; "" = the machine's
	Roots    *x509.CertPool
	Samples  int

	// Step is told what is done next, Note what cannot be measured and why. nil = nobody wants to know.
	Step, Note func(what string)
}

// Remote measures visits to a URL, over every protocol that its server takes. Where the answers say that they are from a
// cache, misses are measured too: the URL with a query that nobody has asked for. Whether the edge has connections to
// the origin then nobody can see from here; after the first it should. Nor can round trips be counted.
//
// The error is of a URL for which no protocol works, or of a resolver that does not answer.
func Remote(ctx context.Context, o RemoteOptions) (*Result, error) {
	r := &Result{}
	for _, t := range []struct {
		way Way
		url *url.URL
	}{{Edge, o.URL}, {Direct, o.Direct}} {
		if t.url == nil {
			continue
		}
		m := &remote{o: o, way: t.way, url: t.url, unique: strconv.FormatInt(time.Now().UnixNano(), 36)}
		m.client = m.newClient()
		rows, err := m.find(ctx)
		if err != nil {
			return nil, err
		}
		r.Rows = append(r.Rows, rows...)
		for i := range o.Samples {
			o.tell(o.Step, "%s, round %d of %d", t.way, i+1, o.Samples)
			if err := m.round(ctx, r.Rows[len(r.Rows)-len(rows):]); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// Steps is how often Step is called.
func (o RemoteOptions) Steps() int {
	if o.Direct == nil {
		return o.Samples
	}
	return 2 * o.Samples
}

func (o RemoteOptions) tell(whom func(string), format string, args ...any) {
	if whom != nil {
		whom(fmt.Sprintf(format, args...))
	}
}

// A remote is one URL that is visited.
type remote struct {
	o      RemoteOptions
	way    Way
	url    *url.URL
	client *visit.Client
	unique string // what tells this run's misses from those of others
	asked  int
}

func (m *remote) newClient() *visit.Client {
	return &visit.Client{
		Dial:      new(net.Dialer).DialContext,
		ListenUDP: func() (net.PacketConn, error) { return net.ListenUDP("udp", nil) },
		Authority: m.url.Host,
		TLS:       &tls.Config{RootCAs: m.o.Roots, ServerName: m.url.Hostname()},
	}
}

// find visits once by each protocol, and returns a row without samples for each case that there is.
func (m *remote) find(ctx context.Context) ([]Row, error) {
	if _, err := m.resolve(ctx); err != nil {
		return nil, fmt.Errorf("rtt: %v: %w", m.url, err)
	}
	var works []visit.Protocol
	var first error
	var notes []string
	var seen visit.Visit
	for _, p := range visit.Protocols() {
		v, _, err := m.visit(ctx, p, false)
		var untrusted *tls.CertificateVerificationError
		var dial *net.OpError
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &untrusted):
			return nil, fmt.Errorf("rtt: %v: %w; name whom to trust with --ca FILE (ca.pem in the network's state folder)", m.url, err)
		case errors.As(err, &dial) && dial.Op == "dial": // clients learn of HTTP/3 over TCP: it is down
			return nil, fmt.Errorf("rtt: %v: %w", m.url, err)
		case err == nil && v.Status != 200:
			return nil, fmt.Errorf("rtt: %v: status %d", m.url, v.Status)
		case err != nil:
			if first == nil {
				first = err
			}
			notes = append(notes, fmt.Sprintf("%s is not measured: %v", p, err))
		default:
			works, seen = append(works, p), v
		}
	}
	if works == nil {
		return nil, fmt.Errorf("rtt: %v: %w", m.url, first)
	}
	for _, note := range notes {
		m.o.tell(m.o.Note, "%s", note)
	}
	caches := []Cache{None}
	if m.way == Edge && strings.Contains(seen.Verdict, "; hit") {
		caches = []Cache{Hit, MissWarm}
	}
	var rows []Row
	for _, cache := range caches {
		for _, p := range works {
			rows = append(rows, Row{Case: Case{Way: m.way, Protocol: p, Cache: cache, Size: deploy.Size(seen.Bytes)}})
		}
	}
	return rows, nil
}

// round takes a sample of each row.
func (m *remote) round(ctx context.Context, rows []Row) error {
	for i := range rows {
		var err error
		for range attempts {
			var v visit.Visit
			var asked time.Duration
			if v, asked, err = m.visit(ctx, rows[i].Protocol, rows[i].Cache == MissWarm); err == nil {
				err = rows[i].check(v)
			}
			if err == nil {
				s := newSample(v)
				s.DNS = asked
				rows[i].Samples = append(rows[i].Samples, s)
				break
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		if err != nil {
			return fmt.Errorf("rtt: %v: %d times in a row: %w", rows[i].Case, attempts, err)
		}
	}
	return nil
}

// visit asks for the address and visits.
func (m *remote) visit(ctx context.Context, p visit.Protocol, miss bool) (v visit.Visit, asked time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, visitTime)
	defer cancel()
	if asked, err = m.resolve(ctx); err != nil {
		return v, 0, err
	}
	if !m.client.Primed(p) {
		if err := m.client.Prime(ctx, p); err != nil {
			return v, 0, err
		}
	}
	target := *m.url
	if miss {
		m.asked++
		query := target.Query()
		query.Set("hither-bench", fmt.Sprintf("%s-%d", m.unique, m.asked))
		target.RawQuery = query.Encode()
	}
	v, err = m.client.Visit(ctx, p, target.RequestURI())
	if err == nil && v.Status == 200 && v.Early != (p == visit.H3Early) {
		err = fmt.Errorf("%w: the server did not take 0-RTT data", errAgain)
	}
	return v, asked, err
}

// resolve finds the address to visit, and how long that took.
func (m *remote) resolve(ctx context.Context) (took time.Duration, err error) {
	start := time.Now()
	m.client.To, err = load.Resolve(ctx, m.url, m.o.Resolver)
	if _, bare := netip.ParseAddr(m.url.Hostname()); bare == nil {
		return 0, err // nobody was asked
	}
	return time.Since(start), err
}
