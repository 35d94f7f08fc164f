package visit

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// overTCP visits over TLS.
func (c *Client) overTCP(ctx context.Context, conf *tls.Config, path string, t *tickets) (v Visit, err error) {
	conf.NextProtos = []string{"h2", "http/1.1"}
	v.Start = time.Now()
	raw, err := c.Dial(ctx, "tcp", c.To.String())
	if err != nil {
		return v, err
	}
	defer raw.Close()
	v.Connected = time.Now()
	if a, ok := raw.LocalAddr().(*net.TCPAddr); ok {
		v.Port = a.AddrPort().Port()
	}
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		return v, err
	}
	v.Shaken, v.Resumed = time.Now(), conn.ConnectionState().DidResume
	tr := &http.Transport{
		DialTLSContext:     func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
	}
	defer tr.CloseIdleConnections()
	if err := c.get(ctx, tr, http.MethodGet, path, &v); err != nil {
		return v, err
	}
	if conf.ClientSessionCache != nil {
		t.await(ctx) // HTTP/2 goes on reading by itself
	}
	return v, nil
}

// overQUIC visits by HTTP/3.
func (c *Client) overQUIC(ctx context.Context, conf *tls.Config, path string, early bool, t *tickets) (v Visit, err error) {
	sock, err := c.ListenUDP()
	if err != nil {
		return v, err
	}
	defer sock.Close()
	if a, ok := sock.LocalAddr().(*net.UDPAddr); ok {
		v.Port = a.AddrPort().Port()
	}
	qt := &quic.Transport{Conn: sock}
	defer qt.Close()
	tr := &http3.Transport{DisableCompression: true}
	defer tr.Close()
	conf.NextProtos = []string{http3.NextProtoH3}
	v.Start = time.Now()
	conn, err := qt.DialEarly(ctx, net.UDPAddrFromAddrPort(c.To), conf, new(quic.Config))
	if err != nil {
		return v, err
	}
	defer conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	method := http3.MethodGet0RTT
	if !early {
		method = http.MethodGet
		select {
		case <-conn.HandshakeComplete():
			v.Shaken = time.Now()
		case <-conn.Context().Done():
			return v, context.Cause(conn.Context())
		case <-ctx.Done():
			return v, fmt.Errorf("shake hands: %w", context.Cause(ctx))
		}
	}
	if err := c.get(ctx, tr.NewClientConn(conn), method, path, &v); err != nil {
		return v, err
	}
	if conf.ClientSessionCache != nil {
		t.await(ctx)
	}
	state := conn.ConnectionState()
	v.Early, v.Resumed = state.Used0RTT, state.TLS.DidResume
	return v, nil
}

// primeTCP takes a ticket over TLS.
func (c *Client) primeTCP(ctx context.Context, conf *tls.Config, t *tickets) error {
	conf.NextProtos = []string{"h2", "http/1.1"}
	raw, err := c.Dial(ctx, "tcp", c.To.String())
	if err != nil {
		return err
	}
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return err
	}
	// The ticket is taken from what comes after the handshake, by whoever reads.
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(io.Discard, conn)
	}()
	t.await(ctx)
	err = raw.Close()
	<-read
	return err
}

// primeQUIC takes a ticket over QUIC.
func (c *Client) primeQUIC(ctx context.Context, conf *tls.Config, t *tickets) error {
	sock, err := c.ListenUDP()
	if err != nil {
		return err
	}
	defer sock.Close()
	qt := &quic.Transport{Conn: sock}
	defer qt.Close()
	conf.NextProtos = []string{http3.NextProtoH3}
	conn, err := qt.Dial(ctx, net.UDPAddrFromAddrPort(c.To), conf, new(quic.Config))
	if err != nil {
		return err
	}
	t.await(ctx)
	return conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}
