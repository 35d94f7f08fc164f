package gateway

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"
	"syscall"
	"time"

	"hither/deploy/ops"
)

// StaticConfig is a folder served as a site.
type StaticConfig struct {
	// Files is what is served. It must not let a name out of the folder, which holds for
	// os.Root.FS, and its files must be io.Seekers. Required.
	Files fs.FS
	// CacheControl is the Cache-Control field of every file; empty: none is sent.
	CacheControl string
	// Now is the clock that tells whether a file changed too recently to believe its time
	// of change. Nil: time.Now.
	Now func() time.Time
	// Log takes errors of reading. Nil: they are not logged.
	Log *slog.Logger
}

// Static serves the files of a folder, whatever host is asked for: GET, HEAD and OPTIONS, ranges and conditions, with
// strong validators made from the content, or of a large file from samples of it and its times: see sampledAbove. A folder is its index.html; nothing lists it. Names that begin with a dot do
// not exist, but for .well-known at the top (RFC 8615). It is safe for concurrent use.
type Static struct {
	cfg     StaticConfig
	hashes  *hashes
	limiter ops.Limiter
}

// NewStatic makes a Static. It reads nothing yet.
func NewStatic(cfg StaticConfig) *Static {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Static{cfg: cfg, hashes: newHashes(cfg.Now), limiter: ops.Limiter{Log: cfg.Log}}
}

// allowed is the Allow field of a static site (RFC 9110 section 10.2.1).
const allowed = "GET, HEAD, OPTIONS"

func (s *Static) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header().Set("Allow", allowed)
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", allowed)
		answer(w, r, http.StatusMethodNotAllowed)
		return
	}
	name, ok := fileName(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	f, info, err := s.open(name)
	if err == nil && info.IsDir() {
		f.Close()
		name = path.Join(name, "index.html")
		if f, info, err = s.open(name); err == nil && info.IsDir() {
			f.Close()
			err = fs.ErrNotExist
		}
		if err == nil && !strings.HasSuffix(r.URL.Path, "/") {
			f.Close()
			addSlash(w, r)
			return
		}
	} else if err == nil && name != "." && strings.HasSuffix(r.URL.Path, "/") {
		f.Close()
		err = fs.ErrNotExist // a file is not a folder
	}
	if err != nil {
		s.refuse(w, r, name, err)
		return
	}
	defer f.Close()
	s.serve(w, r, name, f, info)
}

// fileName is the name in the folder that a request asks for; false when it can be none.
func fileName(r *http.Request) (string, bool) {
	p, ok := strings.CutPrefix(r.URL.Path, "/")
	// An encoded slash is part of a name (RFC 3986 section 2.2), and no file has such a name.
	if !ok || strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		return "", false
	}
	p = strings.TrimSuffix(p, "/")
	if p == "" {
		return ".", r.URL.Path == "/"
	}
	for i, segment := range strings.Split(p, "/") {
		if strings.HasPrefix(segment, ".") && !(i == 0 && segment == ".well-known") {
			return "", false
		}
	}
	return p, fs.ValidPath(p) && !strings.Contains(p, "\x00") // no empty segment either
}

// open opens a file or folder. What is neither is not there: opening a pipe would wait for who writes to it.
func (s *Static) open(name string) (fs.File, fs.FileInfo, error) {
	info, err := fs.Stat(s.cfg.Files, name)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	f, err := s.cfg.Files.Open(name)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// addSlash sends the client to the folder's own name, so that its relative links are right.
func addSlash(w http.ResponseWriter, r *http.Request) {
	u := *r.URL
	u.Scheme, u.Host, u.User, u.Path = "", "", nil, u.Path+"/"
	if u.RawPath != "" {
		u.RawPath += "/"
	}
	w.Header().Set("Location", u.RequestURI())
	answer(w, r, http.StatusMovedPermanently)
}

// serve answers with the file f of this name. The validator is that of the bytes sent: they are read from the file that was hashed,
// and the answer is broken off when it changes under way.
func (s *Static) serve(w http.ResponseWriter, r *http.Request, name string, f fs.File, info fs.FileInfo) {
	content, ok := f.(io.ReadSeeker)
	if !ok {
		s.refuse(w, r, info.Name(), errors.New("file cannot be read in parts"))
		return
	}
	tag, info, err := s.hashes.of(r.Context(), name, f, content, info)
	if err != nil {
		s.refuse(w, r, info.Name(), err)
		return
	}
	h := w.Header()
	h.Set("Etag", tag)
	h.Set("X-Content-Type-Options", "nosniff")
	if s.cfg.CacheControl != "" {
		h.Set("Cache-Control", s.cfg.CacheControl)
	}
	if t := typeOf(info.Name()); t != "" {
		h.Set("Content-Type", t) // else ServeContent looks at the first bytes
	}
	steady := &steadyFile{f: f, ReadSeeker: content, was: identify(info)}
	http.ServeContent(w, rangeable(r), info.Name(), info.ModTime(), steady)
	if err := steady.failure(); err != nil {
		s.limiter.Warn("answer broken off", "file", info.Name(), "error", err)
		panic(http.ErrAbortHandler) // the client must not take it for whole
	}
}

// rangeable is r without a Range that must be ignored: it means something for GET alone, and units that are not bytes
// are not known here (RFC 9110 section 14.2). http.ServeContent answers both with 206 or 416.
func rangeable(r *http.Request) *http.Request {
	v := r.Header.Get("Range")
	unit, set, _ := strings.Cut(v, "=")
	unit = strings.TrimSpace(unit)
	switch {
	case v == "" || r.Method == http.MethodGet && unit == "bytes":
		return r
	case r.Method == http.MethodGet && strings.EqualFold(unit, "bytes"): // units are case-insensitive (section 14.1)
		v = "bytes=" + set
	default:
		v = ""
	}
	r2 := *r
	r2.Header = r.Header.Clone()
	r2.Header.Del("Range")
	if v != "" {
		r2.Header.Set("Range", v)
	}
	return &r2
}

// refuse answers a request whose file could not be had.
func (s *Static) refuse(w http.ResponseWriter, r *http.Request, name string, err error) {
	switch {
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // nobody is there to be told
	case errors.Is(err, errFolder):
		s.limiter.Warn("the site's folder cannot be read; every request is answered 503 until it is back", "error", err)
		answer(w, r, http.StatusServiceUnavailable)
	case errors.Is(err, fs.ErrPermission):
		answer(w, r, http.StatusForbidden)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, errChanging):
		s.limiter.Warn("cannot read", "file", name, "error", err)
		answer(w, r, http.StatusServiceUnavailable)
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE), errors.Is(err, io.ErrUnexpectedEOF):
		s.limiter.Warn("cannot read", "file", name, "error", err)
		answer(w, r, http.StatusInternalServerError)
	default: // not there, not a folder, out of the root by a link, too long, a loop of links
		s.notFound(w, r)
	}
}

// notFound answers with the site's own 404.html, if it has one of at most 1 MiB.
func (s *Static) notFound(w http.ResponseWriter, r *http.Request) {
	f, info, err := s.open("404.html")
	if err == nil {
		defer f.Close()
	}
	if errors.Is(err, errFolder) { // nobody knows that it is not there
		s.refuse(w, r, "404.html", err)
		return
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
		answer(w, r, http.StatusNotFound)
		return
	}
	page, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		answer(w, r, http.StatusNotFound)
		return
	}
	write(w, r, http.StatusNotFound, page)
}

// types are the content types of a site's usual files, so that they do not depend on what a machine has installed. Text
// is UTF-8, as its makers have it today.
var types = map[string]string{
	".avif": "image/avif", ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".gif": "image/gif",
	".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".ico": "image/x-icon", ".jpeg": "image/jpeg",
	".jpg": "image/jpeg", ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".map": "application/json",
	".md": "text/markdown; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".mp3": "audio/mpeg", ".mp4": "video/mp4",
	".pdf": "application/pdf", ".png": "image/png", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
	".wasm": "application/wasm", ".webm": "video/webm", ".webmanifest": "application/manifest+json", ".webp": "image/webp",
	".woff": "font/woff", ".woff2": "font/woff2", ".xml": "text/xml; charset=utf-8",
}

// typeOf is the content type by a file's extension; empty when that says nothing.
func typeOf(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t := types[ext]; t != "" {
		return t
	}
	return mime.TypeByExtension(ext)
}
