package ops

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	pathpkg "path"
	"strings"
	"time"
)

// SocketName is the admin socket's file name in a node's state folder.
const SocketName = "admin.sock"

// Admin is what an operator may ask and tell a node, over HTTP on a unix socket that
// only the node's own user can open. Calls stand below /v1/ and answer one JSON
// document each; Go's profiles are at /debug/pprof/.
//
// Handle comes first, then Open, then Close.
type Admin struct {
	mux    *http.ServeMux
	socket *socket
	server *server
}

// A Call answers a request with a document; see [MarshalDocument] for its name and
// value. An error may be a [*Refusal].
type Call func(r *http.Request) (name string, doc any, err error)

// NewAdmin makes an admin socket that is not open yet.
func NewAdmin() *Admin {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &Admin{mux: mux}
}

// Handle has call answer a pattern of [http.ServeMux] that names its method, as in
// "GET /v1/status" or "POST /v1/drain": other methods get 405. It panics on a pattern
// that is there already.
func (a *Admin) Handle(pattern string, call Call) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		name, doc, err := call(r)
		if err != nil {
			writeError(w, err)
			return
		}
		writeDocument(w, http.StatusOK, name, doc)
	})
}

// Answer answers a call that came by another road than the socket: path is below /v1/, with its query. Profiles are
// for who is on the machine. The body is a document, as the socket's are.
func (a *Admin) Answer(ctx context.Context, method, path string, content []byte) (status int, body []byte) {
	w := &answer{status: http.StatusOK, header: make(http.Header)}
	r, err := http.NewRequestWithContext(ctx, method, "http://node"+path, bytes.NewReader(content))
	switch {
	case err != nil || r.URL.Host != "node" || r.URL.Path != pathpkg.Clean(r.URL.Path):
		writeError(w, &Refusal{http.StatusBadRequest, fmt.Errorf("ops: %.200q is no path of a call", path)})
	case !strings.HasPrefix(r.URL.Path, "/v1/"):
		writeError(w, &Refusal{http.StatusNotFound, fmt.Errorf("ops: %.200q is not below /v1/", path)})
	default:
		a.mux.ServeHTTP(w, r)
		if w.header.Get("Content-Type") != "application/json" { // the mux's own word: 404 and 405
			said := w.status
			*w = answer{status: http.StatusOK, header: make(http.Header)}
			writeError(w, &Refusal{said, fmt.Errorf("ops: %s %.200s: %s", method, r.URL.Path, http.StatusText(said))})
		}
	}
	return w.status, w.body.Bytes()
}

// An answer is a response that stays in memory.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (w *answer) Header() http.Header         { return w.header }
func (w *answer) WriteHeader(status int)      { w.status = status }
func (w *answer) Write(p []byte) (int, error) { return w.body.Write(p) }

// Open listens on the socket in the folder dir, which must exist. A socket that a dead
// process left is replaced; if a live one answers there, that is an error.
func (a *Admin) Open(dir string) error {
	s, err := openSocket(dir)
	if err != nil {
		return err
	}
	a.socket = s
	a.server = serve(&http.Server{
		Handler:           a.mux,
		ReadHeaderTimeout: 5 * time.Second,
		// No other limits: the peer is the operator, and a profile or a call that
		// follows a purge takes as long as it is asked to.
		MaxHeaderBytes: 16 << 10,
	}, s.listener)
	return nil
}

// Close removes the socket; calls under way have until ctx ends. Without Open it does
// nothing.
func (a *Admin) Close(ctx context.Context) error {
	if a.server == nil {
		return nil
	}
	a.socket.remove()
	return a.server.close(ctx)
}

// dialSocket connects to the socket in dir.
func dialSocket(ctx context.Context, dir string) (net.Conn, error) {
	short, release, err := shortPath(dir, SocketName)
	if err != nil {
		return nil, fmt.Errorf("ops: find the admin socket of %s: %w", dir, err)
	}
	defer release()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}
