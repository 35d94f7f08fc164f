package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/cache"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(childFolder); folder != "" {
		child(folder)
		return
	}
	if folder := os.Getenv(soakFolder); folder != "" {
		soakChild(folder)
		return
	}
	goleak.VerifyTestMain(m)
}

// A house is a folder and the store that is open in it.
type house struct {
	*Store
	t      testing.TB
	folder string
	config Config
	said   *Lines
}

// Lines are what a store has logged.
type Lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const mib = 1 << 20

// build opens a store in a new folder, with segments of 64 KiB where config names none.
func build(t testing.TB, config Config) *house {
	h := &house{t: t, folder: config.Folder, said: &Lines{}}
	if h.folder == "" {
		h.folder = t.TempDir()
	}
	if config.segment == 0 {
		config.segment = 64 << 10
	}
	if config.Size == 0 {
		config.Size = mib
	}
	if config.Objects == 0 {
		config.Objects = 1 << 20
	}
	config.Folder = h.folder
	config.Log = slog.New(slog.NewTextHandler(h.said, nil))
	h.config = config
	h.open()
	t.Cleanup(func() {
		if h.Store != nil {
			h.Close()
		}
	})
	return h
}

func (h *house) open() {
	h.t.Helper()
	s, err := Open(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Store = s
}

// restart closes the store as a node does that drains, and opens it anew.
func (h *house) restart() {
	h.t.Helper()
	h.shut()
	h.open()
}

func (h *house) shut() {
	h.t.Helper()
	if err := h.Store.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.Store = nil
}

// crash gives the store up as a kill does: what is in the files is all there is.
func (h *house) crash() {
	h.Store.Wait()
	close(h.Store.stop)
	<-h.Store.done
	for _, g := range append(h.order, h.leaving...) {
		g.close()
	}
	h.newest.logTo.Close()
	h.lock.Close()
	h.Store = nil
}

// editState changes what the folder says of itself, while no store is open in it.
func (h *house) editState(edit func(*state)) {
	h.t.Helper()
	file := filepath.Join(h.folder, stateName)
	text, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	st, err := parseState(text)
	if err != nil {
		h.t.Fatal(err)
	}
	edit(&st)
	if text, err = st.text(); err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// nowhere is an upper tier that keeps nothing.
type nowhere struct{}

func (nowhere) Get(cache.Key) *cache.Object                      { return nil }
func (nowhere) Enter(o *cache.Object) (x *cache.Object, in bool) { return o, false }

func key(path string) cache.Key {
	return cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: path}
}

// content is what the nth version of a key has, unlike any other's.
func content(k cache.Key, version int, size int) []byte {
	rnd := rand.NewChaCha8([32]byte(append(fmt.Appendf(nil, "%s %d ", k.Path, version), make([]byte, 32)...)))
	b := make([]byte, size)
	rnd.Read(b)
	return b
}

// object is a version of a key, with tags.
func object(k cache.Key, version int, size int, tags ...string) *cache.Object {
	h := http.Header{"X-Version": {fmt.Sprint(version)}, "X-Size": {fmt.Sprint(size)}}
	if len(tags) > 0 {
		h["Surrogate-Key"] = []string{strings.Join(tags, " ")}
	}
	o := &cache.Object{Key: k, Status: 200, Fields: cache.NewFields(h), Body: cache.NewBody(content(k, version, size)), Received: time.Unix(1, 0), Lifetime: time.Hour}
	o, err := cache.ReadObject(o.AppendRecord(nil), o.Body, false)
	if err != nil {
		panic(err)
	}
	return o
}

// versionOf holds an object to what it says of itself, and returns its version. A body that breaks off is err.
func versionOf(o *cache.Object) (version int, wrong, err error) {
	var size int
	fmt.Sscan(o.Fields.Get("X-Version"), &version)
	fmt.Sscan(o.Fields.Get("X-Size"), &size)
	want, at := content(o.Key, version, size), 0
	if o.Body.Len() != int64(size) {
		return version, fmt.Errorf("%s has %d bytes, not %d", o.Key.Path, o.Body.Len(), size), nil
	}
	err = o.Body.Range(0, o.Body.Len(), func(piece []byte) bool {
		if !bytes.HasPrefix(want[at:], piece) {
			wrong = fmt.Errorf("%s, version %d: the bytes at %d are others", o.Key.Path, version, at)
			return false
		}
		at += len(piece)
		return true
	})
	if err == nil && wrong == nil && at != size {
		wrong = fmt.Errorf("%s, version %d: %d of %d bytes", o.Key.Path, version, at, size)
	}
	return version, wrong, err
}

// put lets the upper tier have had o and given it up.
func (h *house) put(o *cache.Object) {
	h.Change(o.Key, Replaced, func() {})
	h.Offer(o, true)
	h.Wait()
}

// get returns the version that is found under k, 0 where none is.
func (h *house) get(k cache.Key) int {
	h.t.Helper()
	o := h.Get(k, nowhere{})
	if o == nil {
		return 0
	}
	version, wrong, err := versionOf(o)
	if wrong != nil || err != nil {
		h.t.Fatal(wrong, err)
	}
	return version
}

// want compares the version under a path.
func (h *house) want(path string, version int) {
	h.t.Helper()
	if got := h.get(key(path)); got != version {
		h.t.Errorf("%s: version %d, want %d", path, got, version)
	}
}

// purge carries out purges as a cache does whose memory is empty, and returns what each found.
func (h *house) purge(list ...cache.Purge) []int {
	deep := make([]*cache.DeepPurge, len(list))
	for i, p := range list {
		deep[i] = &cache.DeepPurge{Purge: p, At: time.Unix(100, 0)}
	}
	h.Sweep(deep, func(*cache.Object, bool) bool { return false })()
	found := make([]int, len(list))
	for i, d := range deep {
		found[i] = d.Objects
	}
	return found
}

// flipIn changes a byte of a file at an offset; twice, and it is as it was.
func flipIn(t testing.TB, file string, off int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= byte(1 + binary.LittleEndian.Uint16([]byte{byte(off), byte(off >> 8)})%255)
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}
