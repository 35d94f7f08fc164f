package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"hither/deploy"
	"hither/edge/cert"
	"hither/edge/listen"
)

// certificates are what the table of names is made from. They do not change.
type certificates struct {
	pairs   *cert.Pairs                  // of sources(network)
	clients map[string]*cert.Authorities // by client_ca
}

// sources are where the pairs of the PoP's sites come from: one for each host, or one for all of a site that names files.
func (n *Node) sources(network *deploy.Network) (list []cert.Source) {
	for _, s := range network.SitesOf(network.PoP(n.o.Name)) {
		if file := s.TLS.Certificate; file.Cert != "" {
			list = append(list, cert.Source{Names: s.Hosts, Cert: file.Cert, Key: file.Key, RSACert: file.RSACert, RSAKey: file.RSAKey})
			continue
		}
		for _, host := range s.Hosts {
			list = append(list, cert.Folder(n.certsFolder(), host))
		}
	}
	return list
}

// table reads the certificates and builds the table of names. All mistakes are returned at once.
func (n *Node) table(network *deploy.Network) (*cert.Table, certificates, cert.News, error) {
	var c certificates
	var news cert.News
	c.pairs, news = cert.Load(n.sources(network), n.certs.pairs, n.o.Now())
	c.clients = make(map[string]*cert.Authorities)
	var errs []error
	for _, s := range network.SitesOf(network.PoP(n.o.Name)) {
		if path := s.TLS.ClientCA; path != "" && c.clients[path] == nil {
			pem, err := os.ReadFile(path)
			if err == nil {
				c.clients[path], err = cert.ParseAuthorities(pem)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("site %s: client_ca %s: %w", s.Name, path, err))
			}
		}
	}
	list, err := n.entries(network, c)
	if err = errors.Join(append(errs, err)...); err != nil {
		return nil, certificates{}, news, err
	}
	table, err := cert.NewTable(listen.ALPN, list...)
	return table, c, news, err
}

// entries say which certificate and policy each name has.
func (n *Node) entries(network *deploy.Network, c certificates) ([]cert.Entry, error) {
	var out []cert.Entry
	var errs []error
	i := 0 // of sources
	for _, s := range network.SitesOf(network.PoP(n.o.Name)) {
		e := cert.Entry{Domain: s.Trust, MinVersion: tlsVersions[s.TLS.Min], ClientCAs: c.clients[s.TLS.ClientCA]}
		hosts, hint := [][]string{s.Hosts}, ""
		if s.TLS.Certificate.Cert == "" {
			hosts, hint = nil, " in the node's state folder (`hither fleet init` makes local ones)"
			for _, host := range s.Hosts {
				hosts = append(hosts, []string{host})
			}
		}
		for _, names := range hosts {
			pair, refused := c.pairs.At(i)
			i++
			if pair == nil {
				errs = append(errs, fmt.Errorf("site %s: no certificate for %s%s: %w", s.Name, names[0], hint, refused.Err))
				continue
			}
			one := e
			one.Names, one.Certificate = names, pair
			out = append(out, one)
		}
	}
	return out, errors.Join(errs...)
}

// useCerts keeps what the table in use was made from, and tells it. n.mu is held, or nothing runs yet.
func (n *Node) useCerts(c certificates, news cert.News) {
	n.certs = c
	n.count.certs.WithLabelValues(certTaken).Add(float64(len(news.Taken)))
	n.expiries()
}

// refuseCerts tells which pairs were not taken.
func (n *Node) refuseCerts(news cert.News) {
	for _, r := range news.Refused {
		n.count.certs.WithLabelValues(string(r.Reason)).Inc()
		n.o.Log.Warn("a certificate was not taken", "reason", r.Reason, "error", r)
	}
}

const (
	// lookEvery is the time between two looks at the files of certificates. A pair is taken at the second look which finds it.
	lookEvery = 5 * time.Second
	// lookShare is the part of its time that a node may look: where there are so many files that a look takes long, it looks less often.
	lookShare = 100
	// lookAtLeast ends that: a look also takes long when a file system has hung, which says nothing of the next one.
	lookAtLeast = 5 * time.Minute
)

// watchCerts looks after the files of certificates until ctx ends.
func (n *Node) watchCerts(ctx context.Context) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		n.lookAtCerts()
		timer.Reset(min(max(lookEvery, lookShare*time.Since(began)), lookAtLeast))
	}
}

// lookAtCerts takes pairs whose files have changed, for the handshakes that begin afterwards. A file system that hangs keeps nobody but who looks.
func (n *Node) lookAtCerts() {
	n.mu.Lock()
	c := n.certs
	n.mu.Unlock()
	pairs, news := c.pairs.Look(n.o.Now())
	if pairs == c.pairs {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.certs.pairs != c.pairs {
		return // a network file was taken meanwhile, and what it found is newer
	}
	c.pairs = pairs
	if len(news.Taken) > 0 {
		list, err := n.entries(n.network, c)
		if err == nil {
			var table *cert.Table
			if table, err = cert.NewTable(listen.ALPN, list...); err == nil {
				n.names.Swap(table)
			}
		}
		if err != nil { // the same network made a table before
			n.o.Log.Error("no table of names", "error", err)
			return
		}
	}
	for _, s := range news.Taken {
		n.o.Log.Info("a certificate was taken", "names", s.Names, "file", s.Cert)
	}
	n.refuseCerts(news)
	n.useCerts(c, news)
}
