package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// authorityFolder is where an authority lies in a backup.
const authorityFolder = "authority/"

// BackUp adds all files of the authority to a backup, its keys among them. What else somebody has put into its folder is left out.
func (a *Authority) BackUp(w *ArchiveWriter) error {
	unlock, err := lock(a.dir)
	if err != nil {
		return fmt.Errorf("fleet: lock the authority: %w", err)
	}
	defer unlock()
	return filepath.WalkDir(a.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(a.dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case d.IsDir() && (name == "." || name == issuedFolder || name == nextFolder):
			return nil
		case d.IsDir():
			return fs.SkipDir
		case !ofAuthority(name):
			return nil
		}
		data, err := readFile(path)
		if err != nil {
			return fmt.Errorf("fleet: back up the authority: %w", err)
		}
		return w.Add(authorityFolder+name, data)
	})
}

// ofAuthority says whether a file in an authority's folder may be one of its own.
func ofAuthority(name string) bool {
	folder, file, below := strings.Cut(name, "/")
	if !below {
		return !strings.HasPrefix(name, ".") && name != issuedFolder && name != nextFolder
	}
	return (folder == issuedFolder || folder == nextFolder) && !strings.HasPrefix(file, ".") && !strings.Contains(file, "/")
}

// RestoreAuthority puts the authority of a backup back into dir (DIR/authority), and says whether the backup has one. Another
// that is there is not overwritten unless force is set: it is an error then, and nothing is changed. One that is there and the same gets the
// files that it lacks. What is none of an authority, or not that of the backup's network, is found before anything is written.
func RestoreAuthority(b *Archive, dir string, force bool) (has bool, err error) {
	files := make(map[string][]byte)
	err = b.Each(func(name string, data []byte) error {
		rest, ok := strings.CutPrefix(name, authorityFolder)
		if !ok {
			return nil
		}
		if !ofAuthority(rest) || len(data) > mostFile(rest) {
			return fmt.Errorf("fleet: the backup has a file %.80q of an authority", name)
		}
		files[rest] = bytes.Clone(data)
		return nil
	})
	if err != nil || len(files) == 0 {
		return false, err
	}
	if err := checkAuthority(files, b.Network); err != nil {
		return true, fmt.Errorf("fleet: the authority in the backup: %w", err)
	}
	whole, err := sameAuthority(files, dir, force)
	if err != nil {
		return true, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return true, fmt.Errorf("fleet: restore the authority: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return true, fmt.Errorf("fleet: lock the authority: %w", err)
	}
	defer unlock()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return true, fmt.Errorf("fleet: restore the authority: %w", err)
		}
		// What was issued and revoked since is better known here, and how far a rotation has come.
		if whole && !force && (name == rotationFile || strings.HasPrefix(name, nextFolder+"/")) {
			continue
		}
		if _, err := os.Stat(path); err == nil && !force {
			continue
		}
		if err := writeFile(path, data); err != nil {
			return true, fmt.Errorf("fleet: restore the authority: %w", err)
		}
	}
	return true, nil
}

// authorityFiles are those without which there is no authority.
var authorityFiles = []string{"fleet-ca.key", "fleet-ca.pem", "site-ca.key", "site-ca.pem"}

// sameAuthority says whether the authority in dir is whole and that of the files. Another one is an error, unless it is to make room.
func sameAuthority(files map[string][]byte, dir string, force bool) (whole bool, err error) {
	whole = true
	for _, name := range authorityFiles {
		there, err := readFile(filepath.Join(dir, name))
		whole = whole && err == nil
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && bytes.Equal(there, files[name]):
		case err != nil:
			return false, fmt.Errorf("fleet: restore the authority: %w", err)
		case !force:
			return false, fmt.Errorf("fleet: restore the authority: %s is another than in the backup; it stays, and nothing was changed (--force puts the one of the backup in its place)", filepath.Join(dir, name))
		}
	}
	return whole, nil
}

// checkAuthority says why files are none of an authority of a network, as it could be opened.
func checkAuthority(files map[string][]byte, network string) error {
	for _, name := range authorityFiles {
		if files[name] == nil {
			return fmt.Errorf("it has no %s", name)
		}
	}
	kinds := []string{"fleet", "site"}
	if files[nextFolder+"/fleet-ca.pem"] != nil {
		kinds = append(kinds, nextFolder+"/fleet")
	}
	for _, kind := range kinds {
		cert, err := parseCert(files[kind+"-ca.pem"])
		if err != nil {
			return fmt.Errorf("%s-ca.pem: %w", kind, err)
		}
		key, err := parseKey(files[kind+"-ca.key"])
		if err != nil {
			return fmt.Errorf("%s-ca.key: %w", kind, err)
		}
		if org := cert.Subject.Organization; len(org) != 1 || org[0] != network {
			return fmt.Errorf("%s-ca.pem is of network %s, and the backup of %s", kind, org, network)
		}
		if !key.PublicKey.Equal(cert.PublicKey) {
			return fmt.Errorf("%s-ca.pem and %[1]s-ca.key do not belong together", kind)
		}
	}
	for name, data := range files {
		var err error
		switch node, ok := strings.CutSuffix(strings.TrimPrefix(name, issuedFolder+"/"), ".pem"); {
		case strings.HasPrefix(name, issuedFolder+"/") && ok:
			err = checkIssued(node, network, data)
		case name == revokedFile:
			err = json.Unmarshal(data, new(revocations))
		case name == rotationFile:
			err = json.Unmarshal(data, new(struct {
				Stage Stage `json:"stage"`
			}))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkIssued says why a certificate is not one that was issued to a node (ROLE-NAME) of a network.
func checkIssued(node, network string, data []byte) error {
	cert, err := parseCert(data)
	if err != nil {
		return err
	}
	peer, err := peerIn(cert)
	if err == nil && (peer.String() != node || peer.Network != network) {
		err = fmt.Errorf("it is the certificate of %v of network %s", peer, peer.Network)
	}
	return err
}
