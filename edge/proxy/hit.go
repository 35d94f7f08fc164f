package proxy

import (
	"time"

	"hither/cache"
)

// Served is an answer out of the cache, ready to be written.
type Served struct {
	Object *cache.Object
	cache.Selection
	Age, TTL time.Duration
	site     *Site
}

// Hit answers a request from what is stored and fresh, or as fresh as the request wants it. It returns nil where anything
// else is to be done: ask the origin, refuse, explain, or walk through slices. It never waits and may be
// called concurrently.
func (p *Proxy) Hit(v RequestView, now time.Time) (*Served, cache.Reason) {
	pl, err := p.planFor(v)
	if err != nil || pl.bypass != "" {
		return nil, ""
	}
	look := p.cache.Look(pl.key, pl.fields(v), now)
	if !look.Suits(pl.demand) || look.Object.Kind == cache.Manifest {
		return nil, ""
	}
	return pl.served(v, look), suited(look)
}

// served selects what of the stored object answers the request.
func (pl plan) served(v RequestView, look cache.Look) *Served {
	return &Served{
		Object: look.Object, Selection: look.Object.Select(v.Method(), v, look.Object.Length()),
		Age: look.Age, TTL: look.TTL, site: pl.site,
	}
}
