package cert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"hither/edge/cert"
)

// hosts are n names of one zone.
func hosts(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("customer-%06d.example.org", i)
	}
	return names
}

// sources are the folders of names in dir.
func sources(dir string, names []string) []cert.Source {
	list := make([]cert.Source, len(names))
	for i, name := range names {
		list[i] = cert.Folder(dir, name)
	}
	return list
}

// read reads the pairs of names in dir, and makes entries of them.
func read(t testing.TB, dir string, names []string) (*cert.Pairs, []cert.Entry) {
	t.Helper()
	pairs, news := cert.Load(sources(dir, names), nil, time.Now())
	if len(news.Taken) != len(names) || len(news.Refused) > 0 {
		t.Fatalf("%d pairs taken, refused: %v", len(news.Taken), news.Refused)
	}
	entries := make([]cert.Entry, len(names))
	for i, name := range names {
		entries[i] = cert.Entry{Names: []string{name}, Domain: "main"}
		entries[i].Certificate, _ = pairs.At(i)
	}
	return pairs, entries
}

// many writes a pair for each name as an authority on the Internet would issue it: ECDSA, with the certificate of the
// authority behind it, and as long as the extensions of today make it.
func many(t testing.TB, names []string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	filler := func(n int) []pkix.Extension { // such as signed certificate timestamps
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: make([]byte, n)}}
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, ExtraExtensions: filler(600),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	behind := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for i, name := range names {
		priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, ExtraExtensions: filler(500),
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, priv.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		k, err := x509.MarshalPKCS8PrivateKey(priv)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(dir, cert.FolderName(name))
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), behind...)
		for file, data := range map[string][]byte{"cert.pem": chain, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})} {
			if err := os.WriteFile(filepath.Join(folder, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What a name costs, from its files to the table that answers handshakes: at most 3 KiB as long as nobody asks for it, and 16 KiB at
// last. HITHER_SOAK=1 takes a hundred thousand names.
func TestManyNames(t *testing.T) {
	n := 1000
	if os.Getenv("HITHER_SOAK") != "" {
		n = 100_000
	}
	names := hosts(n)
	dir := many(t, names)
	before := heap()

	began := time.Now()
	pairs, entries := read(t, dir, names)
	loaded := time.Since(began)
	began = time.Now()
	table, err := cert.NewTable(alpn, entries...)
	if err != nil {
		t.Fatal(err)
	}
	built := time.Since(began)
	served := cert.NewNames(table, nil)
	unused := (heap() - before) / int64(n)
	for range 2 { // the files may have been new at the first time
		began = time.Now()
		pairs, _ = pairs.Look(began)
	}
	looked := time.Since(began)

	began = time.Now()
	for _, name := range names {
		hello := &tls.ClientHelloInfo{ServerName: name}
		conf, err := served.Config(hello, false)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := conf.GetCertificate(hello); err != nil || c.PrivateKey == nil || len(c.Certificate) != 2 {
			t.Fatalf("%s: %v", name, err)
		}
	}
	first := time.Since(began)
	used := (heap() - before) / int64(n)
	t.Logf("%d names: %d bytes each before the first handshake, %d after; loaded in %v, looked at in %v, table built in %v, all parsed in %v", n, unused, used, loaded, looked, built, first)
	if unused > 3<<10 {
		t.Errorf("a name that nobody asks for costs %d bytes", unused)
	}
	if used > 16<<10 {
		t.Errorf("a name costs %d bytes", used)
	}
	runtime.KeepAlive(pairs)
	runtime.KeepAlive(served)
}

// BenchmarkNames asks a table of many names, as every handshake does, from all processors at once.
func BenchmarkNames(b *testing.B) {
	const n = 10_000
	names := hosts(n)
	_, entries := read(b, many(b, names), names)
	table, err := cert.NewTable(alpn, entries...)
	if err != nil {
		b.Fatal(err)
	}
	served := cert.NewNames(table, nil)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			hello := tls.ClientHelloInfo{ServerName: names[i%n]}
			conf, _ := served.Config(&hello, false)
			if c, err := conf.GetCertificate(&hello); c == nil || err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestLookupWhileSwapped looks names up and parses their pairs while the table is replaced: no handshake finds less than one whole pair.
func TestLookupWhileSwapped(t *testing.T) {
	names := hosts(50)
	_, entries := read(t, many(t, names), names)
	table := func() *cert.Table {
		table, err := cert.NewTable(alpn, entries...)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	served := cert.NewNames(table(), nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				hello := &tls.ClientHelloInfo{ServerName: names[i%len(names)]}
				conf, err := served.Config(hello, i%2 == 0)
				if err != nil || conf.GetCertificate == nil {
					t.Errorf("%s: %v", hello.ServerName, err)
					return
				}
				if c, err := conf.GetCertificate(hello); err != nil || len(c.Certificate) != 2 {
					t.Errorf("%s: %v", hello.ServerName, err)
					return
				}
			}
		})
	}
	for range 20 {
		served.Swap(table())
	}
	wg.Wait()
}

// BenchmarkLook looks at the files of many names, none of which changes.
func BenchmarkLook(b *testing.B) {
	names := hosts(1000)
	pairs, _ := read(b, many(b, names), names)
	time.Sleep(4 * time.Second) // until the files are old enough for a look to be sure of what it sees
	pairs, _ = pairs.Look(time.Now())
	for b.Loop() {
		if next, _ := pairs.Look(time.Now()); next != pairs {
			b.Fatal("something changed")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(names)), "ns/pair")
}
