package cert_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hither/edge/cert"
)

// A watched is a pair of files, as somebody else's program writes them, and who watches them.
type watched struct {
	t      *testing.T
	source cert.Source
	pairs  *cert.Pairs
	in     *cert.Pair // use
}

// watch writes a pair for names and reads it.
func watch(t *testing.T, names ...string) *watched {
	t.Helper()
	dir := t.TempDir()
	w := &watched{t: t, source: cert.Source{Names: names, Cert: filepath.Join(dir, "fullchain.pem"), Key: filepath.Join(dir, "privkey.pem")}}
	chain, key := pair(t, names...)
	w.write(chain, key)
	var news cert.News
	w.pairs, news = cert.Load([]cert.Source{w.source}, nil, time.Now())
	if len(news.Taken) != 1 || len(news.Refused) != 0 || len(w.pairs.Refused()) != 0 {
		t.Fatalf("%+v", news)
	}
	w.in, _ = w.pairs.At(0)
	return w
}

// write writes what is not nil, over what is there.
func (w *watched) write(chain, key []byte) {
	w.t.Helper()
	for path, data := range map[string][]byte{w.source.Cert: chain, w.source.Key: key} {
		if data == nil {
			continue
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *watched) look() cert.News {
	next, news := w.pairs.Look(time.Now())
	w.pairs = next
	return news
}

// refuses looks twice, as files must have stayed the same for a while, and wants the pair in use to stay.
func (w *watched) refuses(what string, reason cert.Reason, words string) {
	w.t.Helper()
	if news := w.look(); len(news.Taken) > 0 || len(news.Refused) > 0 {
		w.t.Errorf("%s: the files were read at once: %+v", what, news)
	}
	news := w.look()
	if len(news.Taken) != 0 || len(news.Refused) != 1 {
		w.t.Fatalf("%s: %+v", what, news)
	}
	r := news.Refused[0]
	if r.Reason != reason || !r.Kept || !strings.Contains(r.Error(), words) || !strings.HasSuffix(r.Error(), "; the old one stays") || strings.Contains(r.Error(), "\n") {
		w.t.Errorf("%s: %s: %v", what, r.Reason, r)
	}
	if p, standing := w.pairs.At(0); p != w.in || standing != r {
		w.t.Errorf("%s: the old pair does not stay", what)
	}
	for range 3 {
		if news := w.look(); len(news.Taken) > 0 || len(news.Refused) > 0 || len(w.pairs.Refused()) != 1 {
			w.t.Errorf("%s: it is told again: %+v", what, news)
		}
	}
}

// takes looks twice and wants another pair to be in use.
func (w *watched) takes(what string) {
	w.t.Helper()
	w.look()
	news := w.look()
	p, standing := w.pairs.At(0)
	if len(news.Taken) != 1 || len(news.Refused) > 0 || p == w.in || standing != nil || len(w.pairs.Refused()) != 0 {
		w.t.Errorf("%s: %+v", what, news)
	}
	w.in = p
	for range 2 {
		if news := w.look(); len(news.Taken)+len(news.Refused) > 0 {
			w.t.Errorf("%s: it is told again: %+v", what, news)
		}
	}
}

// between makes a pair for name with these times.
func between(t *testing.T, name string, begin, end time.Time) (chain, key []byte) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: begin, NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: k})
}

// TestWatch has files of a pair renewed in all the ways in which that goes right and wrong.
func TestWatch(t *testing.T) {
	w := watch(t, "a.test", "b.test")
	if next, news := w.pairs.Look(time.Now()); len(news.Taken)+len(news.Refused) > 0 {
		t.Errorf("nothing has changed: %+v", news)
	} else {
		w.pairs = next
	}
	good, goodKey := pair(t, "a.test", "b.test")
	w.write(good, goodKey)
	w.takes("a new pair")

	// One file after the other, with a look between.
	good, goodKey = pair(t, "a.test", "b.test")
	w.write(good, nil)
	w.look()
	w.write(nil, goodKey)
	w.takes("a pair that is written while it is looked at")

	good, goodKey = pair(t, "a.test", "b.test")
	w.write(good, nil)
	w.refuses("a chain without its key", cert.Mismatch, "pair of a.test and 1 more: private key does not match public key")
	w.write(nil, goodKey)
	w.takes("the key that was missing")

	_, other := pair(t, "a.test", "b.test")
	w.write(nil, other)
	w.refuses("another's key", cert.Mismatch, "does not match")
	w.write(nil, goodKey)
	w.look()
	if news := w.look(); len(news.Taken)+len(news.Refused) > 0 || len(w.pairs.Refused()) != 0 {
		t.Errorf("the key of before is back: %+v", news)
	}
	if p, _ := w.pairs.At(0); p != w.in {
		t.Error("the same bytes are another pair")
	}

	w.write(pair(t, "a.test"))
	w.refuses("too few names", cert.WrongName, "not b.test")
	chain, key := pair(t, "a.test", "b.test")
	w.write(append(append([]byte{}, chain...), good[:len(good)/2]...), key)
	w.refuses("half of the second certificate", cert.Damaged, "cut off")
	w.write([]byte{}, nil)
	w.refuses("an empty file", cert.Damaged, "there is none")
	w.write(make([]byte, 1<<20+1), nil)
	w.refuses("a huge file", cert.Unreadable, "at most")
	if err := os.Remove(w.source.Cert); err != nil {
		t.Fatal(err)
	}
	w.refuses("no file", cert.Unreadable, "no such file")
	if r := w.pairs.Refused()[0]; !errors.Is(r, fs.ErrNotExist) {
		t.Errorf("%v does not say what it is", r)
	}
	if err := syscall.Mkfifo(w.source.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	w.refuses("a pipe", cert.Unreadable, "is no file")
	if err := os.Remove(w.source.Cert); err != nil {
		t.Fatal(err)
	}
	w.write(chain, nil)
	w.takes("a whole file")
}

// TestWatchLinks swaps the folder behind a symbolic link, as container platforms do with what they mount.
func TestWatchLinks(t *testing.T) {
	w := watch(t, "a.test")
	dir := t.TempDir()
	version := func(name string) {
		t.Helper()
		chain, key := pair(t, "a.test")
		folder := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "c"), chain, 0o600), os.WriteFile(filepath.Join(folder, "k"), key, 0o600),
			os.Symlink(name, filepath.Join(dir, "new")), os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "data"))); err != nil {
			t.Fatal(err)
		}
	}
	version("1")
	for path, file := range map[string]string{w.source.Cert: "c", w.source.Key: "k"} {
		if err := errors.Join(os.Remove(path), os.Symlink(filepath.Join(dir, "data", file), path)); err != nil {
			t.Fatal(err)
		}
	}
	w.takes("links in the files' place")
	version("2")
	w.takes("another folder behind the link")
}

// TestWatchTimes offers pairs that have ended and that have not begun. What clients are well with stays as long as it is better.
func TestWatchTimes(t *testing.T) {
	w := watch(t, "a.test") // for an hour
	now := time.Now()
	w.write(between(t, "a.test", now.Add(-48*time.Hour), now.Add(-24*time.Hour)))
	w.refuses("one that has ended", cert.WrongTime, "it ended at")
	w.write(between(t, "a.test", now.Add(30*time.Minute), now.Add(24*time.Hour)))
	w.refuses("one that has not begun", cert.WrongTime, "it begins at")
	var news cert.News
	if w.pairs, news = w.pairs.Look(now.Add(31 * time.Minute)); len(news.Taken) != 1 || len(w.pairs.Refused()) != 0 {
		t.Errorf("it has begun, and is not taken: %+v", news)
	}
	if p, _ := w.pairs.At(0); !p.NotAfter().Equal(now.Add(24 * time.Hour).UTC().Truncate(time.Second)) {
		t.Errorf("it ends at %v", p.NotAfter())
	}
}

// TestLoad reads sources again with what was read before.
func TestLoad(t *testing.T) {
	w := watch(t, "a.test")
	dir := t.TempDir()
	chain, key := pair(t, "*.example.org")
	if err := cert.Save(dir, "*.example.org", chain, key); err != nil {
		t.Fatal(err)
	}
	list := []cert.Source{cert.Folder(dir, "*.example.org"), w.source, cert.Folder(dir, "none.test")}
	second, news := cert.Load(list, w.pairs, time.Now())
	if len(news.Taken) != 1 || len(news.Refused) != 1 || news.Refused[0].Kept || !strings.Contains(news.Refused[0].Error(), "pair of none.test: ") ||
		!strings.HasSuffix(news.Refused[0].Error(), "; there is none yet") {
		t.Errorf("%+v", news)
	}
	if p, _ := second.At(1); p != w.in {
		t.Error("a pair whose files are the same was made anew")
	}
	if p, r := second.At(2); p != nil || r == nil {
		t.Errorf("%v, %v", p, r)
	}

	// At a reload nobody waits for a second look.
	_, other := pair(t, "a.test")
	w.write(nil, other)
	third, news := cert.Load(list[1:], second, time.Now())
	if len(news.Refused) != 1 || len(news.Taken) != 0 { // of none.test it was told
		t.Errorf("%+v", news)
	}
	if p, r := third.At(0); p != w.in || r == nil || r.Reason != cert.Mismatch {
		t.Errorf("the old pair does not stay: %v", r)
	}
	if next, news := third.Look(time.Now()); len(news.Refused) != 0 || len(next.Refused()) != 2 {
		t.Errorf("a look tells it again: %+v", news)
	}

	// A pair of before is no pair for other names.
	changed := w.source
	changed.Names = []string{"a.test", "c.test"}
	w.write(pair(t, "a.test"))
	fourth, news := cert.Load([]cert.Source{changed}, third, time.Now())
	if p, r := fourth.At(0); p != nil || r == nil || r.Reason != cert.WrongName || r.Kept {
		t.Errorf("%+v", news)
	}
}

// rsaPair makes a pair with an RSA key for names, as PEM.
func rsaPair(t testing.TB, names ...string) (chain, key []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(3), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * time.Minute)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})
}

// TestRSA has a second pair beside the first: each client gets what it can verify, by TLS 1.2 and 1.3.
func TestRSA(t *testing.T) {
	dir := t.TempDir()
	chain, key := pair(t, "a.test")
	if err := cert.Save(dir, "a.test", chain, key); err != nil {
		t.Fatal(err)
	}
	source := cert.Folder(dir, "a.test")
	pairs, news := cert.Load([]cert.Source{source}, nil, time.Now())
	alone, _ := pairs.At(0)
	if alone == nil {
		t.Fatal(news.Refused)
	}
	both := func(chain, key []byte) (*cert.Pair, *cert.Refusal, cert.News) {
		t.Helper()
		for path, data := range map[string][]byte{source.RSACert: chain, source.RSAKey: key} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if data == nil {
				continue
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		pairs, _ = pairs.Look(time.Now())
		pairs, news = pairs.Look(time.Now())
		p, refused := pairs.At(0)
		return p, refused, news
	}
	rsaChain, rsaKey := rsaPair(t, "a.test")
	_, otherKey := rsaPair(t, "a.test")
	another, anotherKey := rsaPair(t, "b.test")
	for what, tt := range map[string]struct {
		chain, key []byte
		reason     cert.Reason
	}{
		"no key":         {rsaChain, nil, cert.Unreadable},
		"no chain":       {nil, rsaKey, cert.Unreadable},
		"another's key":  {rsaChain, otherKey, cert.Mismatch},
		"another's name": {another, anotherKey, cert.WrongName},
		"no RSA":         {chain, key, cert.WrongKind},
	} {
		if p, refused, _ := both(tt.chain, tt.key); p != alone || refused == nil || refused.Reason != tt.reason || !strings.Contains(refused.Error(), "for RSA: ") {
			t.Errorf("%s: %v", what, refused)
		}
	}
	two, refused, news := both(rsaChain, rsaKey)
	if two == alone || refused != nil || len(news.Taken) != 1 {
		t.Fatalf("%v", refused)
	}
	if got := time.Until(two.NotAfter()); got > 30*time.Minute {
		t.Errorf("it ends in %v, and its RSA certificate before", got)
	}

	table, err := cert.NewTable(alpn,
		cert.Entry{Names: []string{"a.test"}, Certificate: two, MinVersion: tls.VersionTLS12}, cert.Entry{Names: []string{"alone.test"}, Certificate: alone, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	names := cert.NewNames(table, nil)
	const ecdsaSuite, rsaSuite = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	for what, tt := range map[string]struct {
		name   string
		suites []uint16
		most   uint16
		want   x509.PublicKeyAlgorithm // 0: none
	}{
		"TLS 1.3":                          {"a.test", nil, tls.VersionTLS13, x509.ECDSA},
		"TLS 1.2":                          {"a.test", []uint16{ecdsaSuite, rsaSuite}, tls.VersionTLS12, x509.ECDSA},
		"TLS 1.2, RSA first":               {"a.test", []uint16{rsaSuite, ecdsaSuite}, tls.VersionTLS12, x509.ECDSA},
		"TLS 1.2, RSA alone":               {"a.test", []uint16{rsaSuite}, tls.VersionTLS12, x509.RSA},
		"TLS 1.2, RSA alone, no such pair": {"alone.test", []uint16{rsaSuite}, tls.VersionTLS12, 0},
	} {
		state, err := handshake(names, &tls.Config{ServerName: tt.name, InsecureSkipVerify: true, MaxVersion: tt.most, CipherSuites: tt.suites})
		var got x509.PublicKeyAlgorithm
		if err == nil {
			got = state.PeerCertificates[0].PublicKeyAlgorithm
		}
		if got != tt.want {
			t.Errorf("%s: %v, want %v: %v", what, got, tt.want, err)
		}
	}
	// crypto/tls's clients verify both in TLS 1.3; ask as one would that does not.
	hello := &tls.ClientHelloInfo{
		ServerName: "a.test", SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.PSSWithSHA256},
	}
	conf, err := names.Config(hello, true)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := conf.GetCertificate(hello); err != nil || c.PrivateKey.(crypto.Signer).Public().(*rsa.PublicKey) == nil {
		t.Errorf("TLS 1.3, RSA alone: %v", err)
	}

	if p, refused, news := both(nil, nil); refused != nil || len(news.Taken) != 1 || p == two || p.NotAfter().Equal(two.NotAfter()) {
		t.Errorf("the second pair is gone: %v", refused)
	}
	only := cert.Source{Names: []string{"a.test"}, Cert: source.Cert, Key: source.Key, RSACert: source.RSACert, RSAKey: source.RSAKey}
	if _, news := cert.Load([]cert.Source{only}, nil, time.Now()); len(news.Refused) != 1 || news.Refused[0].Reason != cert.Unreadable {
		t.Errorf("files that a site names are not there: %+v", news)
	}
	for file, data := range map[string][]byte{source.Cert: rsaChain, source.Key: rsaKey, source.RSACert: rsaChain, source.RSAKey: rsaKey} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, news := cert.Load([]cert.Source{only}, nil, time.Now()); len(news.Refused) != 1 || news.Refused[0].Reason != cert.WrongKind {
		t.Errorf("RSA beside RSA: %+v", news)
	}
}
