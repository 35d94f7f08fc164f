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

	// Published are addresses that DNS says, by those to connect to in their place: seen from inside, a network that is
	// published elsewhere has others. nil = none.
	Published map[netip.Addr]netip.Addr

	// Step is told what is done next, Note what cannot be measured and why. nil = nobody wants to know.
	Step, Note func(what string)
}

// Remote measures visits to a URL, over every protocol that its server takes. Where the answers say that they are from a
// cache, misses are measured too: the URL with a query that nobody has asked for. Whether the edge has connections to
// the origin then nobody can see from here; after the first it should. Nor can round trips be counted.
//
// The error is of a URL for which no protocol works, or of a resolver that does not answer.
func Remote(ctx context.Context, o RemoteOptions) (*Result, error) {
	var all []*remote
	for _, t := range []struct {
		way Way
		url *url.URL
	}{{Edge, o.URL}, {Direct, o.Direct}} {
		if t.url == nil {
			continue
		}
		m := &remote{o: o, way: t.way, url: t.url, unique: strconv.FormatInt(time.Now().UnixNano(), 36)}
		m.client = m.newClient()
		if err := m.find(ctx); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	r := &Result{}
	for _, m := range all {
		for _, note := range m.notes {
			o.tell(o.Note, "%s", note)
		}
		for i := range o.Samples {
			o.tell(o.Step, "%s, round %d of %d", m.way, i+1, o.Samples)
			if err := m.round(ctx); err != nil {
				return nil, err
			}
		}
		r.Rows = append(r.Rows, m.rows...)
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
	rows   []Row
	notes  []string // what cannot be measured
}

func (m *remote) newClient() *visit.Client {
	return &visit.Client{
		Dial:      new(net.Dialer).DialContext,
		ListenUDP: func() (net.PacketConn, error) { return net.ListenUDP("udp", nil) },
		Authority: m.url.Host,
		TLS:       &tls.Config{RootCAs: m.o.Roots, ServerName: m.url.Hostname()},
	}
}

// reachTime bounds the first handshake: far more than it takes around the world.
const reachTime = 10 * time.Second

// reach shakes hands once: a server that is down, silent or not trusted is told as such, and not as protocols that are not
// measured. Clients learn of HTTP/3 over TCP, so that is where it must answer.
func (m *remote) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	raw, err := m.client.Dial(ctx, "tcp", m.client.To.String())
	if err != nil {
		return load.NotThere(err)
	}
	defer raw.Close()
	var untrusted *tls.CertificateVerificationError
	err = tls.Client(raw, m.client.TLS).HandshakeContext(ctx)
	switch {
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w; name whom to trust with --ca FILE (ca.pem in the network's state folder)", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%v accepts connections and does not shake hands within %v; name the port of an HTTPS server", m.client.To, reachTime)
	case err != nil:
		return fmt.Errorf("shake hands with %v: %w; name the port of an HTTPS server", m.client.To, err)
	}
	return nil
}

// find visits once by each protocol, and makes a row without samples for each case that there is.
func (m *remote) find(ctx context.Context) error {
	_, err := m.resolve(ctx)
	if err == nil {
		err = m.reach(ctx)
	}
	if err != nil {
		return fmt.Errorf("rtt: %v: %w", m.url, err)
	}
	var works []visit.Protocol
	var first error
	var seen visit.Visit
	for _, p := range visit.Protocols() {
		v, _, err := m.visit(ctx, p, false)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded) && !p.QUIC():
			return fmt.Errorf("rtt: %v: no answer within %v", m.url, visitTime)
		case err == nil && v.Status != 200:
			return fmt.Errorf("rtt: %v: status %d; name a page that is there", m.url, v.Status)
		case err != nil:
			if first == nil {
				first = err
			}
			m.notes = append(m.notes, fmt.Sprintf("%s is not measured: %v", p, err))
		default:
			works, seen = append(works, p), v
		}
	}
	if works == nil {
		return fmt.Errorf("rtt: %v: %w", m.url, first)
	}
	caches := []Cache{None}
	if m.way == Edge && strings.Contains(seen.Verdict, "; hit") {
		caches = []Cache{Hit, MissWarm}
	}
	for _, cache := range caches {
		for _, p := range works {
			m.rows = append(m.rows, Row{Case: Case{Way: m.way, Protocol: p, Cache: cache, Size: deploy.Size(seen.Bytes)}})
		}
	}
	return nil
}

// round takes a sample of each row.
func (m *remote) round(ctx context.Context) error {
	rows := m.rows
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
			return fmt.Errorf("rtt: %v: %v: %d times in a row: %w", m.url, rows[i].Case, attempts, err)
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
	to, err := load.Resolve(ctx, m.url, m.o.Resolver)
	if inside, ok := m.o.Published[to.Addr()]; ok {
		to = netip.AddrPortFrom(inside, to.Port())
	}
	m.client.To = to
	if _, bare := netip.ParseAddr(m.url.Hostname()); bare == nil {
		return 0, err // nobody was asked
	}
	return time.Since(start), err
}
