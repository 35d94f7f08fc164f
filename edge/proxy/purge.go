package proxy

import (
	"fmt"
	"strings"

	"hither/cache"
)

// An UnknownHostError is a purge that names a host of no site.
type UnknownHostError string

func (e UnknownHostError) Error() string {
	return fmt.Sprintf("proxy: no site has the host %.200q", string(e))
}

// PurgeOf makes what an operator names into what a cache forgets: by the hosts, the normal form and the rules by which
// requests find their key. value is for url and prefix a URL with or without its scheme, which does not count; for host a
// host, which stands for its site; for tag the tag; for all it is empty. The error is about the call, or an UnknownHostError.
func (p *Proxy) PurgeOf(kind, value string, soft bool) (cache.Purge, error) {
	k, err := cache.ParsePurgeKind(kind)
	if err != nil {
		return cache.Purge{}, err
	}
	purge := cache.Purge{Kind: k, Value: value, Soft: soft}
	switch k {
	case cache.PurgeAll:
		if value != "" {
			return purge, fmt.Errorf("proxy: a purge of all has no value, not %.40q", value)
		}
		return purge, nil
	case cache.PurgeTag:
		return purge, checkTag(value)
	}
	if scheme, rest, ok := strings.Cut(value, "://"); ok {
		if scheme = strings.ToLower(scheme); scheme != "https" && scheme != "http" {
			return purge, fmt.Errorf("proxy: purge %.200q: its scheme is neither https nor http", value)
		}
		value = rest
	}
	host, target := value, "/"
	if i := strings.IndexAny(value, "/?#"); i >= 0 {
		host, target = value[:i], strings.TrimPrefix(value[i:], "/")
		target = "/" + target
	}
	if k == cache.PurgeHost && host != value {
		return purge, fmt.Errorf("proxy: purge host %.200q: write the host alone; a prefix has a path", value)
	}
	site := p.sites.Load().Of(host)
	if site == nil {
		return purge, UnknownHostError(host)
	}
	purge.Site, purge.Value = site.Name, ""
	if k == cache.PurgeHost {
		return purge, nil
	}
	target, _, _ = strings.Cut(target, "#") // which no client sends
	if target, err = cache.NormalizeTarget(target); err != nil {
		return purge, fmt.Errorf("proxy: purge %.200q: %w", value, err)
	}
	if rule := site.rule(target); rule != nil && k == cache.PurgeURL {
		target = rule.Query.apply(target)
	}
	purge.Value = target
	return purge, nil
}

// checkTag tells what keeps a text from being a tag that any response can have.
func checkTag(tag string) error {
	switch {
	case tag == "":
		return fmt.Errorf("proxy: a purge by tag names one")
	case len(tag) > cache.MostTag:
		return fmt.Errorf("proxy: the tag has %d bytes; responses with tags above %d are not stored", len(tag), cache.MostTag)
	case strings.Trim(tag, " \t") != tag || strings.ContainsFunc(tag, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
		return fmt.Errorf("proxy: %.40q is no tag: it begins or ends with a blank, or has a control character", tag)
	}
	return nil
}
