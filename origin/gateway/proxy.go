package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"syscall"

	"hither/deploy/ops"
)

// ProxyConfig says how to reach an application.
type ProxyConfig struct {
	// Name is this gateway's, in Via and Proxy-Status; an RFC 9110 token. Required.
	Name string
	// Transport carries a request to an instance of its choice: it sets scheme and host of
	// the request's URL, and nothing else. Required; see NewInstances.
	Transport http.RoundTripper
	// Log takes errors of instances. Nil: they are not logged.
	Log *slog.Logger
}

// Proxy passes requests on to an application, and its answers back. Host, target and what the edge says of the client
// (X-Forwarded-*, Forwarded, Early-Data) go on unchanged: the edge has proved itself. Fields of one hop are taken out
// and Via is added, both ways. An answer that breaks off breaks off towards the edge too, it is never silently short.
type Proxy struct {
	cfg     ProxyConfig
	rp      *httputil.ReverseProxy
	limiter ops.Limiter
}

// NewProxy makes a Proxy.
func NewProxy(cfg ProxyConfig) *Proxy {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{cfg: cfg, limiter: ops.Limiter{Log: cfg.Log}}
	p.rp = &httputil.ReverseProxy{
		Rewrite:        rewrite(cfg.Name),
		Transport:      cfg.Transport,
		FlushInterval:  -1, // what an application has sent, it has sent
		ModifyResponse: p.response,
		ErrorHandler:   p.failed,
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return p
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.rp.ServeHTTP(w, r) }

// forwarded are the fields that httputil.ReverseProxy takes out of what a client sent.
var forwarded = [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

func rewrite(name string) func(*httputil.ProxyRequest) {
	return func(pr *httputil.ProxyRequest) {
		for _, f := range forwarded {
			if v, ok := pr.In.Header[f]; ok {
				pr.Out.Header[f] = v
			}
		}
		pr.Out.Host = pr.In.Host
		// ReverseProxy orders a query it cannot parse anew. What it means is for the application to say.
		pr.Out.URL.RawQuery, pr.Out.URL.ForceQuery = pr.In.URL.RawQuery, pr.In.URL.ForceQuery
		pr.Out.Header.Add("Via", received(pr.In.ProtoMajor, pr.In.ProtoMinor)+" "+name)
	}
}

func (p *Proxy) response(res *http.Response) error {
	res.Header.Add("Via", received(res.ProtoMajor, res.ProtoMinor)+" "+p.cfg.Name)
	return nil
}

// received is the received-protocol of Via (RFC 9110 section 7.6.3).
func received(major, minor int) string {
	switch {
	case major == 3:
		return "3"
	case major == 2:
		return "2"
	case minor == 0:
		return "1.0"
	}
	return "1.1"
}

// failed answers when there is no answer of an instance to pass on.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the edge has given up
	}
	status, token := explain(err)
	p.limiter.Warn("no answer from an instance", "host", r.Host, "path", r.URL.Path, "error", err, "status", status, "reason", token)
	w.Header().Set("Proxy-Status", p.cfg.Name+"; error="+token)
	answer(w, r, status)
}

// explain is the status and the error type (RFC 9209 section 2.3) for an error of the transport.
func explain(err error) (status int, token string) {
	var (
		name    *net.DNSError
		op      *net.OpError
		timeout interface{ Timeout() bool }
	)
	late := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	dialing := errors.As(err, &op) && op.Op == "dial"
	text := err.Error()
	switch {
	case errors.Is(err, errNoInstance):
		return http.StatusServiceUnavailable, "destination_unavailable"
	case errors.As(err, &name):
		return http.StatusBadGateway, "dns_error"
	case errors.Is(err, syscall.ECONNREFUSED):
		return http.StatusBadGateway, "connection_refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return http.StatusBadGateway, "destination_ip_unroutable"
	case late && (dialing || strings.Contains(text, "TLS handshake timeout")):
		return http.StatusGatewayTimeout, "connection_timeout"
	case late:
		return http.StatusGatewayTimeout, "http_response_timeout"
	case errors.Is(err, errUnasked), errors.Is(err, errInformational):
		return http.StatusBadGateway, "http_protocol_error"
	case strings.Contains(text, "server response headers exceeded"):
		return http.StatusBadGateway, "http_response_header_section_size"
	case strings.Contains(text, "tls: "), strings.Contains(text, "x509: "):
		return http.StatusBadGateway, "tls_certificate_error"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(text, "server closed"):
		return http.StatusBadGateway, "connection_terminated"
	}
	return http.StatusBadGateway, "http_protocol_error"
}
