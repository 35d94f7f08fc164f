package proxy

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// hopByHop are the fields that end at each hop (RFC 9110 section 7.6.1), whether a
// Connection field names them or not.
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade",
	"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info",
}

// spoofable are request fields by which applications learn who asks and for what, and
// which a client therefore must not be able to set; so are all that begin with one of
// spoofableBy. They are compared with "_" read as "-", since gateways of the CGI kind
// cannot tell the two apart.
var spoofable = map[string]bool{
	"Forwarded": true, "X-Host": true, "X-Real-Ip": true, "Client-Ip": true, "X-Client-Ip": true,
	"X-Cluster-Client-Ip": true, "True-Client-Ip": true, "Fastly-Client-Ip": true, "Cf-Connecting-Ip": true,
	"Cf-Connecting-Ipv6": true, "X-Remote-Ip": true, "X-Remote-Addr": true, "X-Azure-Clientip": true, "X-Azure-Socketip": true,
	"X-Proxyuser-Ip": true, "X-Client-Cert": true, "X-Ssl-Client-Cert": true, "Client-Cert": true, "Client-Cert-Chain": true,
	"Front-End-Https": true, "X-Scheme": true, "X-Url-Scheme": true, "X-Override-Url": true, "X-Http-Destinationurl": true,
	"Early-Data": true, "Proxy": true, "Hither-Journal": true, DeviceField: true, keyField: true,
}

var spoofableBy = [...]string{"X-Forwarded", "X-Original-", "X-Rewrite-", "X-Envoy-"}

func isSpoofable(name string) bool {
	for _, prefix := range spoofableBy {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return spoofable[name]
}

// opaque reports whether the origin sees a field otherwise than the client sent it: made
// by the edge, or dropped there. X-Forwarded-Proto is no such field where the cache key
// has the scheme, which is all that it says.
func opaque(name string) bool {
	return name != "X-Forwarded-Proto" && opaqueMerged(name)
}

// opaqueMerged is opaque for a site that merges schemes. Host is opaque because a site's
// hosts share its stored responses.
func opaqueMerged(name string) bool {
	return isSpoofable(name) || name == "Via" || name == cdnLoop || name == "Host"
}

// opaqueBeside and opaqueBesideMerged are opaque and opaqueMerged where a rule chooses by the device.
func opaqueBeside(name string) bool       { return name != DeviceField && opaque(name) }
func opaqueBesideMerged(name string) bool { return name != DeviceField && opaqueMerged(name) }

// overriding are request fields that turn a GET into something else at the
// application, where the cache would still take the answer for a GET's.
var overriding = map[string]bool{"X-Http-Method-Override": true, "X-Http-Method": true, "X-Method-Override": true}

// endToEnd returns a copy of h without the fields of the hop it came by.
func endToEnd(h http.Header) http.Header {
	out := make(http.Header, len(h)+6)
	for name, values := range h {
		out[name] = values
	}
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(textproto.TrimString(name))
			if name != cdnLoop { // which nobody may take out (RFC 8586 section 2)
				delete(out, name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(out, name)
	}
	delete(out, "Trailer")
	return out
}

// hides reports whether Connection keeps from the origin a field that the request has and that is no field of a connection:
// an answer without it would be stored for those who send it.
func hides(v RequestView) bool {
	for _, line := range v.Values("Connection") {
		for name := range strings.SplitSeq(line, ",") {
			name = textproto.TrimString(name)
			if strings.EqualFold(name, "HTTP2-Settings") || strings.EqualFold(name, cdnLoop) || slices.ContainsFunc(hopByHop[:], func(hop string) bool { return strings.EqualFold(hop, name) }) {
				continue
			}
			if len(v.Values(http.CanonicalHeaderKey(name))) > 0 {
				return true
			}
		}
	}
	return false
}

// requestFields makes the field section for the origin: end to end, told who asks, and
// nothing a client could have made up.
func (p *Proxy) requestFields(r *http.Request, pl plan) http.Header {
	h := endToEnd(r.Header)
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	from := peer.Addr().Unmap().WithZone("")
	trusted := p.trusts(from) || pl.inner
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	for name := range h {
		plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		// An answer that may be stored must not depend on a scheme or host that the key
		// does not have, whoever names it. Another PoP has held to that.
		believed := trusted && (believable[name] && pl.bypass != "" || name == "X-Forwarded-For") || pl.inner && name == "Forwarded"
		if isSpoofable(plain) && !believed || get && overriding[plain] || plain != name && pl.rule != nil && slices.Contains(pl.rule.Choose.names, plain) {
			delete(h, name)
		}
	}
	// A client that sends no content, or speaks HTTP/1.0, expects nothing (RFC 9110 section 10.1.1).
	if !(view{r}).Content() || !r.ProtoAtLeast(1, 1) {
		delete(h, "Expect")
	}
	for _, line := range r.Header["Te"] {
		if strings.Contains(strings.ToLower(line), "trailers") { // RFC 9110 section 10.1.4
			h["Te"] = []string{"trailers"}
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keep net/http from naming itself
	}
	proto := "https"
	if r.TLS == nil {
		proto = "http"
	}
	host := p.host(r)
	chain := "unknown" // RFC 7239 section 6.2
	if from.IsValid() {
		chain = from.String()
	}
	before := h["X-Forwarded-For"]
	// Another PoP has said who asked it. It is no hop of its own, so that an application finds the client at one place, whether
	// or not the request came by a shield; Via tells that.
	told := pl.inner && len(before) > 0
	switch {
	case told:
		chain = strings.Join(before, ", ")
	case len(before) > 0:
		chain = strings.Join(before, ", ") + ", " + chain
	}
	h["X-Forwarded-For"] = []string{chain}
	if _, ok := h["X-Forwarded-Proto"]; !ok {
		h["X-Forwarded-Proto"] = []string{proto}
	}
	if _, ok := h["X-Forwarded-Host"]; !ok {
		h["X-Forwarded-Host"] = []string{host}
	}
	if !told || len(h["Forwarded"]) == 0 {
		appendField(h, "Forwarded", "for="+forwardedNode(from)+`;host="`+host+`";proto=`+proto+";by=_"+p.cfg.Node)
	}
	appendField(h, "Via", p.via(r.ProtoMajor, r.ProtoMinor))
	p.appendCDN(h)
	if pl.rule != nil && pl.rule.Choose.device {
		h[DeviceField] = []string{deviceOf(r.Header)}
	}
	if pl.early {
		h["Early-Data"] = []string{"1"} // RFC 8470 section 5.1
	}
	return h
}

// believable are the fields that a trusted proxy in front may set.
var believable = map[string]bool{"Forwarded": true, "X-Forwarded-For": true, "X-Forwarded-Host": true, "X-Forwarded-Proto": true}

// passes is how often a request may carry this node's name in its Via before it is taken
// for one that goes in a circle. Not once: another network may have a node of that name.
const passes = 3

// loops reports whether a request has come by this node too often (RFC 9110 section 7.6.3), or by this network more than the
// few times that are right (RFC 8586).
func (p *Proxy) loops(r *http.Request, few int) bool {
	if circles(r.Header[cdnLoop], p.cfg.CDN, few) {
		return true
	}
	seen := 0
	for _, line := range r.Header["Via"] {
		for member := range strings.SplitSeq(line, ",") {
			if words := strings.Fields(member); len(words) > 1 && words[1] == p.cfg.Node {
				seen++
			}
		}
	}
	return seen > passes
}

// via is this node's member of Via for a message it received (RFC 9110 section 7.6.3).
func (p *Proxy) via(major, minor int) string {
	version := strconv.Itoa(major)
	if major == 1 {
		version += "." + strconv.Itoa(minor)
	}
	return version + " " + p.cfg.Node
}

// forwardedNode is an address as RFC 7239 section 6 writes it.
func forwardedNode(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "unknown"
	case a.Is6():
		return `"[` + a.String() + `]"`
	}
	return a.String()
}

// host is the authority the origin is told: the client's name with our own port. Neither
// case nor port are part of the cache key, so no answer may depend on what a client made
// of them.
func (p *Proxy) host(r *http.Request) string {
	host, _ := splitPort(strings.ToLower(r.Host))
	return strings.TrimSuffix(host, ".") + p.port
}

// responseFields makes the end-to-end field section of a response from the origin: what
// is passed on and stored alike.
func (p *Proxy) responseFields(resp *http.Response) http.Header {
	out := endToEnd(resp.Header)
	delete(out, "Hither-Journal") // between PoPs alone
	delete(out, "Alt-Svc")        // it speaks of the origin's own connections (RFC 7838 section 2.1)
	if _, ok := out["Date"]; !ok {
		out["Date"] = []string{p.now().UTC().Format(http.TimeFormat)} // RFC 9110 section 6.6.1
	}
	appendField(out, "Via", p.via(resp.ProtoMajor, resp.ProtoMinor))
	return out
}
