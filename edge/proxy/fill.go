package proxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"time"

	"hither/cache"
)

// looks bounds how often a request looks again because what it waited for turned out
// to be another variant than its own; after that it asks for itself.
const looks = 3

// fill answers a cacheable request that is not a hit: from a fill it joins or begins,
// from something stale, or past the cache where the last answers could not be shared.
func (p *Proxy) fill(x *Exchange, pl plan) {
	v := x.view()
	alone := false
	for range looks {
		look := p.cache.Look(pl.key, pl.fields(v), p.now())
		x.found(look, pl.demand)
		next := p.course(pl, v, look)
		switch next.do {
		case serveFresh: // stored since Hit looked, or in slices
			if p.answer(x, pl, look, cache.Hit, next.why) == answered {
				return
			}
			continue
		case refuseUncached:
			p.refuse(x, errOnlyIfCached)
			return
		case goPast:
			p.forward(x, pl, next.verdict, next.why)
			return
		}
		r := p.cache.Join(x.r.Context(), cache.Want{
			Look: look, Request: pl.fields(x.r.Header), Policy: pl.policy, Fetch: p.fetch(x, pl, next.do == serveUpdating || look.IfError()),
			Solo:   next.solo || alone && next.do != serveUpdating,
			Ranged: next.ranged, From: next.from,
		})
		if r == nil {
			continue
		}
		if next.do == serveUpdating {
			r.Close() // the fill goes on by itself
			if p.answer(x, pl, look, cache.Updating, "") == answered {
				return
			}
			continue
		}
		switch p.follow(x, pl, look, r) {
		case answered:
			return
		case askAlone:
			if !x.stale { // look itself must not stay in use: it may hold what is no longer stored
				p.forward(x, pl, cache.Miss, cache.ReasonHitForMiss)
				return
			}
			alone = true
		}
	}
	p.forward(x, pl, cache.Miss, x.slicesFailed())
}

// What became of following a fill.
type followed uint8

const (
	answered  followed = iota
	lookAgain          // the response is another variant
	askAlone           // the response was for the leader alone
)

// follow waits for the fill's field section and answers from it.
func (p *Proxy) follow(x *Exchange, pl plan, look cache.Look, r *cache.Reader) followed {
	defer r.Close()
	x.Verdict = cache.Miss
	if look.Object != nil {
		x.Verdict = cache.Expired
	}
	head, err := r.Head(x.r.Context(), x.interim)
	if err != nil {
		x.breakOff(err)
	}
	x.Wait = head.Wait
	if head.Leader {
		x.Origin = pl.site.Origin
	}
	x.Reason = head.Reason
	if !head.Leader {
		x.Reason = cache.ReasonCollapsed
	}
	switch head.State {
	case cache.Elsewhere:
		return lookAgain
	case cache.Alone:
		if head.Response == nil {
			return askAlone
		}
		p.relay(x, head.Response)
	case cache.Erred:
		switch look = p.cache.Still(look, p.now()); {
		case look.IfError():
			p.standIn(x, pl, look, head.Err)
		case !head.Leader && hurried(head.Err):
			return lookAgain
		default:
			p.refuse(x, head.Err)
		}
	case cache.Refreshed:
		x.upstream = http.StatusNotModified
		fresh := cache.Look{Object: head.Object, Age: head.Age, TTL: head.Object.Lifetime - head.Age}
		return p.answer(x, pl, fresh, cache.Revalidated, x.Reason)
	case cache.Streaming:
		x.encoding = pl.negotiate(view{x.r}, head.Object, head.Length)
		s := head.Object.Select(x.Method, x.encoding.fields(view{x.r}), head.Length)
		if s.Multi != nil { // which may want what comes last first
			s = cache.Selection{Status: head.Object.Status, Length: head.Length}
		}
		if s.Offset > near && !head.Leader && look.Object == nil {
			r.Close()
			p.forward(x, pl, cache.Bypass, cache.ReasonRange)
			break
		}
		p.stream(x, r, head, s)
	case cache.Sliced:
		x.upstream = head.Upstream
		came := cache.Look{Object: head.Object, Age: head.Age, TTL: head.Object.Lifetime - head.Age}
		return p.walk(x, pl, p.served(pl, view{x.r}, came), r, head)
	case cache.Unsliced:
		if _, ok := cache.RangeFrom(x.r.Header["Range"]); !ok || x.Method != http.MethodGet {
			return lookAgain // another request's part was none that could be stored
		}
		if head.Response != nil && cache.Within(head.Response, x.r.Header) && !pl.mixes(x.r, head.Response) {
			x.Verdict, x.Reason = cache.Bypass, cache.ReasonRange
			p.relay(x, head.Response)
			break
		}
		r.Close()
		p.forward(x, pl, cache.Bypass, cache.ReasonRange)
	}
	return answered
}

// standIn answers with the stored response in the place of a failing origin (RFC 5861
// section 4).
func (p *Proxy) standIn(x *Exchange, pl plan, look cache.Look, fault error) {
	x.Fault = fault
	_, said := x.blame(fault)
	x.w.Header()["Proxy-Status"] = []string{p.cfg.Node + said}
	if p.answer(x, pl, look, cache.Stale, x.Reason) == lookAgain {
		p.refuse(x, fault)
	}
}

// stream answers with a part of a response that is still arriving, in the coding in which it comes: nobody waits for an
// encoder, and nothing is encoded before it is asked for again.
func (p *Proxy) stream(x *Exchange, r *cache.Reader, head cache.Head, s cache.Selection) {
	o := head.Object
	x.upstream, x.key = o.Status, o.Key
	x.Status = s.Status
	h := x.w.Header()
	o.Fields.CopyTo(h)
	x.selected(h, s, head.Length)
	x.encoding.mark(h, s.Status)
	if age := head.Age / time.Second; age > 0 || !head.Leader {
		h["Age"] = []string{strconv.FormatInt(int64(age), 10)}
	}
	appendField(h, "Cache-Status", p.cacheStatus(x, 0, head.Stored))
	p.sign(x, h)
	x.begin(s.Status)
	if x.Method == http.MethodHead || s.Length == 0 && s.Status != o.Status {
		return
	}
	p.copyStream(x, r, s)
}

// interim passes an interim response on (RFC 9110 section 15.2).
func (x *Exchange) interim(status int, fields http.Header) {
	if !x.r.ProtoAtLeast(1, 1) {
		return
	}
	// The map may hold fields for the final response already, as a Connection: close.
	h := x.w.Header()
	final := maps.Clone(h)
	clear(h)
	maps.Copy(h, endToEnd(fields))
	x.w.WriteHeader(status)
	clear(h)
	maps.Copy(h, final)
}

// fetch is how a fill that this request leads asks the origin: for the whole, whatever
// part or condition the client named. The fill may outlive the exchange and keeps none
// of it but the request's field section. spared tells that the client is answered in any case, with something stale.
func (p *Proxy) fetch(x *Exchange, pl plan, spared bool) cache.Fetch {
	led := x.r
	return func(ctx context.Context, validators http.Header, early func(int, http.Header)) (*http.Response, error) {
		h := p.requestFields(led, pl)
		for _, name := range [...]string{"If-None-Match", "If-Modified-Since", "If-Range", "Range", "Expect"} {
			delete(h, name)
		}
		maps.Copy(h, validators)
		if spared {
			ctx = p.background(ctx)
		}
		passed := 0
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			Got1xxResponse: func(status int, fields textproto.MIMEHeader) error {
				if status > http.StatusSwitchingProtocols && passed < mostInterim {
					passed++
					early(status, http.Header(fields).Clone())
				}
				return nil
			},
		})
		r, err := request(ctx, http.MethodGet, pl.target, p.host(led), h)
		if err != nil {
			return nil, err
		}
		resp, err := pl.roundTrip(r)
		if no := turnedAway(nil); spared && errors.As(err, &no) {
			return nil, unhurried{no}
		}
		if err != nil {
			return nil, err
		}
		resp.Header = p.responseFields(resp)
		return resp, nil
	}
}

// roundTrip asks the origin. A final status outside 200 to 599 is none that could be passed
// on (RFC 9110 section 15; HTTP/2 has no 101, RFC 9113 section 8.6).
func (pl plan) roundTrip(r *http.Request) (*http.Response, error) {
	transport := pl.site.Transport
	if pl.inner && pl.site.Direct != nil {
		transport = pl.site.Direct
	}
	resp, err := transport.RoundTrip(r)
	if err == nil && (resp.StatusCode < 200 || resp.StatusCode > 599) {
		resp.Body.Close()
		return nil, badStatus(resp.StatusCode)
	}
	return resp, err
}

// request makes a request to the origin. Its target reaches the wire byte for byte as
// it was normalised.
func request(ctx context.Context, method, target, host string, h http.Header) (*http.Request, error) {
	u := &url.URL{Path: "*"}
	if target != "*" {
		var err error
		if u, err = url.ParseRequestURI(target); err != nil {
			return nil, errTarget
		}
	}
	u.Scheme, u.Host = "https", host
	r := &http.Request{
		Method: method, URL: u, Host: host, Header: h,
		Proto: "HTTP/2.0", ProtoMajor: 2,
	}
	return r.WithContext(ctx), nil
}
