package cert

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"
)

func inPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// selfSigned makes the certificate of a key for names.
func selfSigned(t testing.TB, key crypto.Signer, names ...string) []byte {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("CERTIFICATE", der)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestPairKeys reads a key of each kind in each form that tools write.
func TestPairKeys(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for what, tt := range map[string]struct {
		key  crypto.Signer
		file []byte
	}{
		"rsa, PKCS #1":     {rsaKey, inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		"rsa, PKCS #8":     {rsaKey, inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey)))},
		"ecdsa, SEC 1":     {ecKey, append(inPEM("EC PARAMETERS", []byte{6, 1, 0}), inPEM("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))...)},
		"ecdsa, PKCS #8":   {ecKey, inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ecKey)))},
		"ed25519, PKCS #8": {edKey, inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey)))},
	} {
		p, err := parsePair(selfSigned(t, tt.key, "a.test"), tt.file, "a.test")
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		c, err := p.certificate()
		if err != nil || !tt.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(c.PrivateKey.(crypto.Signer).Public()) {
			t.Errorf("%s: another key: %v", what, err)
		}
	}
}

// TestPairRefused gives what no handshake could use, or no client should see.
func TestPairRefused(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	chain, file := selfSigned(t, key, "a.test", "*.b.test"), inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	otherFile := inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(other)))
	exchange := inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader)))))
	two := append(append([]byte("# leaf\n"), chain...), selfSigned(t, other, "authority")...)
	if _, err := parsePair(two, file, "A.test.", "x.b.test", "*.b.test"); err != nil {
		t.Errorf("a good pair: %v", err)
	}
	for what, tt := range map[string]struct {
		chain, key []byte
		names      string
		want       string
	}{
		"another's key":           {chain, otherFile, "a.test", "private key does not match"},
		"an rsa key":              {chain, inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(must(rsa.GenerateKey(rand.Reader, 2048)))), "a.test", "private key does not match"},
		"a key that signs not":    {chain, exchange, "a.test", "signs nothing"},
		"another name":            {chain, file, "a.test c.test", "not c.test"},
		"below a wildcard":        {chain, file, "x.y.b.test", "not x.y.b.test"},
		"another wildcard":        {chain, file, "*.c.test", "not any.c.test"},
		"an empty file":           {nil, file, "a.test", "certificate: there is none"},
		"no key":                  {chain, nil, "a.test", "key: there is none"},
		"files the wrong way":     {file, chain, "a.test", "certificate: there is none"},
		"cut in the leaf":         {chain[:len(chain)/2], file, "a.test", "cut off"},
		"cut behind the leaf":     {two[:len(two)-100], file, "a.test", "cut off"},
		"cut in the last line":    {two[:len(two)-3], file, "a.test", "cut off"},
		"cut in the key":          {chain, file[:len(file)/2], "a.test", "key: a PEM block is cut off"},
		"damaged in the middle":   {append([]byte(strings.Replace(string(chain), "\nM", "\n!", 1)), two...), file, "a.test", "cut off or damaged"},
		"no certificate in it":    {inPEM("CERTIFICATE", []byte("x")), file, "a.test", "malformed"},
		"none behind the leaf":    {append(append([]byte{}, chain...), inPEM("CERTIFICATE", []byte("x"))...), file, "a.test", "behind the first certificate"},
		"no key in it":            {chain, inPEM("PRIVATE KEY", []byte("x")), "a.test", "cannot be read"},
		"an encrypted key":        {chain, inPEM("ENCRYPTED PRIVATE KEY", []byte("x")), "a.test", "encrypted"},
		"zeros instead of a file": {make([]byte, 4096), file, "a.test", "there is none"},
	} {
		p, err := parsePair(tt.chain, tt.key, strings.Fields(tt.names)...)
		if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", what, err, tt.want)
		}
	}
}

// TestPairFirstUse lets many handshakes need a pair at a time: all of them get one and the same.
func TestPairFirstUse(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p, err := parsePair(selfSigned(t, key, "a.test"), inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))))
	if err != nil {
		t.Fatal(err)
	}
	if p.ready.Load() != nil {
		t.Error("it is parsed before somebody needs it")
	}
	got := make([]*tls.Certificate, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i], _ = p.certificate() })
	}
	wg.Wait()
	for _, c := range got {
		if c == nil || c != got[0] {
			t.Fatal("handshakes have several certificates of one pair")
		}
	}
}

// FuzzPair holds that no file ends the program, and that what is taken can be used.
func FuzzPair(f *testing.F) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	chain, file := selfSigned(f, key, "a.test"), inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	f.Add(chain, file)
	f.Add(chain[:100], file)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), []byte("-----BEGIN PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		p, err := parsePair(chain, key)
		if err != nil {
			return
		}
		if c, err := p.certificate(); err != nil || len(c.Certificate) == 0 {
			t.Errorf("it is taken, and no handshake can use it: %v", err)
		}
	})
}
