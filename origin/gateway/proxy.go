package gateway

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strconv"
	"time"

	"hither/deploy/ops"
)

// ProxyConfig says how to reach an application.
type ProxyConfig struct {
	// Name is this gateway's, in Via and Proxy-Status; an RFC 9110 token. Required.
	Name string
	// Transport carries a request to an instance of its choice, as *upstream.Upstream does. Its errors say themselves which
	// status and which error type they are, and how long to wait (Status, ProxyStatus, Reason, RetryAfter). Required.
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
	if res.StatusCode != http.StatusSwitchingProtocols && res.Body != http.NoBody {
		res.Body = &heard{res.Body, p, res.Request}
	}
	return nil
}

// heard is an answer's content, of which the operator is told when it breaks off: the edge sees no more than a reset.
type heard struct {
	io.ReadCloser
	p *Proxy
	r *http.Request
}

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.ReadCloser.Read(b)
	if err != nil && err != io.EOF && h.r.Context().Err() == nil { // else the edge has given up
		reason := "origin-protocol"
		var t told
		if errors.As(err, &t) {
			reason = t.Reason()
		}
		h.p.limiter.Warn("an instance's answer broke off", "host", h.r.Host, "path", h.r.URL.Path, "error", err, "reason", reason)
	}
	return n, err
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

// told is what the errors of origin/upstream and the rooms below it say of themselves.
type told interface {
	error
	Status() int         // for the client, when nothing was sent yet
	ProxyStatus() string // the error type of RFC 9209 section 2.3
	Reason() string      // one word for the log, from a closed list
}

// failed answers when there is no answer of an instance to pass on.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the edge has given up
	}
	// What has no word for itself comes of what the instance sent and net/http does not pass on, as another protocol than the
	// one asked for after 101.
	status, token, reason := http.StatusBadGateway, "http_protocol_error", "origin-protocol"
	var t told
	if errors.As(err, &t) {
		status, token, reason = t.Status(), t.ProxyStatus(), t.Reason()
	}
	p.limiter.Warn("no answer from an instance", "host", r.Host, "path", r.URL.Path, "error", err, "status", status, "reason", reason)
	h := w.Header()
	h.Set("Proxy-Status", p.cfg.Name+"; error="+token)
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) { // it was refused, and when it may be worth to ask again is known
		h.Set("Retry-After", strconv.Itoa(int(max(time.Second, later.RetryAfter())/time.Second)))
	}
	answer(w, r, status)
}
