package proxy

import (
	"net/http"

	"hither/cache"
)

// Redirect is the handler of the port without TLS: it sends every request for a site of
// ours on to https, and answers 421 for other names, so that nobody is sent elsewhere.
func (p *Proxy) Redirect(w http.ResponseWriter, r *http.Request) {
	x := p.begin(w, r)
	defer p.end(x)
	site := p.sites.Load().Of(r.Host)
	target, err := cache.NormalizeTarget(view{r}.Target())
	switch {
	case site == nil:
		p.refuse(x, errUnknownHost)
		return
	case err != nil:
		p.refuse(x, errTarget)
		return
	}
	x.Site, x.Reason = site.Name, "https"
	host, _ := splitPort(r.Host)
	host += p.port
	status := http.StatusMovedPermanently
	if !safe(r.Method) {
		status = http.StatusPermanentRedirect // the method and content go along
	}
	h := w.Header()
	h["Location"] = []string{"https://" + host + target}
	h["Content-Length"] = []string{"0"}
	h["Cache-Control"] = []string{"max-age=3600"}
	p.sign(x, h)
	x.begin(status)
}
