package proxy

import (
	"net/http"

	"hither/cache"
)

// Redirect is the handler of the port without TLS: it sends every request for a site of
// ours on to https, and answers 421 for other names, so that nobody is sent elsewhere.
func (p *Proxy) Redirect(w http.ResponseWriter, r *http.Request) {
	x := p.begin(w, r, false)
	defer p.end(x)
	to, err := p.redirection(view{r})
	if err != nil {
		p.refuse(x, err)
		return
	}
	x.Site, x.Reason = to.site.Name, reasonHTTPS
	status := to.status
	h := w.Header()
	h["Location"] = []string{to.location}
	h["Content-Length"] = []string{"0"}
	h["Cache-Control"] = []string{"max-age=3600"}
	p.sign(x, h)
	x.begin(status)
}

// reasonHTTPS is the reason of what is sent on to https.
const reasonHTTPS cache.Reason = "https"

// A redirection is where a request without TLS is sent.
type redirection struct {
	site     *Site
	status   int
	location string
}

// redirection decides from the request alone. The error is a *refusal.
func (p *Proxy) redirection(v RequestView) (redirection, error) {
	site := p.sites.Load().Of(v.Authority())
	if site == nil {
		return redirection{}, errUnknownHost
	}
	target, err := cache.NormalizeTarget(v.Target())
	if err != nil {
		return redirection{}, errTarget
	}
	if !served(v.Method()) {
		return redirection{}, errMethod
	}
	host, _ := splitPort(v.Authority())
	to := redirection{site, http.StatusMovedPermanently, "https://" + host + p.port + target}
	if !safe(v.Method()) {
		to.status = http.StatusPermanentRedirect // the method and content go along
	}
	return to, nil
}
