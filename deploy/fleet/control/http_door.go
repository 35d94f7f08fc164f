package control

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"

	"hither/deploy/ops"
)

// A renewable is a certificate with its key as they lie in two files. Both may be replaced at any time, one after the other: until they belong
// together again, what was good is kept.
type renewable struct {
	cert, key string
	faint     *ops.Limiter

	mu   sync.Mutex // guards what follows
	seen [2]os.FileInfo
	good *tls.Certificate
}

// newRenewable reads both, which have to be good.
func newRenewable(cert, key string, faint *ops.Limiter) (*renewable, error) {
	r := &renewable{cert: cert, key: key, faint: faint}
	return r, r.read()
}

// read reads the files if they are others than those that were read.
func (r *renewable) read() error {
	var now [2]os.FileInfo
	same := r.good != nil
	for i, path := range []string{r.cert, r.key} {
		var err error
		if now[i], err = os.Stat(path); err != nil {
			return err
		}
		same = same && os.SameFile(now[i], r.seen[i]) && now[i].ModTime().Equal(r.seen[i].ModTime()) && now[i].Size() == r.seen[i].Size()
	}
	if same {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(r.cert, r.key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", r.cert, r.key, err)
	}
	r.seen, r.good = now, &pair // what was written between the two looks is seen at the next
	return nil
}

// get is for tls.Config.GetCertificate.
func (r *renewable) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.read(); err != nil {
		r.faint.Warn("purges over HTTP: a renewed certificate is not taken, and the one before is kept", "error", err)
	}
	return r.good, nil
}
