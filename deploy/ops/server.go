package ops

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// A server is an http.Server at work on one listener.
type server struct {
	http     *http.Server
	listener net.Listener
	done     chan struct{} // closed when err is set
	err      error         // what Serve returned
}

func serve(s *http.Server, l net.Listener) *server {
	out := &server{http: s, listener: l, done: make(chan struct{})}
	go func() {
		out.err = s.Serve(l)
		close(out.done)
	}()
	return out
}

// close returns when the server's goroutines have ended. It may be called again.
func (s *server) close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	if !errors.Is(s.err, http.ErrServerClosed) {
		err = errors.Join(err, s.err)
	}
	if err != nil {
		return fmt.Errorf("ops: close %s: %w", s.listener.Addr(), err)
	}
	return nil
}
