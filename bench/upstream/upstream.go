// Package upstream is the origin that web servers are measured in front of: objects of fixed sizes over plain HTTP, and a count
// of who asked.
package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A Size is a class of objects: all have the same length.
type Size struct {
	Name  string // first part of their paths
	Bytes int
}

// Sizes lists them.
func Sizes() []Size { return []Size{{"1k", 1 << 10}, {"16k", 16 << 10}, {"1m", 1 << 20}} }

// Path is that of object n. What may not be stored is the same object by another path.
func (s Size) Path(n int, store bool) string {
	if !store {
		return private + "/" + s.Name + "/" + strconv.Itoa(n)
	}
	return "/" + s.Name + "/" + strconv.Itoa(n)
}

// private begins the paths of what may not be stored.
const private = "/p"

// CountPath tells how many objects were asked for so far, and is not counted.
const CountPath = "/count"

// Objects are the bodies. They are the same in each process, and not changed once made.
type Objects struct{ noise []byte }

// Body n differs from others by where it begins in the noise: step x MaxObjects is less than the spare part.
const (
	step  = 61
	spare = 1 << 20

	// MaxObjects of one size exist, from 0.
	MaxObjects = spare / step
)

// NewObjects makes the noise that all bodies are parts of: it cannot be compressed, and costs nobody time later.
func NewObjects() *Objects {
	noise := make([]byte, 1<<20+spare)
	rand.NewChaCha8([32]byte([]byte("hither bench: what objects have."))).Read(noise)
	return &Objects{noise}
}

// Body is object n of a size, 0 <= n < MaxObjects. It is not to be changed.
func (o *Objects) Body(s Size, n int) []byte { return o.noise[n*step:][:s.Bytes] }

// Write writes the first objects of a size as files of a folder, by their paths: for what serves files.
func (o *Objects) Write(folder string, s Size, n int) error {
	for i := range n {
		name := filepath.Join(folder, s.Path(i, true))
		if i == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				return fmt.Errorf("upstream: write objects: %w", err)
			}
		}
		if err := os.WriteFile(name, o.Body(s, i), 0o600); err != nil {
			return fmt.Errorf("upstream: write objects: %w", err)
		}
	}
	return nil
}

// find is the object of a path.
func (o *Objects) find(path string) (s Size, n int, store, ok bool) {
	rest, isPrivate := strings.CutPrefix(path, private+"/")
	if !isPrivate {
		rest = strings.TrimPrefix(path, "/")
	}
	name, number, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= MaxObjects || strconv.Itoa(n) != number {
		return s, 0, false, false
	}
	for _, s := range Sizes() {
		if s.Name == name {
			return s, n, !isPrivate, true
		}
	}
	return s, 0, false, false
}

// modified is when all objects were changed last.
var modified = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A Handler serves the objects, whatever the query, and counts. It may be used concurrently.
type Handler struct {
	objects *Objects
	asked   atomic.Int64
}

// NewHandler makes one that has counted nothing yet.
func NewHandler(o *Objects) *Handler { return &Handler{objects: o} }

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == CountPath {
		fmt.Fprintln(w, h.asked.Load())
		return
	}
	s, n, store, ok := h.objects.find(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	h.asked.Add(1)
	head := w.Header()
	// A day: nothing becomes stale while it is measured.
	head["Cache-Control"] = []string{"public, max-age=86400"}
	if !store {
		head["Cache-Control"] = []string{"no-store"}
	}
	head["Content-Type"] = []string{"application/octet-stream"}
	head["Etag"] = []string{`"` + s.Name + "-" + strconv.Itoa(n) + `"`}
	http.ServeContent(w, r, "", modified, bytes.NewReader(h.objects.Body(s, n)))
}

// Serve serves until ctx ends, and takes the listener over.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	// Connections of a proxy are kept for as long as it likes: a new one would be work of the proxy that is not asked about.
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Hour, MaxHeaderBytes: 64 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("upstream: serve on %v: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	err := s.Close()
	if ended := <-ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// Count asks the upstream at an address how many objects it was asked for.
func Count(ctx context.Context, client *http.Client, address string) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+CountPath, nil)
	if err != nil {
		return 0, fmt.Errorf("upstream: count: %w", err)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("upstream: count: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64))
	if err != nil {
		return 0, fmt.Errorf("upstream: count: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("upstream: %s counts nothing: %s %.40q", address, answer.Status, text)
	}
	return n, nil
}
