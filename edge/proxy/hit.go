package proxy

import (
	"net/http"
	"time"

	"hither/cache"
	"hither/edge/compress"
)

// Served is an answer out of the cache, ready to be written.
type Served struct {
	Object *cache.Object
	pick
	Age, TTL time.Duration
	site     *Site
}

// Hit answers a request from what is stored and fresh, or as fresh as the request wants it. It returns nil where anything
// else is to be done: ask the origin, refuse, explain, or walk through slices. It waits for nothing, but for the
// store where that has to read from a disk, and may be called concurrently.
func (p *Proxy) Hit(v RequestView, now time.Time) (*Served, cache.Reason) {
	pl, err := p.planFor(v)
	if err != nil || pl.bypass != "" {
		return nil, ""
	}
	look := p.cache.Look(pl.key, pl.fields(v), now)
	if !look.Suits(pl.demand) || look.Object.Kind == cache.Manifest {
		return nil, ""
	}
	return p.served(pl, v, look), suited(look)
}

// served selects what of the stored object answers the request. What it would have in a coding is made behind the answer.
func (p *Proxy) served(pl plan, v RequestView, look cache.Look) *Served {
	s := &Served{Object: look.Object, pick: pl.pick(v, look.Object, p.cache.Encoded), Age: look.Age, TTL: look.TTL, site: pl.site}
	if s.encoding.why == compress.NotYet && v.Method() == http.MethodGet {
		p.encoder.Make(look.Object, s.encoding.want)
	}
	return s
}
