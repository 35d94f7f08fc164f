package health

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// most is how much content of an answer is looked at.
const most = 64 << 10

// client makes an instance's own client: one connection, kept from one check to the next.
func (c *Checker) client(t Target) *http.Client {
	tr := &http.Transport{
		TLSClientConfig:        t.TLS.Clone(),
		DialContext:            c.dial,
		MaxConnsPerHost:        1,
		IdleConnTimeout:        3 * c.check.Interval,
		MaxResponseHeaderBytes: most,
		DisableCompression:     true,
		Protocols:              new(http.Protocols),
	}
	tls := t.URL.Scheme == "https"
	tr.Protocols.SetHTTP1(c.check.Type != "grpc" && (tls || !t.H2))
	tr.Protocols.SetHTTP2(tls)
	tr.Protocols.SetUnencryptedHTTP2(!tls && (t.H2 || c.check.Type == "grpc"))
	return &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request is one to the instance.
func (c *Checker) request(ctx context.Context, in *instance, method, target string, body []byte) (*http.Request, error) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = in.URL.Scheme, in.URL.Host
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = c.check.Host // "" = that of the URL
	req.Header.Set("User-Agent", "hither-health")
	return req, nil
}

// http asks for the path.
func (c *Checker) http(ctx context.Context, in *instance) error {
	req, err := c.request(ctx, in, "GET", c.check.Path, nil)
	if err != nil {
		return err
	}
	res, err := in.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch want := c.check.Status; {
	case want == 0 && (res.StatusCode < 200 || res.StatusCode > 399):
		return fmt.Errorf("status %d, want 200 to 399", res.StatusCode)
	case want != 0 && res.StatusCode != want:
		return fmt.Errorf("status %d, want %d", res.StatusCode, want)
	case c.check.Body == "":
		io.CopyN(io.Discard, res.Body, most) // so that the connection can be used again
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(res.Body, most))
	if bytes.Contains(content, []byte(c.check.Body)) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("content without %q", c.check.Body)
}

// tcp opens a connection and closes it.
func (c *Checker) tcp(ctx context.Context, in *instance) error {
	port := in.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[in.URL.Scheme]
	}
	conn, err := c.dial(ctx, "tcp", net.JoinHostPort(in.URL.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// own are the headers of a connection that is for nobody else (the PROXY protocol's specification, sections 2.1 and 2.2).
var own = map[string]string{"v1": "PROXY UNKNOWN\r\n", "v2": "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"}

// dial opens a connection, and says first whose it is where instances want to know.
func (c *Checker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || c.check.ProxyProtocol == "" {
		return conn, err
	}
	// A new connection has room for a few bytes, so this does not wait.
	if _, err := io.WriteString(conn, own[c.check.ProxyProtocol]); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
