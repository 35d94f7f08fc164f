package cert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unique"
)

// A Pair is a certificate chain with its key. It was checked when it was read, and is kept as the bytes that it was read from: the first
// handshake which needs it makes of them what crypto/tls takes. A Pair is safe for concurrent use, and is compared by its address.
type Pair struct {
	leaf    []byte                  // DER, as what follows
	issuers []unique.Handle[string] // the leaf's first; each is in memory once, in however many chains it is
	key     []byte                  // PKCS #1, PKCS #8 or SEC 1
	begin   time.Time
	end     time.Time
	isRSA   bool
	rsa     *Pair // for clients that cannot verify this one's signatures; nil: there is none

	ready atomic.Pointer[tls.Certificate]
}

// NotAfter is when its certificate ends, or its second one's for RSA if that ends first.
func (p *Pair) NotAfter() time.Time { return p.end }

// same reports whether q has the same bytes.
func (p *Pair) same(q *Pair) bool {
	return bytes.Equal(p.leaf, q.leaf) && bytes.Equal(p.key, q.key) && slices.Equal(p.issuers, q.issuers) &&
		(p.rsa == nil) == (q.rsa == nil) && (p.rsa == nil || p.rsa.same(q.rsa))
}

// add gives p a second pair for clients that know RSA alone. Nobody uses p yet.
func (p *Pair) add(rsa *Pair) error {
	switch {
	case p.isRSA:
		return unfit{WrongKind, errors.New("the first one's key is RSA already")}
	case !rsa.isRSA:
		return unfit{WrongKind, errors.New("its key is not RSA")}
	}
	p.rsa = rsa
	if rsa.begin.After(p.begin) {
		p.begin = rsa.begin
	}
	if rsa.end.Before(p.end) {
		p.end = rsa.end
	}
	return nil
}

// choose returns what a client can verify: the second pair where it cannot the first, which costs us less.
func (p *Pair) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, err := p.certificate()
	if err != nil || p.rsa == nil {
		return c, err
	}
	asked := *hello
	asked.ServerName = "" // the name is right, and to look would be to parse the certificate in each handshake
	if asked.SupportsCertificate(c) == nil {
		return c, nil
	}
	return p.rsa.certificate()
}

// certificate returns the pair as crypto/tls takes it. Its Leaf is not set, for servers do without. Where several handshakes come first at
// a time, each parses the key, and all go on with one's: nobody waits.
func (p *Pair) certificate() (*tls.Certificate, error) {
	if c := p.ready.Load(); c != nil {
		return c, nil
	}
	key, err := parseKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	chain := make([][]byte, 1, 1+len(p.issuers))
	chain[0] = p.leaf
	for _, issuer := range p.issuers {
		chain = append(chain, []byte(issuer.Value()))
	}
	p.ready.CompareAndSwap(nil, &tls.Certificate{Certificate: chain, PrivateKey: key})
	return p.ready.Load(), nil
}

// parsePair reads a chain, leaf first, and its key, both in PEM. It checks that they are whole, belong together, and are good for each of
// names; an error that is not [unfit] says that something is damaged.
func parsePair(chain, key []byte, names ...string) (*Pair, error) {
	certs, err := blocks(chain, func(kind string) bool { return kind == "CERTIFICATE" })
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(certs[0])
	if err != nil {
		return nil, plainly(err)
	}
	p := &Pair{leaf: certs[0], begin: leaf.NotBefore, end: leaf.NotAfter}
	for _, der := range certs[1:] {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("behind the first certificate: %w", plainly(err))
		}
		p.issuers = append(p.issuers, unique.Make(string(der)))
	}
	keys, err := blocks(key, func(kind string) bool { return kind == "PRIVATE KEY" || strings.HasSuffix(kind, " PRIVATE KEY") })
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	p.key = keys[0]
	private, err := parseKey(p.key)
	if err != nil {
		return nil, err
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(private.Public()) {
		return nil, unfit{Mismatch, errors.New("private key does not match public key")}
	}
	for _, name := range names {
		name = Canonical(name)
		if rest, ok := strings.CutPrefix(name, "*."); ok {
			name = "any." + rest // a name which a certificate for the wildcard covers
		}
		if err := leaf.VerifyHostname(name); err != nil {
			return nil, unfit{WrongName, plainly(err)}
		}
	}
	_, p.isRSA = private.(*rsa.PrivateKey)
	return p, nil
}

// plainly leaves out which package says it.
func plainly(err error) error { return errors.New(strings.TrimPrefix(err.Error(), "x509: ")) }

// blocks returns what is in the PEM blocks of a kind, at least one. A block that does not end is an error: a file that is still being
// written, or was cut off. What stands between blocks says nothing.
func blocks(data []byte, kind func(string) bool) (found [][]byte, err error) {
	begun := bytes.Count(data, []byte("\n-----BEGIN "))
	if bytes.HasPrefix(data, []byte("-----BEGIN ")) {
		begun++
	}
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if begun--; kind(block.Type) {
			found = append(found, block.Bytes)
		}
		data = rest
	}
	switch {
	case begun > 0:
		return nil, errors.New("a PEM block is cut off or damaged")
	case len(found) == 0:
		return nil, errors.New("there is none in the file")
	}
	return found, nil
}

// parseKey reads a private key of a kind that crypto/tls signs with.
func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
			return key, nil
		}
		if key, err := x509.ParseECPrivateKey(der); err == nil {
			return key, nil
		}
		return nil, errors.New("the private key cannot be read: it is damaged, encrypted, or of an unknown kind")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a private key of kind %T signs nothing", key)
}
