package pool

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stuck is a request's content whose Read waits for something that its Close does not bring about, as of a caller that
// reads from a client.
type stuck struct {
	first   io.Reader
	release chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if n, _ := s.first.Read(p); n > 0 {
		return n, nil
	}
	<-s.release
	return 0, io.EOF
}

func (s *stuck) Close() error { return nil }

// An origin answers before it has read the request, and the caller closes the answer while its content waits for more. (Of
// HTTP/1.1 a Go server answers only when it has read the request, or 256 KiB of it.)
func TestCloseWaitsForNoUpload(t *testing.T) {
	for _, status := range []int{http.StatusRequestEntityTooLarge, http.StatusOK} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			o := plainOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(status)
				io.WriteString(w, "answer")
			})
			cfg := config(o.addr)
			cfg.TLS, cfg.Protocol = nil, "h2c"
			p := started(t, cfg)
			body := &stuck{strings.NewReader("begun"), make(chan struct{})}
			defer close(body.release)
			res, err := p.RoundTrip(request(t, "POST", "/", body))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}()
			select {
			case <-done:
			case <-time.After(limit / 4): // before the request's own deadline ends it
				t.Error("it waits for the upload")
			}
		})
	}
}
