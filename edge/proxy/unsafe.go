package proxy

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"hither/cache"
)

// invalidate removes what a successful answer to an unsafe method has made doubtful: what is stored for its target, and
// for the targets that its Location and Content-Location name on the same site (RFC 9111 section 4.4). Other sites'
// responses are not its to remove.
func (p *Proxy) invalidate(x *Exchange, pl plan, h http.Header) {
	p.cache.Invalidate(pl.key)
	for _, name := range [...]string{"Location", "Content-Location"} {
		target, ok := p.sameSite(x, pl, h[name])
		if !ok {
			continue
		}
		rule := pl.site.rule(target)
		if rule != nil {
			target = rule.Query.apply(target)
		}
		if k := pl.site.key(target, rule, x.r.TLS != nil); k != pl.key {
			p.cache.Invalidate(k)
		}
	}
}

// sameSite returns the normalised target that a field's reference names, where it is one of this site and scheme.
func (p *Proxy) sameSite(x *Exchange, pl plan, lines []string) (target string, ok bool) {
	if len(lines) != 1 || lines[0] == "" {
		return "", false
	}
	base := &url.URL{Scheme: "http", Host: x.r.Host}
	if x.r.TLS != nil {
		base.Scheme = "https"
	}
	asked, err := url.ParseRequestURI(pl.target)
	if err != nil {
		return "", false
	}
	ref, err := base.ResolveReference(asked).Parse(lines[0])
	if err != nil || ref.Scheme != base.Scheme || p.sites.Load().Of(ref.Host) != pl.site {
		return "", false
	}
	target, err = cache.NormalizeTarget(ref.RequestURI())
	return target, err == nil
}

// forGet reports whether the answer to a POST may answer later GETs of the same target: it names its lifetime, and says by
// Content-Location that it is what is there (RFC 9110 section 9.3.3).
func (p *Proxy) forGet(x *Exchange, pl plan, resp *http.Response) bool {
	if x.Method != http.MethodPost || pl.unkeyed || pl.bypass != cache.ReasonMethod || resp.StatusCode != http.StatusOK || !cache.NamesLifetime(resp.Header) {
		return false
	}
	target, ok := p.sameSite(x, pl, resp.Header["Content-Location"])
	return ok && target == pl.target
}

// keep answers with a response that is stored on the way, as if a GET had asked for it. before is a look that found nothing,
// from before the request was sent.
func (p *Proxy) keep(x *Exchange, pl plan, resp *http.Response, before cache.Look, sent time.Time) {
	r := p.cache.Join(x.r.Context(), cache.Want{
		Look: before, Request: pl.fields(x.r.Header), Policy: pl.policy, Solo: true, Sent: sent,
		Fetch: func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) { return resp, nil },
	})
	defer r.Close()
	head, err := r.Head(x.r.Context(), nil)
	switch {
	case err != nil:
		x.breakOff(err)
	case head.State == cache.Streaming:
		// The conditions were the origin's to judge: a POST's are not about what is stored.
		p.stream(x, r, head, cache.Selection{Status: head.Object.Status, Length: head.Length})
	case head.State == cache.Alone && head.Response != nil:
		p.relay(x, head.Response)
	default:
		p.refuse(x, head.Err)
	}
}
