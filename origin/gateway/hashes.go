package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

var errChanging = errors.New("file changes while it is read")

// identity is what tells one state of a file from another without reading it.
type identity struct {
	dev, ino         uint64
	size             int64
	modified, status int64 // nanoseconds since 1970; status is the inode's own time of change, which nobody can set back
	links            uint64
}

// identify tells size and time alone where the file system has no inodes (embed.FS).
func identify(info fs.FileInfo) identity {
	id := identity{size: info.Size(), modified: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino, id.status, id.links = uint64(st.Dev), st.Ino, st.Ctim.Nano(), uint64(st.Nlink)
	}
	return id
}

// content is what tells whether the content of an open file has changed. The inode's own time changes also when the file
// is renamed, linked or replaced, none of which touches the bytes that are being read.
func (id identity) content() identity {
	id.status, id.links = 0, 0
	return id
}

// unlike reports whether the content of an open file may be another than it was. Who writes may set the other time back; where the
// inode's own has changed, only a change of its links tells that the file was replaced, or got another name.
func (id identity) unlike(was identity) bool {
	return id.content() != was.content() || id.status != was.status && id.links == was.links
}

// settledAfter is how old a change must be before a file's times are believed to show the next one: some file systems
// keep time in steps of up to two seconds.
const settledAfter = 2 * time.Second

// remembered is the most entity-tags each of the two generations holds, of about 250 bytes each.
const remembered = 32 << 10

// Of a file above sampledAbove bytes, samples of it are hashed in place of its content, with its size and its times: to read 10 GiB for
// the first byte takes longer than a client waits. The inode's own time is one of them: a copy that keeps the other, or a build that
// gives all files the same, may differ from what was there in no sample.
const (
	sampledAbove = 64 << 20
	samples      = 64
	sampleSize   = 64 << 10 // bytes of each, the first at the beginning and the last at the end
)

// hashes knows the entity-tags of files by what they contain, and computes each once. A file is known by name and
// identity. The table is bounded by two generations: when the young one is full it becomes the old one, and what is
// asked for again moves on.
type hashes struct {
	now     func() time.Time
	workers chan struct{} // holds a token for each file being read

	mu         sync.Mutex
	young, old map[fileKey]string
	running    map[fileKey]chan struct{} // closed when the entity-tag was computed, or could not be
}

type fileKey struct {
	name string
	identity
}

func newHashes(now func() time.Time) *hashes {
	return &hashes{
		now:     now,
		workers: make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		young:   make(map[fileKey]string),
		running: make(map[fileKey]chan struct{}),
	}
}

// of returns the entity-tag of the open file f, which is served under this name, and what f was when it was computed. The content
// stands at its beginning afterwards. A client that leaves does not stop the work: the next who asks finds it done, however large
// the file.
func (t *hashes) of(ctx context.Context, name string, f fs.File, content io.ReadSeeker, info fs.FileInfo) (string, fs.FileInfo, error) {
	for {
		key := fileKey{name, identify(info)}
		t.mu.Lock()
		if tag, ok := t.lookLocked(key); ok {
			t.mu.Unlock()
			return tag, info, nil
		}
		wait, busy := t.running[key]
		if !busy {
			wait = make(chan struct{})
			t.running[key] = wait
		}
		t.mu.Unlock()
		if !busy {
			tag, after, err := t.read(ctx, f, content, key)
			t.mu.Lock()
			if err == nil && t.settled(after) && !strings.HasPrefix(tag, "W/") { // that may have become so while it was read
				t.keepLocked(fileKey{name, identify(after)}, tag)
			}
			delete(t.running, key)
			t.mu.Unlock()
			close(wait)
			if after == nil {
				after = info
			}
			return tag, after, err
		}
		select {
		case <-wait: // it is in the table now, or too young to be, or could not be read
		case <-ctx.Done():
			return "", info, context.Cause(ctx)
		}
	}
}

// read computes the entity-tag of f. When f changes meanwhile it begins anew, three times at most.
func (t *hashes) read(ctx context.Context, f fs.File, content io.ReadSeeker, key fileKey) (string, fs.FileInfo, error) {
	select {
	case t.workers <- struct{}{}:
		defer func() { <-t.workers }()
	case <-ctx.Done():
		return "", nil, context.Cause(ctx)
	}
	was := key.hashed()
	buf := make([]byte, 64<<10)
	for range 3 {
		sum, weak := sha256.New(), ""
		if was.size > sampledAbove {
			if !t.aged(max(was.modified, was.status)) {
				weak = "W/" // its times would not show another change, nor would samples
			}
			if err := sampled(sum, content, was, weak, buf); err != nil {
				return "", nil, err
			}
		} else if _, err := io.CopyBuffer(sum, struct{ io.Reader }{content}, buf); err != nil {
			// Only Read: a file's own WriteTo would take no buffer of ours.
			return "", nil, err
		}
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			return "", nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return "", nil, err
		}
		if is := identify(info).hashed(); is != was {
			was = is
			continue
		}
		// 128 bits: equal tags for unequal files will not happen, and the field stays short.
		return weak + `"` + base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:16]) + `"`, info, nil
	}
	return "", nil, errChanging
}

// hashed is what must stay the same while an entity-tag is computed.
func (id identity) hashed() identity {
	if id.size > sampledAbove {
		return id
	}
	return id.content()
}

// sampled hashes what stands for a large file. While the entity-tag is weak it is unlike the strong one that follows: a 304 by
// that must not confirm what came before a change that the times did not show.
func sampled(sum hash.Hash, content io.ReadSeeker, is identity, weak string, buf []byte) error {
	fmt.Fprintln(sum, weak, is.size, is.modified, is.status)
	for i := range int64(samples) {
		if _, err := content.Seek((is.size-sampleSize)*i/(samples-1), io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(sum, io.LimitReader(content, sampleSize), buf); err != nil {
			return err
		}
	}
	return nil
}

// settled reports whether the file's times would show another change.
func (t *hashes) settled(info fs.FileInfo) bool {
	id := identify(info)
	return t.aged(max(id.modified, id.status))
}

// aged reports whether a time of a file, in nanoseconds since 1970, would show another change.
func (t *hashes) aged(at int64) bool { return t.now().UnixNano()-at > int64(settledAfter) }

func (t *hashes) lookLocked(key fileKey) (string, bool) {
	if tag, ok := t.young[key]; ok {
		return tag, true
	}
	tag, ok := t.old[key]
	if ok {
		t.keepLocked(key, tag)
	}
	return tag, ok
}

func (t *hashes) keepLocked(key fileKey, tag string) {
	if len(t.young) >= remembered {
		t.young, t.old = make(map[fileKey]string), t.young
	}
	t.young[key] = tag
}

// steadyFile is a file whose content is the one that was hashed, or an error: it looks after each read whether the file
// has changed. Truncation is such a change too.
type steadyFile struct {
	io.ReadSeeker
	f   fs.File
	was identity

	mu  sync.Mutex // http.ServeContent reads several ranges in a goroutine of its own
	err error
}

func (s *steadyFile) Read(p []byte) (int, error) {
	n, err := s.ReadSeeker.Read(p)
	info, failed := s.f.Stat()
	switch {
	case failed != nil:
		err = failed
	case identify(info).unlike(s.was):
		err = errChanging
	}
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		return 0, err
	}
	return n, err
}

// failure is the error that a reader met.
func (s *steadyFile) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
