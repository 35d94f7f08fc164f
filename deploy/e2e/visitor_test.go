//go:build e2e

package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// protocols are those of every edge.
var protocols = []string{"h1", "h2", "h3"}

// site is the URL under which clients know the site.
const site = "https://" + host + ":8443"

// A visitor is a client with connections of its own, that speaks one protocol.
type visitor struct {
	proto string
	http  *http.Client
	tls   *tls.Config
	// dials counts connections begun, refused those which nobody accepted. A refused one
	// is no lost request: nothing was sent.
	dials, refused atomic.Int64
	edges          []string     // addresses, in the order in which they are tried
	from           netip.Addr   // where the connections come from; the zero Addr is anywhere
	moved          atomic.Int64 // index of the edge of the last connection
}

// A visit is what a visitor may be told.
type visit struct {
	proto string
	pops  []string   // the first is used while it accepts connections, the next one then
	from  netip.Addr // source address; zero = any
}

// visitor makes a client of the network. It is closed with the test.
func (n *network) visitor(t *testing.T, w visit) *visitor {
	t.Helper()
	v := &visitor{proto: w.proto, from: w.from}
	for _, pop := range w.pops {
		v.edges = append(v.edges, n.edge(pop))
	}
	v.tls = &tls.Config{RootCAs: n.roots, ServerName: host}
	switch w.proto {
	case "h3":
		tr := &http3.Transport{TLSClientConfig: v.tls, QUICConfig: &quic.Config{MaxIdleTimeout: time.Minute}, Dial: v.dialQUIC}
		v.http = &http.Client{Transport: tr}
		t.Cleanup(func() { tr.Close() })
	default:
		// A connection that is not needed for a moment is kept: new ones are limited per second.
		tr := &http.Transport{DialTLSContext: v.dialTLS, DisableCompression: true, Protocols: new(http.Protocols), MaxIdleConnsPerHost: 100}
		tr.Protocols.SetHTTP1(w.proto == "h1")
		tr.Protocols.SetHTTP2(w.proto == "h2")
		v.tls.NextProtos = map[string][]string{"h1": {"http/1.1"}, "h2": {"h2"}}[w.proto]
		v.http = &http.Client{Transport: tr}
		t.Cleanup(tr.CloseIdleConnections)
	}
	v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v
}

// via is a visitor of one PoP.
func (n *network) via(t *testing.T, proto, pop string) *visitor {
	t.Helper()
	return n.visitor(t, visit{proto: proto, pops: []string{pop}})
}

// A dialError means that there is no connection, so that no request was sent on one.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// dialTLS goes on to the next edge when one does not take a connection. A connection
// that waits in the kernel when its listener is closed is reset, in the middle of its
// handshake as the client sees it: that is a refusal as well.
func (v *visitor) dialTLS(ctx context.Context, _, _ string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(v.from, 0))}, Config: v.tls}
	var all []error
	for i := min(v.moved.Load(), int64(len(v.edges))-1); i < int64(len(v.edges)); i++ {
		v.dials.Add(1)
		c, err := d.DialContext(ctx, "tcp", v.edges[i])
		if err == nil && v.proto == "h1" {
			return &steady{Conn: c}, nil
		}
		if err == nil {
			return c, nil
		}
		all = append(all, err)
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
			break
		}
		v.refused.Add(1)
		v.moved.CompareAndSwap(i, i+1)
	}
	return nil, dialError{errors.Join(all...)}
}

// A steady connection gives nothing of an answer away while its request is being written. net/http gives a connection up where, 50 ms
// after an answer, the writer has not yet said that the request went out, and on a busy machine the system call may take as
// long to return, with the answer there before it: a client would need two connections, and no edge had closed one.
type steady struct {
	net.Conn
	writing sync.RWMutex // and no Mutex, which may let the reader run before the writer goes on
}

func (c *steady) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Conn.Write(p)
}

func (c *steady) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.writing.RLock()
	defer c.writing.RUnlock()
	return n, err
}

// dialQUIC goes on to the next edge when it is asked for a new connection: a client that
// was sent away asks DNS again. Nobody refuses a UDP packet, so waiting for that would
// only take time.
func (v *visitor) dialQUIC(ctx context.Context, _ string, conf *tls.Config, qc *quic.Config) (*quic.Conn, error) {
	i := min(v.dials.Add(1)-1, int64(len(v.edges))-1)
	v.moved.Store(i)
	to, err := net.ResolveUDPAddr("udp", v.edges[i])
	if err != nil {
		return nil, err
	}
	sock, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(v.from, 0)))
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: sock}
	c, err := tr.Dial(ctx, to, conf, qc)
	if err != nil {
		tr.Close()
		sock.Close()
		return nil, dialError{err}
	}
	context.AfterFunc(c.Context(), func() {
		tr.Close()
		sock.Close()
	})
	return c, nil
}

// hangTime bounds every request: a client that waited so long would have gone.
const hangTime = 10 * time.Second

// An answer is a response with its whole content.
type answer struct {
	status int
	header http.Header
	body   []byte
	proto  string
}

// verdict is the value of Cache-Status.
func (a answer) verdict() string { return a.header.Get("Cache-Status") }

// get asks for a path. The error of a body that broke off comes with what there was.
func (v *visitor) get(ctx context.Context, path string) (answer, error) {
	r, err := http.NewRequest(http.MethodGet, site+path, nil)
	if err != nil {
		return answer{}, err
	}
	return v.do(ctx, r)
}

func (v *visitor) do(ctx context.Context, r *http.Request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, hangTime)
	defer cancel()
	resp, err := v.http.Do(r.WithContext(ctx))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, proto: resp.Proto}
	a.body, err = io.ReadAll(resp.Body)
	if err == nil && a.proto != protocolNames[v.proto] {
		err = fmt.Errorf("the answer came over %s, not %s", a.proto, v.proto)
	}
	return a, err
}

var protocolNames = map[string]string{"h1": "HTTP/1.1", "h2": "HTTP/2.0", "h3": "HTTP/3.0"}

// must is get for an answer that has to come.
func (v *visitor) must(t *testing.T, path string) answer {
	t.Helper()
	a, err := v.get(t.Context(), path)
	if err != nil {
		t.Fatalf("%s %s: %v", v.proto, path, err)
	}
	return a
}

// listens reports whether connections are accepted at an address.
func listens(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err == nil
}
