// Package cert decides which certificate and which TLS policy a name gets, and keeps the keys of
// session tickets.
//
// A [Table] is immutable and read without a lock; [Names] holds the current one, swaps it, and makes the session
// ticket keys roll. Pairs on disk are read by [Load].
package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// An Entry is one certificate and the policy under which its names are served.
type Entry struct {
	// Names are exact host names or one-label wildcards (*.example.org). Case and a trailing
	// dot do not matter. At least one.
	Names []string
	// Domain is the trust domain: PoPs of another one have other ticket keys, and what was
	// agreed in one never resumes in another.
	Domain string
	// Certificate is the chain with its key.
	Certificate *tls.Certificate
	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13. Zero: 1.3. QUIC has 1.3 in any case.
	MinVersion uint16
	// ClientCAs, if set, makes a client certificate of one of these authorities a condition. Such
	// names have no session tickets: each connection shows the certificate anew, and a revoked or expired one does not live on in a ticket.
	ClientCAs *x509.CertPool
}

// A policy is what names must share to be served by one TLS configuration.
type policy struct {
	domain string
	min    uint16
	cas    *x509.CertPool
}

// info is the HKDF info of a policy's ticket keys: a session agreed under one policy never
// resumes under another.
func (p policy) info() string {
	return "hither ticket " + p.domain + "\x00" + tls.VersionName(p.min)
}

// A Table maps names to certificates and policies. It is immutable and safe for
// concurrent use, and serves one [Names] (which sets ticket keys on its configurations). The zero Table knows no name.
type Table struct {
	exact    map[string]*named
	wildcard map[string]*named // by what follows "*."
	configs  []*configs
}

// named is what a name leads to.
type named struct {
	entry *Entry
	conf  *configs
}

// configs are the two ready configurations of a policy. They are never cloned by us, so that keys set on
// them are seen by the next handshake.
type configs struct {
	policy    policy
	tcp, quic *tls.Config
}

// NewTable builds a table; alpn(quic) is the list of protocols to offer. All mistakes are
// returned at once, and then no table.
func NewTable(alpn func(quic bool) []string, entries ...Entry) (*Table, error) {
	t := &Table{exact: make(map[string]*named), wildcard: make(map[string]*named)}
	byPolicy := make(map[policy]*configs)
	var errs []error
	for i := range entries {
		e := &entries[i]
		if err := e.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		p := policy{domain: e.Domain, min: e.MinVersion, cas: e.ClientCAs}
		if p.min == 0 {
			p.min = tls.VersionTLS13
		}
		c := byPolicy[p]
		if c == nil {
			c = &configs{policy: p, tcp: t.config(p, alpn(false)), quic: t.config(p, alpn(true))}
			byPolicy[p] = c
			t.configs = append(t.configs, c)
		}
		n := &named{entry: e, conf: c}
		for _, name := range e.Names {
			at, key := t.exact, Canonical(name)
			if rest, ok := strings.CutPrefix(key, "*."); ok {
				at, key = t.wildcard, rest
			}
			if at[key] != nil {
				errs = append(errs, fmt.Errorf("cert: %s is in two entries", name))
				continue
			}
			at[key] = n
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

func (e *Entry) check() error {
	name := strings.Join(e.Names, " ")
	switch {
	case len(e.Names) == 0:
		return errors.New("cert: an entry without a name")
	case e.Certificate == nil || len(e.Certificate.Certificate) == 0 || e.Certificate.PrivateKey == nil:
		return fmt.Errorf("cert: %s: no certificate", name)
	case e.MinVersion != 0 && e.MinVersion != tls.VersionTLS12 && e.MinVersion != tls.VersionTLS13:
		return fmt.Errorf("cert: %s: minimum version %s: 1.2 and 1.3 are possible", name, tls.VersionName(e.MinVersion))
	}
	for _, n := range e.Names {
		if err := CheckName(n); err != nil {
			return err
		}
	}
	return nil
}

// config builds one of a policy's configurations.
func (t *Table) config(p policy, alpn []string) *tls.Config {
	c := &tls.Config{
		MinVersion: p.min,
		NextProtos: alpn,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if n := t.find(hello.ServerName); n != nil {
				return n.entry.Certificate, nil
			}
			return nil, fmt.Errorf("cert: no certificate for %q", hello.ServerName)
		},
		SessionTicketsDisabled: p.cas != nil,
	}
	if p.cas != nil {
		c.ClientCAs = p.cas
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// Lookup returns the entry that serves a name: the exact one, else the wildcard which
// stands for its first label alone (RFC 6125 section 6.4.3). The entry must not be changed.
func (t *Table) Lookup(name string) (*Entry, bool) {
	if n := t.find(name); n != nil {
		return n.entry, true
	}
	return nil, false
}

func (t *Table) find(name string) *named {
	name = Canonical(name)
	if n := t.exact[name]; n != nil {
		return n
	}
	if label, rest, ok := strings.Cut(name, "."); ok && label != "" {
		return t.wildcard[rest]
	}
	return nil
}

// Entries returns every entry once, in no order, for metrics such as the time to expiry.
func (t *Table) Entries() []*Entry {
	seen := make(map[*Entry]bool)
	var out []*Entry
	for _, m := range []map[string]*named{t.exact, t.wildcard} {
		for _, n := range m {
			if !seen[n.entry] {
				seen[n.entry] = true
				out = append(out, n.entry)
			}
		}
	}
	return out
}
