package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"hither/deploy/ops"
	"hither/edge/proxy"
)

// A Question is a request that an operator asks about. It is never sent.
type Question struct {
	Method string   `json:"method"` // "" = GET
	Scheme string   `json:"scheme"` // https or http
	Host   string   `json:"host"`   // the authority, with or without a port
	Target string   `json:"target"` // path and query, byte for byte as a client sends them
	Fields []string `json:"fields"` // "Name: value"
	// ServerName is the TLS server name; null = the host, "" = none.
	ServerName *string `json:"server_name"`
	Early      bool    `json:"early"`   // as 0-RTT data (RFC 8470)
	Content    bool    `json:"content"` // the request has content
}

// Explanation is the document "explain-request".
type Explanation struct {
	Node     string `json:"node"`
	PoP      string `json:"pop"`
	Revision int    `json:"revision"`
	Live     bool   `json:"live"` // a running edge says it
	// Stage is how far the request comes: handshake, front (its form and limits) or proxy. What does not come to the last
	// stands in no access log, and is counted in hither_edge_rejected_total by its reason.
	Stage string `json:"stage"`
	proxy.Explanation
}

// explainCall answers POST /v1/explain/request, whose content is a Question.
func (n *Node) explainCall(r *http.Request) (string, any, error) {
	var q Question
	if err := ops.DecodeBody(r, &q); err != nil {
		return "", nil, err
	}
	x, err := n.Explain(q)
	if err != nil {
		return "", nil, &ops.Refusal{Status: http.StatusBadRequest, Cause: err}
	}
	return "explain-request", x, nil
}

// Explain tells what the node would do with a request now, by the code that answers clients. It does not do it: no origin
// is asked, nothing is stored, counted or logged. The error is about the question alone.
func (n *Node) Explain(q Question) (Explanation, error) {
	r, name, err := q.request()
	if err != nil {
		return Explanation{}, err
	}
	n.mu.Lock()
	x := Explanation{Node: "edge-" + n.o.Name, PoP: n.o.Name, Revision: n.o.Fleet.Number(n.revision), Live: true}
	n.mu.Unlock()
	x.At, x.Asked, x.Log = n.o.Now().UTC(), proxy.ExplainedAsked{Method: r.Method, Scheme: q.Scheme, Host: r.Host, Target: q.Target}, []proxy.ExplainedOutcome{}
	refused := func(stage string, status int, reason, why string) (Explanation, error) {
		x.Stage, x.Verdict, x.Status, x.Reason, x.Why = stage, "refused", status, reason, why
		return x, nil
	}
	if r.TLS != nil {
		if _, ok := n.names.Table().Lookup(name); !ok || name == "" {
			return refused("handshake", 0, "unknown-name", fmt.Sprintf("there is no certificate for %q here: the TLS handshake ends with unrecognized_name", name))
		}
	}
	if r.URL, err = url.ParseRequestURI(q.Target); err != nil {
		return refused("front", http.StatusBadRequest, "bad-request", "no URL: "+errors.Unwrap(err).Error())
	}
	if status, why := n.front.Check(r); why != "" {
		return refused("front", status, string(why), "outside of the front's limits (edge.limits), or malformed")
	}
	x.Stage, x.Explanation = "proxy", n.proxy.Explain(r)
	if r.TLS == nil {
		x.Explanation = n.proxy.ExplainRedirect(r)
	}
	return x, nil
}

// request makes the request that is asked about, and the TLS server name that its client sends.
func (q *Question) request() (*http.Request, string, error) {
	r := &http.Request{
		Method: q.Method, Host: q.Host, RequestURI: q.Target, Header: make(http.Header), Body: http.NoBody, Proto: "HTTP/2.0", ProtoMajor: 2,
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	switch {
	case q.Scheme != "https" && q.Scheme != "http":
		return nil, "", fmt.Errorf("node: scheme %q: https or http", q.Scheme)
	case q.Host == "":
		return nil, "", errors.New("node: the request has no host")
	case q.Target == "":
		return nil, "", errors.New("node: the request has no target; the shortest is /")
	case strings.ContainsFunc(r.Method, func(c rune) bool { return !httpguts.IsTokenRune(c) }):
		return nil, "", fmt.Errorf("node: %q is no method", r.Method)
	}
	for _, line := range q.Fields {
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, "", fmt.Errorf("node: %.60q is no field; write 'Name: value'", line)
		}
		if name = http.CanonicalHeaderKey(name); name == "Host" {
			r.Host = value
			continue
		}
		r.Header[name] = append(r.Header[name], value)
	}
	if q.Content {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("?")), -1
	}
	if q.Scheme == "http" {
		return r, "", nil
	}
	name := serverName(q.Host)
	if q.ServerName != nil {
		name = *q.ServerName
	}
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: !q.Early, ServerName: name}
	return r, name, nil
}

// serverName is what a client of an authority sends: its host, unless that is an address (RFC 6066 section 3).
func serverName(authority string) string {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = strings.Trim(authority, "[]")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
