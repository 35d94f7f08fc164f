package health

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// wants is a listener whose connections begin with a header of the PROXY protocol: others are closed.
type wants struct {
	net.Listener
	seen chan *proxyproto.Header
}

func (w wants) Accept() (net.Conn, error) {
	for {
		c, err := w.Listener.Accept()
		if err != nil {
			return nil, err
		}
		r := bufio.NewReader(c)
		h, err := proxyproto.Read(r)
		if err != nil {
			c.Close()
			continue
		}
		w.seen <- h
		return &begun{c, r}, nil
	}
}

type begun struct {
	net.Conn
	r io.Reader
}

func (b *begun) Read(p []byte) (int, error) { return b.r.Read(p) }

// TestProxyProtocol checks instances that want to know for whom each connection is: it is for nobody, by either version,
// with and without TLS. A check that says nothing fails.
func TestProxyProtocol(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well") })
	for _, scheme := range []string{"http", "https"} {
		seen := make(chan *proxyproto.Header, 10)
		s := httptest.NewUnstartedServer(h)
		s.Listener = wants{s.Listener, seen}
		if scheme == "https" {
			s.StartTLS()
		} else {
			s.Start()
		}
		defer s.Close()
		to := Target{URL: at(t, s.URL)}
		if scheme == "https" {
			to.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig
		}
		for version, number := range map[string]byte{"v1": 1, "v2": 2} {
			if err := ask(t, Check{ProxyProtocol: version, Body: "well"}, to); err != nil {
				t.Errorf("%s, %s: %v", scheme, version, err)
				continue
			}
			if h := <-seen; h.Version != number || !h.Command.IsLocal() {
				t.Errorf("%s, %s: the header was %+v", scheme, version, h)
			}
			if err := ask(t, Check{ProxyProtocol: version, Type: "tcp"}, to); err != nil {
				t.Errorf("%s, %s, a connection: %v", scheme, version, err)
				continue
			}
			if h := <-seen; h.Version != number || !h.Command.IsLocal() {
				t.Errorf("%s, %s, a connection: the header was %+v", scheme, version, h)
			}
		}
		if err := ask(t, Check{}, to); err == nil {
			t.Errorf("%s: a check without a header passes", scheme)
		}
	}
	if _, err := New(Check{ProxyProtocol: "v3"}, Options{}); err == nil || !strings.Contains(err.Error(), "v3") {
		t.Errorf("version 3: %v", err)
	}
}
