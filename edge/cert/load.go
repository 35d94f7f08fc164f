package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Pairs are certificates with their keys, by the canonical name which they were stored for.
type Pairs map[string]*tls.Certificate

// maxPEM bounds a file that is read: a long chain has some 20 KB.
const maxPEM = 1 << 20

// Load reads DIR/NAME/cert.pem and key.pem for each name that has a folder (see [FolderName]). Where a pair
// cannot be read, does not belong together, or is not for its name, the one of old is kept, and the error,
// which joins one line per name, says so. A folder which is gone takes its pair with it. A dir that
// does not exist has no pairs. Pairs are whole in any case: use them, and report the error.
func Load(dir string, old Pairs) (Pairs, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Pairs{}, nil
	}
	if err != nil {
		return old, fmt.Errorf("cert: %w", err)
	}
	pairs := make(Pairs, len(entries))
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name, err := url.PathUnescape(e.Name())
		if err == nil {
			err = CheckName(name)
		}
		if err == nil && FolderName(name) != e.Name() {
			err = fmt.Errorf("cert: folder %s: the folder of %s is %s", e.Name(), name, FolderName(name))
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		pair, err := loadPair(filepath.Join(dir, e.Name()), name)
		if err != nil {
			kept := "there is none yet"
			if pair = old[name]; pair != nil {
				kept = "the old one stays"
			}
			errs = append(errs, fmt.Errorf("cert: pair of %s: %w; %s", name, err, kept))
		}
		if pair != nil {
			pairs[name] = pair
		}
	}
	return pairs, errors.Join(errs...)
}

func loadPair(dir, name string) (*tls.Certificate, error) {
	chain, err := readPEM(filepath.Join(dir, "cert.pem"))
	if err != nil {
		return nil, err
	}
	key, err := readPEM(filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	return parsePair(chain, key, name)
}

// parsePair checks that chain and key belong together and to name.
func parsePair(chain, key []byte, name string) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, err
		}
	}
	host := name
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		host = "any." + rest // a name which a certificate for the wildcard covers
	}
	if err := pair.Leaf.VerifyHostname(host); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "x509: "))
	}
	return &pair, nil
}

func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxPEM {
		return nil, fmt.Errorf("%s: %d bytes: at most %d are read", path, info.Size(), maxPEM)
	}
	return os.ReadFile(path)
}

// Save writes a pair where [Load] finds it, folder 0700 and files 0600. It refuses what Load would. The two
// files are renamed into place one after the other; a Load in between finds a pair that does not fit
// and keeps the old one.
func Save(dir, name string, chain, key []byte) error {
	name = Canonical(name)
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := parsePair(chain, key, name); err != nil {
		return fmt.Errorf("cert: pair of %s: %w", name, err)
	}
	folder := filepath.Join(dir, FolderName(name))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("cert: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"key.pem", key}, {"cert.pem", chain}} {
		if err := writeFile(folder, f.name, f.data); err != nil {
			return fmt.Errorf("cert: pair of %s: %w", name, err)
		}
	}
	return nil
}

// writeFile puts a whole file into place, or none.
func writeFile(folder, name string, data []byte) error {
	tmp, err := os.CreateTemp(folder, "."+name+"-*") // created 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(folder, name))
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
