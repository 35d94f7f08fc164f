package fleet

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// archiveVersion is that of a backup's format. One of a newer version is refused.
const archiveVersion = 1

// manifestName is the last file of a backup; without it, a backup was not written to its end.
const manifestName = "manifest.json"

// Bounds of a backup.
const (
	mostArchived = 8 << 20  // bytes of a file
	mostManifest = 32 << 20 // of the manifest, which names as many files as there may be
	mostArchives = 1 << 16  // files
	mostArchName = 512      // bytes of a file's name
	mostSequence = 1 << 62  // numbers of orders and sequences, so that none that follows is too large
)

// A Manifest says what a backup is of and what is in it.
type Manifest struct {
	V       int       `json:"v"`
	Network string    `json:"network"`
	At      time.Time `json:"at"`

	// Of the hub's data; zero where it is not in the backup. Move says that another hub goes on where this one ended, and that nobody
	// wrote since: the journal stays what it is.
	Hub     bool   `json:"hub,omitempty"`
	Move    bool   `json:"move,omitempty"`
	Journal string `json:"journal,omitempty"` // which journal it was
	Next    uint64 `json:"next,omitempty"`    // the number of its next order
	Last    uint64 `json:"last,omitempty"`    // the sequence of its last entry, which may have aged away
	Tables  uint64 `json:"tables,omitempty"`  // the last sequence of the tables

	Files []ArchivedFile `json:"files"`
}

// An ArchivedFile is a file of a backup, by which it is known whole.
type ArchivedFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Hash string `json:"sha256"`
}

// An ArchiveWriter writes a backup: a tar file that ends with its manifest.
type ArchiveWriter struct {
	t *tar.Writer
	m Manifest
}

// NewArchive begins a backup.
func NewArchive(w io.Writer, network string, at time.Time) *ArchiveWriter {
	return &ArchiveWriter{tar.NewWriter(w), Manifest{V: archiveVersion, Network: network, At: at.UTC()}}
}

// Manifest is what Close writes; its fields about the hub may be set until then.
func (a *ArchiveWriter) Manifest() *Manifest { return &a.m }

// Add adds a file.
func (a *ArchiveWriter) Add(name string, data []byte) error {
	switch {
	case !plainName(name):
		return fmt.Errorf("fleet: back up %.300q: it has no name that a backup can have", name)
	case len(data) > mostArchived || len(a.m.Files) == mostArchives:
		return fmt.Errorf("fleet: back up %s: too large", name)
	}
	sum := sha256.Sum256(data)
	a.m.Files = append(a.m.Files, ArchivedFile{name, int64(len(data)), hex.EncodeToString(sum[:])})
	return a.add(name, data)
}

func (a *ArchiveWriter) add(name string, data []byte) error {
	err := a.t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: a.m.At.Truncate(time.Second), Format: tar.FormatPAX})
	if err == nil {
		_, err = a.t.Write(data)
	}
	if err != nil {
		return fmt.Errorf("fleet: back up %s: %w", name, err)
	}
	return nil
}

// Close ends the backup.
func (a *ArchiveWriter) Close() error {
	data, err := json.Marshal(a.m)
	if err == nil && len(data) > mostManifest {
		err = fmt.Errorf("fleet: back up: the manifest has %d bytes; at most %d are taken", len(data), mostManifest)
	}
	if err == nil {
		err = a.add(manifestName, data)
	}
	if err == nil {
		err = a.t.Close()
	}
	return err
}

// An Archive is a backup that was read once and is whole.
type Archive struct {
	Manifest
	r io.ReadSeeker
}

// OpenArchive reads a backup from its beginning to its end, and says what is wrong with one that is cut short, changed or none.
func OpenArchive(r io.ReadSeeker) (*Archive, error) {
	a := &Archive{r: r}
	var found []ArchivedFile
	var manifest []byte
	names := make(map[string]bool)
	err := a.walk(func(name string, size int64, data io.Reader) error {
		if manifest != nil {
			return fmt.Errorf("%.80q comes after its manifest", name)
		}
		if names[name] {
			return fmt.Errorf("%.80q is in it twice", name)
		}
		names[name] = true
		var sum hash.Hash = sha256.New()
		if name == manifestName {
			var b bytes.Buffer
			data = io.TeeReader(data, &b)
			defer func() { manifest = b.Bytes() }()
		}
		if _, err := io.Copy(sum, data); err != nil {
			return err
		}
		if name != manifestName {
			found = append(found, ArchivedFile{name, size, hex.EncodeToString(sum.Sum(nil))})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("fleet: this is no backup, or a damaged one: %w", err)
	}
	if manifest == nil {
		return nil, errors.New("fleet: this is no backup, or was not written to its end: it has no manifest")
	}
	if err := json.Unmarshal(manifest, &a.Manifest); err != nil {
		return nil, fmt.Errorf("fleet: a damaged backup: its manifest: %w", err)
	}
	switch {
	case a.V > archiveVersion:
		return nil, fmt.Errorf("fleet: the backup is of version %d, and this program knows %d", a.V, archiveVersion)
	case a.V < 1 || !isName(a.Network):
		return nil, errors.New("fleet: a damaged backup: its manifest names no network")
	case len(a.Journal) > 64 || a.Next > mostSequence || a.Tables > mostSequence:
		return nil, errors.New("fleet: a damaged backup: its manifest has numbers or names that no hub has")
	case !slices.Equal(a.Files, found):
		return nil, errors.New("fleet: a damaged backup: what is in it is not what its manifest says")
	}
	return a, nil
}

// Each calls f for each file in the order in which they were added.
func (a *Archive) Each(f func(name string, data []byte) error) error {
	i := 0
	return a.walk(func(name string, _ int64, r io.Reader) error {
		if name == manifestName {
			return nil
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		// The file may be another by now.
		sum := sha256.Sum256(data)
		if i >= len(a.Files) || a.Files[i].Name != name || a.Files[i].Hash != hex.EncodeToString(sum[:]) {
			return errors.New("fleet: the backup was changed while it was read")
		}
		i++
		return f(name, data)
	})
}

func (a *Archive) walk(f func(name string, size int64, data io.Reader) error) error {
	if _, err := a.r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t := tar.NewReader(a.r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		most := int64(mostArchived)
		if h.Name == manifestName {
			most = mostManifest
		}
		switch {
		case h.Typeflag != tar.TypeReg || sparse(h):
			return fmt.Errorf("%.80q in it is no plain file", h.Name)
		case !plainName(h.Name):
			return fmt.Errorf("%.80q in it is no name of a file of a backup", h.Name)
		case h.Size > most:
			return fmt.Errorf("%.80q in it has %d bytes; at most %d are taken", h.Name, h.Size, most)
		case n > mostArchives:
			return fmt.Errorf("it has more than %d files", mostArchives)
		}
		if err := f(h.Name, h.Size, t); err != nil {
			return err
		}
	}
}

// plainName says whether a file in a tar may have a name: it leads nowhere else than below a folder, by one way only, and can be shown.
func plainName(name string) bool {
	return len(name) <= mostArchName && utf8.ValidString(name) && path.Clean(name) == name && filepath.IsLocal(filepath.FromSlash(name)) && name != "." &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' })
}

// sparse says whether a file in a tar has holes: it may be larger than all of the tar.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}
