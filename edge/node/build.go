package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"hither/cache"
	"hither/deploy"
	"hither/edge/cert"
	"hither/edge/compress"
	"hither/edge/listen"
	"hither/edge/proxy"
	"hither/origin/pool"
)

// This file turns the network file's structs into the parts' own.

// addresses are the PoP's bind addresses with a port; none where the port is off.
func addresses(pop *deploy.PoP, port int) []netip.AddrPort {
	if port == 0 {
		return nil
	}
	bind := pop.Bind
	if len(bind) == 0 {
		bind = pop.Addresses
	}
	out := make([]netip.AddrPort, len(bind))
	for i, a := range bind {
		out[i] = netip.AddrPortFrom(a, uint16(port))
	}
	return out
}

// limits are a front's.
func limits(l deploy.EdgeLimits) listen.Limits {
	return listen.Limits{
		HeaderBytes: int(l.HeaderBytes), HeaderFields: l.HeaderFields, HeaderTime: time.Duration(l.HeaderTime), URLBytes: int(l.URLBytes),
		Silence: time.Duration(l.BodyTime), Idle: time.Duration(l.Idle),
		ConnectionsPerAddress: l.ConnectionsPerAddress, HandshakesPerAddress: l.HandshakesPerAddress, RetryAbove: orNever(l.QUICRetryAbove),
	}
}

// orNever turns the file's 0, which is "never" or "none", into a part's, whose 0 is
// "default".
func orNever[T int | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// Check finds what a network asks of its edges that this version cannot do: taken in silence, it would do nothing.
func Check(n *deploy.Network) (found []deploy.Finding) {
	wrong := func(path, msg string) { found = append(found, deploy.Finding{Path: path, Msg: msg}) }
	for i := range n.Origins {
		// What the pool refuses when an edge starts is found here, by asking it.
		c := poolConfig(&n.Origins[i])
		c.TLS = new(tls.Config)
		for _, a := range n.Origins[i].Gateway.Addresses {
			c.Addresses = append(c.Addresses, a.String())
		}
		if _, err := pool.New(c); err != nil {
			wrong(fmt.Sprintf("origins[%d].pool", i), strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	for i := range n.Sites {
		for j := range n.Sites[i].Rules {
			for k, name := range n.Sites[i].Rules[j].Key.Headers {
				if !proxy.Choosable(http.CanonicalHeaderKey(name)) {
					wrong(fmt.Sprintf("sites[%d].rules[%d].key.headers[%d]", i, j, k), name+" cannot choose: an edge makes it itself, does not pass it on, or judges by it already")
				}
			}
		}
		if n.Sites[i].TLS.Certificate.Source == deploy.CertificateACME {
			wrong(fmt.Sprintf("sites[%d].tls.certificate", i), "this version orders no certificates; write `local`, or name files")
		}
	}
	return found
}

// poolConfig is how this node reaches an origin's gateways, but for what is each one's own.
func (n *Node) poolConfig(o *deploy.Origin) pool.Config {
	c := poolConfig(o)
	c.Node, c.Now, c.Log = n.o.Name, n.o.Now, n.o.Log
	return c
}

// poolConfig is what the network file says of that.
func poolConfig(o *deploy.Origin) pool.Config {
	return pool.Config{
		Origin: o.Name, Protocol: o.Pool.Protocol, Connections: o.Pool.Connections, MaxAge: orNever(time.Duration(o.Pool.MaxAge)), Window: int64(o.Pool.Window),
		Connect: time.Duration(o.Limits.Connect), FirstByte: time.Duration(o.Limits.FirstByte), BodyIdle: time.Duration(o.Limits.Idle),
	}
}

// policyName names a site's TLS policy: connections of one policy may be shared.
func policyName(s *deploy.Site) string {
	return s.Trust + " " + s.TLS.Min + " " + s.TLS.ClientCA
}

// sitesOf is the proxy's table of the sites this PoP serves.
func sitesOf(n *deploy.Network, pop *deploy.PoP, origins map[string]*origin) *proxy.Sites {
	table := proxy.NewSites()
	for _, s := range n.SitesOf(pop) {
		site := &proxy.Site{
			Name: s.Name, Origin: s.Origin, Transport: origins[s.Origin].up, Direct: origins[s.Origin].direct(), Policy: policyName(s),
			EarlyData: s.EarlyData == "safe", MergeSchemes: s.Cache.MergeSchemes,
			HonourRequests: s.Cache.RequestControl == "honour", Compress: compressOf(&s.Compress),
			Reuse: cache.Policy{
				SetCookie: s.Cache.SetCookie == "store", MaxObject: int64(s.Cache.MaxObject), Slice: int64(s.Cache.Slice),
				WhileRevalidate: time.Duration(s.Cache.StaleWhileRevalidate), IfError: time.Duration(s.Cache.StaleIfError),
				Negative: (*time.Duration)(s.Cache.Negative),
			},
		}
		for i := range s.Rules {
			site.Rules = append(site.Rules, ruleOf(&s.Rules[i]))
		}
		table.Add(site, s.Hosts...)
	}
	return table
}

// compressOf is what a site encodes as the proxy has it.
func compressOf(c *deploy.Compress) compress.Policy {
	p := compress.Policy{Min: int64(c.Min), Max: int64(c.Max), Types: compress.NewTypes(c.Types)}
	if len(c.Types) == 0 {
		p.Types = compress.NewTypes(compress.DefaultTypes)
	}
	for _, name := range c.Codings {
		if coding, ok := cache.ParseCoding(name); ok {
			p.Codings = append(p.Codings, coding)
		}
	}
	return p
}

// ruleOf is a rule of the file as the proxy has it.
func ruleOf(r *deploy.Rule) proxy.Rule {
	rule := proxy.Rule{
		Path: r.Path, Bypass: r.Bypass, Query: proxy.QueryKey{Drop: r.Key.Query.Drop, Keep: r.Key.Query.Keep, Sort: r.Key.Query.Sort},
		TTL: (*time.Duration)(r.TTL), Negative: (*time.Duration)(r.Negative), MaxObject: (*int64)(r.MaxObject), Slice: (*int64)(r.Slice),
		WhileRevalidate: (*time.Duration)(r.StaleWhileRevalidate), IfError: (*time.Duration)(r.StaleIfError),
	}
	headers := make([]string, len(r.Key.Headers))
	for i, name := range r.Key.Headers {
		headers[i] = http.CanonicalHeaderKey(name)
	}
	rule.Choose = proxy.Choose(headers, r.Key.Cookies, r.Key.Device)
	if r.SetCookie != "" {
		store := r.SetCookie == "store"
		rule.SetCookie = &store
	}
	return rule
}

// altSvc tells clients of HTTP/1.1 and 2 that HTTP/3 is at the same port (RFC 7838).
func altSvc(port int) string {
	if port == 0 {
		return ""
	}
	return `h3=":` + strconv.Itoa(port) + `"; ma=3600`
}

// entries say which certificate and policy each name has. Pairs are those of the node's
// state folder; sites that name files have theirs read here. All mistakes are returned
// at once.
func entries(n *deploy.Network, pop *deploy.PoP, pairs cert.Pairs) ([]cert.Entry, error) {
	var out []cert.Entry
	var errs []error
	for _, s := range n.SitesOf(pop) {
		e := cert.Entry{Domain: s.Trust, MinVersion: tlsVersions[s.TLS.Min]}
		if s.TLS.ClientCA != "" {
			pem, err := os.ReadFile(s.TLS.ClientCA)
			if err != nil {
				errs = append(errs, fmt.Errorf("site %s: client_ca: %w", s.Name, err))
				continue
			}
			e.ClientCAs = x509.NewCertPool()
			if !e.ClientCAs.AppendCertsFromPEM(pem) {
				errs = append(errs, fmt.Errorf("site %s: client_ca: no certificate in %s", s.Name, s.TLS.ClientCA))
				continue
			}
		}
		if file := s.TLS.Certificate; file.Cert != "" {
			pair, err := tls.LoadX509KeyPair(file.Cert, file.Key)
			if err != nil {
				errs = append(errs, fmt.Errorf("site %s: certificate %s: %w", s.Name, file.Cert, err))
				continue
			}
			e.Names, e.Certificate = s.Hosts, &pair
			out = append(out, e)
			continue
		}
		for _, host := range s.Hosts {
			pair := pairs[cert.Canonical(host)]
			if pair == nil {
				errs = append(errs, fmt.Errorf("site %s: no certificate for %s in the node's state folder (`hither fleet init` makes local ones)", s.Name, host))
				continue
			}
			one := e
			one.Names, one.Certificate = []string{host}, pair
			out = append(out, one)
		}
	}
	return out, errors.Join(errs...)
}

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
