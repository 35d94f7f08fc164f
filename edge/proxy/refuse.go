package proxy

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"hither/cache"
)

// A refusal is an answer the edge gives by itself. What the client is told and the
// word in the log are different things.
type refusal struct {
	status int
	reason cache.Reason
	text   string
	token  string // RFC 9209 error type; "" = the answer is no word about an origin
}

func (e *refusal) Error() string { return "proxy: " + e.text }

var (
	errUnknownHost = &refusal{http.StatusMisdirectedRequest, "unknown-host", "no site of this network has that name", ""}
	// RFC 9110 section 15.5.20: the client may try again on a connection of its own.
	errOtherPolicy  = &refusal{http.StatusMisdirectedRequest, "tls-policy", "that site has another TLS policy than this connection's", ""}
	errMethod       = &refusal{http.StatusMethodNotAllowed, "method", "CONNECT, TRACE and PURGE are not served", ""}
	errTooEarly     = &refusal{http.StatusTooEarly, "early-data", "send this request again after the handshake (RFC 8470)", ""}
	errTarget       = &refusal{http.StatusBadRequest, "target", "the request target is malformed", ""}
	errSilent       = &refusal{http.StatusRequestTimeout, "client-silent", "the request's content stopped coming", ""}
	errContent      = &refusal{http.StatusBadRequest, "client-body", "the request's content is malformed", ""}
	errLoop         = &refusal{http.StatusBadGateway, "loop", "this request came back to where it had been sent on", "proxy_loop_detected"}
	errOnlyIfCached = &refusal{http.StatusGatewayTimeout, cache.ReasonOnlyIfCached, "nothing is stored for only-if-cached", ""}
)

// originError is what an error of an origin's RoundTripper may say of itself.
type originError interface {
	error
	Status() int         // for the client: 502, 503 or 504
	ProxyStatus() string // RFC 9209 section 2.3 error token
	Reason() string      // one word for the log
	Retryable() bool     // the request certainly did not reach the application
}

// badStatus is a status code of an origin's that means nothing.
type badStatus int

func (e badStatus) Error() string     { return "proxy: the origin's status is " + strconv.Itoa(int(e)) }
func (badStatus) Status() int         { return http.StatusBadGateway }
func (badStatus) ProxyStatus() string { return "http_protocol_error" }
func (badStatus) Reason() string      { return "origin-status" }
func (badStatus) Retryable() bool     { return false }

// statusClientGone is nginx's word for a client that left before its answer; it stands
// in the log only.
const statusClientGone = 499

// refuse answers err: a *refusal, or a fault of the origin (502, 503, 504 with
// Proxy-Status, RFC 9209).
func (p *Proxy) refuse(x *Exchange, err error) {
	var no *refusal
	if errors.As(err, &no) {
		x.Verdict, x.Reason = cache.Refused, no.reason
		if no.token != "" {
			x.w.Header()["Proxy-Status"] = []string{p.cfg.Node + "; error=" + no.token}
		}
		p.page(x, no.status, no.text)
		return
	}
	word := x.forwardWord() // why the origin was asked, which its failure does not change
	x.Verdict, x.Fault = cache.Failed, err
	// Silence comes first: net/http ends the context when a read of HTTP/1.1 times out, as
	// it does when the client has gone.
	spoiled := x.content.wrong(x.r)
	if spoiled != errSilent && x.r.Context().Err() != nil {
		x.Reason, x.Status = "client-gone", statusClientGone
		panic(http.ErrAbortHandler)
	}
	if spoiled != nil { // RFC 9110 section 15.5.9; RFC 9113 section 8.1.1
		x.Reason = spoiled.reason
		p.page(x, spoiled.status, spoiled.text)
		return
	}
	status, said := x.blame(err)
	x.w.Header()["Proxy-Status"] = []string{p.cfg.Node + said}
	x.w.Header()["Cache-Status"] = []string{p.cfg.Node + "; fwd=" + word}
	sayWhen(x.w.Header(), err)
	p.page(x, status, "the origin gave no answer")
}

// blame takes the status for the client, the parameter of Proxy-Status (RFC 9209) and the
// word for the log from what went wrong.
func (x *Exchange) blame(err error) (status int, said string) {
	var (
		fault    originError
		answered cache.StatusError
		panicked *cache.PanicError
	)
	switch {
	case errors.As(err, &fault):
		x.Reason = cache.Reason(fault.Reason())
		return fault.Status(), "; error=" + fault.ProxyStatus()
	case errors.As(err, &answered):
		x.Reason, x.upstream = cache.ReasonOriginError, int(answered)
		return int(answered), "; received-status=" + strconv.Itoa(int(answered)) // section 2.1.4
	case errors.As(err, &panicked):
		x.Reason = "panic"
		return http.StatusInternalServerError, "; error=proxy_internal_error"
	case errors.Is(err, cache.ErrLength):
		x.Reason = "origin-length"
		return http.StatusBadGateway, "; error=http_response_incomplete"
	case errors.Is(err, cache.ErrVersion):
		x.Reason = cache.ReasonVersion
		return http.StatusBadGateway, "; error=http_response_incomplete"
	case errors.Is(err, cache.ErrSlice):
		x.Reason = "origin-range"
		return http.StatusBadGateway, "; error=http_protocol_error"
	case errors.Is(err, context.DeadlineExceeded):
		x.Reason = "origin-timeout"
		return http.StatusGatewayTimeout, "; error=http_response_timeout"
	}
	x.Reason = cache.ReasonOriginError
	return http.StatusBadGateway, "; error=http_protocol_error"
}

// allowed is what Allow says of this node. Which methods a resource has is its origin's
// to say.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// page writes a short answer of the edge's own.
func (p *Proxy) page(x *Exchange, status int, text string) {
	h := x.w.Header()
	body := strconv.Itoa(status) + " " + http.StatusText(status) + ": " + text + "\n"
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if status == http.StatusMethodNotAllowed {
		h["Allow"] = []string{allowed}
	}
	p.sign(x, h)
	x.begin(status)
	if x.Method != http.MethodHead {
		x.write([]byte(body))
	}
}
