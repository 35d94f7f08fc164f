package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"path/filepath"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/edge/cert"
)

// initialise makes the authorities and every node's bundle under dir, and gives each
// edge the local certificates of its sites. What is there and good is kept.
func initialise(n *deploy.Network, dir string, now func() time.Time) error {
	authority, err := fleet.Init(n, dir, now)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.SiteRoot())
	for i := range n.PoPs {
		pop := &n.PoPs[i]
		folder := filepath.Join(dir, "nodes", "edge-"+pop.Name, "certs")
		pairs, _ := cert.Load(folder, nil) // what cannot be read is made anew
		for _, s := range n.SitesOf(pop) {
			if s.TLS.Certificate.Source != deploy.CertificateLocal {
				continue
			}
			for _, host := range s.Hosts {
				if current(pairs[cert.Canonical(host)], roots, now()) {
					continue
				}
				chain, key, err := authority.IssueSite(host)
				if err == nil {
					err = cert.Save(folder, host, chain, key)
				}
				if err != nil {
					return errors.Join(errors.New("certificate of "+host), err)
				}
			}
		}
	}
	return nil
}

// current reports whether a certificate is of this network's authority and not in the
// last third of its life.
func current(c *tls.Certificate, roots *x509.CertPool, now time.Time) bool {
	if c == nil || c.Leaf == nil || c.Leaf.NotAfter.Sub(now) < fleet.RenewBefore {
		return false
	}
	_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
	return err == nil
}
