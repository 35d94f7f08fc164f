package listen_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"hither/edge/listen"
)

// heard is what a front told of its clients' distance.
type heard struct {
	mu      sync.Mutex
	clients []netip.Addr
	least   time.Duration // the smallest that was told
	wrong   string
}

// rtts is a configuration that counts measurements as "rtt".
func (h *heard) rtts(c *listen.Config, told func()) {
	c.Hooks.RTT = func(client netip.Addr, smoothed, least time.Duration) {
		h.mu.Lock()
		if h.clients = append(h.clients, client); h.least == 0 || least < h.least {
			h.least = least
		}
		if least <= 0 || smoothed < least || !client.Is4() {
			h.wrong = fmt.Sprintf("%v: smoothed %v, least %v", client, smoothed, least)
		}
		h.mu.Unlock()
		told()
	}
}

// distant opens a front that tells distances, and counts each as "rtt".
func distant(t *testing.T, h *heard, change func(*listen.Config)) *world {
	told := newCounts(t)
	w := open(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }, func(c *listen.Config) {
		h.rtts(c, func() { told.add("rtt", 1) })
		if change != nil {
			change(c)
		}
	})
	w.counts = told
	return w
}

// Each connection tells once how far its client is, however many requests it carries.
func TestRTT(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		var h heard
		w, began := distant(t, &h, nil), time.Now()
		c := w.client(p, nil)
		for range 5 {
			resp, err := c.Get("https://" + siteName + "/")
			body(t, resp, err)
		}
		if time.Since(began) < 10*time.Second { // else it may have told again
			w.wait("rtt", 1)
		}
		resp, err := w.client(p, nil).Get("https://" + siteName + "/")
		body(t, resp, err)
		if time.Since(began) < 10*time.Second {
			w.wait("rtt", 2)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.wrong != "" {
			t.Error(h.wrong)
		}
		for _, a := range h.clients {
			if !a.IsLoopback() {
				t.Errorf("a client at %v", a)
			}
		}
	})
}

// What is behind a proxy is not measured: its distance is not the client's. Its neighbour is.
func TestRTTBehindProxy(t *testing.T) {
	var h heard
	w := distant(t, &h, func(c *listen.Config) { c.ProxyProtocol = proxies })
	ask := func(c net.Conn) {
		t.Helper()
		tc := tls.Client(c, w.clientTLS("http/1.1"))
		fmt.Fprintf(tc, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", siteName)
		if b, err := io.ReadAll(tc); err != nil || len(b) == 0 {
			t.Errorf("%q, %v", b, err)
		}
	}
	named := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443})
	header, err := named.Format()
	if err != nil {
		t.Fatal(err)
	}
	ask(w.introduced(w.HTTPS()[0], string(header), 0))
	ask(w.introduced(w.HTTPS()[0], "PROXY UNKNOWN\r\n", 0))
	ask(w.from(net.IPv4(127, 66, 0, 1), w.HTTPS()[0]))
	w.wait("rtt", 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.clients) != 1 || h.clients[0] != netip.MustParseAddr("127.66.0.1") {
		t.Errorf("told of %v", h.clients)
	}
}

// farAway is a client's socket whose packets are late by a while.
type farAway struct {
	net.PacketConn
	late time.Duration
	wg   sync.WaitGroup
}

func (f *farAway) WriteTo(p []byte, to net.Addr) (int, error) {
	p = append([]byte(nil), p...)
	f.wg.Add(1)
	time.AfterFunc(f.late, func() { f.PacketConn.WriteTo(p, to); f.wg.Done() })
	return len(p), nil
}

// A client whose packets take a while is that far away.
func TestRTTOfDistance(t *testing.T) {
	var h heard
	w := distant(t, &h, nil)
	sock, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	far := &farAway{PacketConn: sock, late: 60 * time.Millisecond}
	qt := &quic.Transport{Conn: far}
	tr := &http3.Transport{TLSClientConfig: w.clientTLS(), Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
		return qt.DialEarly(ctx, net.UDPAddrFromAddrPort(w.QUIC()[0]), tc, qc)
	}}
	defer func() { tr.Close(); qt.Close(); far.wg.Wait(); sock.Close() }()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + siteName + "/")
	body(t, resp, err)
	w.wait("rtt", 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.least < far.late {
		t.Errorf("a client at %v is told to be at %v", far.late, h.least)
	}
}
