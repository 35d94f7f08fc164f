package edge_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/edge/cert"
	"hither/edge/listen"
	"hither/edge/proxy"
	"hither/origin/pool"
)

// An authority signs what the scripts' edges and origins show one another.
type authority struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, pool: x509.NewCertPool(), root: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "scripts"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: longAgo, NotAfter: longAhead,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.root, a.root, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.pool.AddCert(a.root)
	return a, nil
}

// Certificates hold at every time a script's clock may show.
var (
	longAgo   = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	longAhead = time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
)

// issue makes a certificate for names, good for both sides of a connection.
func (a *authority) issue(names ...string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: longAgo, NotAfter: longAhead,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.root, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.root.Raw}, PrivateKey: key}, nil
}

// A siteSetup is a site as a script describes it.
type siteSetup struct {
	hosts        []string
	origin       string
	minTLS       uint16 // 0 = 1.3
	earlyData    bool
	mergeSchemes bool
	reuse        cache.Policy
	rules        []proxy.Rule
}

// A setup is what a script says of its edge.
type setup struct {
	addr    netip.Addr
	sites   map[string]*siteSetup
	limits  listen.Limits
	pool    pool.Config // timeouts and limits only
	trusted []netip.Prefix
	clock   *clock
	origin  string // the origin's address
}

// An edge is a running edge seen from outside.
type edge struct {
	https   netip.AddrPort // TCP and UDP
	http    netip.AddrPort
	journal *journal
	active  func() int // requests under way
	close   func() error
}

// nodeName is the edge's name in Via, Cache-Status and Proxy-Status.
const nodeName = "fra"

// startEdge assembles a whole edge: the one place that knows of what.
func startEdge(s *setup, a *authority, j *journal) (*edge, error) {
	mem, err := store.NewMemory(16 << 20)
	if err != nil {
		return nil, err
	}
	shown, err := a.issue(nodeName)
	if err != nil {
		return nil, err
	}
	far := s.pool
	far.Origin, far.Node, far.Addresses = "us", nodeName, []string{s.origin}
	far.TLS = &tls.Config{Certificates: []tls.Certificate{*shown}, RootCAs: a.pool, ServerName: "origin", MinVersion: tls.VersionTLS13}
	pl, err := pool.New(far)
	if err != nil {
		return nil, err
	}
	sites := proxy.NewSites()
	var entries []cert.Entry
	for name, site := range s.sites {
		sites.Add(&proxy.Site{
			Name: name, Origin: "us", Transport: pl, Policy: "main " + tls.VersionName(site.minTLS), EarlyData: site.earlyData,
			MergeSchemes: site.mergeSchemes, Reuse: site.reuse, Rules: site.rules,
		}, site.hosts...)
		pair, err := a.issue(site.hosts...)
		if err != nil {
			return nil, err
		}
		entries = append(entries, cert.Entry{Names: site.hosts, Domain: "main", Certificate: pair, MinVersion: site.minTLS})
	}
	table, err := cert.NewTable(listen.ALPN, entries...)
	if err != nil {
		return nil, err
	}
	// The port is part of Alt-Svc, and known only when it is bound.
	var p *proxy.Proxy
	front, err := listen.Listen(listen.Config{
		HTTPS: []netip.AddrPort{netip.AddrPortFrom(s.addr, 0)}, QUIC: []netip.AddrPort{netip.AddrPortFrom(s.addr, 0)},
		HTTP: []netip.AddrPort{netip.AddrPortFrom(s.addr, 0)},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			j.bell.ring()
			p.ServeHTTP(w, r)
		}),
		Plain: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.Redirect(w, r) }),
		TLS:   cert.NewNames(table, cert.NewTickets(0, nil)).Config, Limits: s.limits, Promise: -1,
		Hooks: listen.Hooks{
			Handshakes: func(pr listen.Proto, k listen.Kind) {
				j.count(fmt.Sprintf(`edge_handshakes_total{proto=%s,kind=%s}`, pr, k), 1)
			},
			Rejected: func(r listen.Reason) {
				j.count(fmt.Sprintf(`edge_rejected_total{reason=%s}`, r), 1)
				j.count("edge_rejected_total", 1)
			},
		},
	})
	if err != nil {
		return nil, err
	}
	e := &edge{https: front.HTTPS()[0], http: front.HTTP()[0], journal: j, active: front.Active}
	p = proxy.New(proxy.Config{
		Node: nodeName, Cache: cache.New(cache.Config{Store: mem, Now: s.clock.now}), Sites: sites, Port: int(e.https.Port()),
		AltSvc: `h3=":` + strconv.Itoa(int(e.https.Port())) + `"; ma=3600`, Trusted: s.trusted, Now: s.clock.now,
		End: func(x *proxy.Exchange) { j.log(recordOf(x)) },
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pl.Start(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- front.Serve() }()
	e.close = func() error {
		err := errors.Join(front.Close(), <-served, pl.Close())
		mem.Close()
		return err
	}
	return e, nil
}

// recordOf names what scripts may expect of an exchange.
func recordOf(x *proxy.Exchange) record {
	return record{
		"proto": x.Proto, "tls": x.TLS, "early": strconv.FormatBool(x.Early), "method": x.Method, "host": x.Host, "target": x.Target,
		"referer": x.Referer, "client": x.Client.String(), "site": x.Site, "origin": x.Origin, "status": strconv.Itoa(x.Status),
		"verdict": x.Verdict.String(), "reason": string(x.Reason), "in": strconv.FormatInt(x.BytesIn, 10), "out": strconv.FormatInt(x.BytesOut, 10),
	}
}
