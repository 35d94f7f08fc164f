package edge_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// defaultHost is asked where a script gives a path alone. Its site is called www.
const defaultHost = "www.hither.test"

// A setup is what a script says of its edge. Values are as the network file has them.
type setup struct {
	addr    netip.Addr
	clock   *clock
	sites   map[string]*siteSetup
	limits  map[string]any // edge.limits
	far     map[string]any // limits of the origin
	trusted []string
	origin  string  // the origin's address
	disk    string  // edge.cache.disk; "" = none
	shield  *shield // nil = the edge asks the origin by itself
	middle  *middle // nil = the origin stands where the gateway stands
}

// A siteSetup is a site as a script describes it.
type siteSetup struct {
	hosts    []string
	top      map[string]any // keys of the site
	cache    map[string]any // keys of its cache
	compress map[string]any // keys of what it encodes
	rules    []map[string]any
}

func newSite(hosts ...string) *siteSetup {
	// Scripts say themselves where something stale may be used.
	return &siteSetup{hosts: hosts, top: map[string]any{}, cache: map[string]any{"stale_if_error": "0s"}, compress: map[string]any{}}
}

// yaml is the site as the network file has it.
func (s *siteSetup) yaml(name string) map[string]any {
	site := map[string]any{"name": name, "hosts": s.hosts, "origin": "us", "rules": append([]map[string]any{}, s.rules...), "compress": s.compress}
	for key, value := range s.top {
		site[key] = value
	}
	if s.cache != nil {
		site["cache"] = s.cache
	}
	return site
}

// setup reads the lines that describe the edge.
func (sc *script) setup(addr netip.Addr) (*setup, error) {
	st := &setup{
		addr: addr, clock: newClock(), limits: map[string]any{}, far: map[string]any{}, trusted: []string{},
		sites: map[string]*siteSetup{"www": newSite(defaultHost, "alias.hither.test")},
	}
	for _, s := range sc.steps {
		var err error
		switch s.verb() {
		case "site":
			err = st.site(s)
		case "rule":
			err = st.rule(s)
		case "limit":
			err = st.limit(s)
		case "disk":
			st.disk = s.arg(1)
		case "shield":
			if s.arg(1) == "" {
				st.shield = new(shield)
			}
		case "gateway":
			by, _ := option(s.words, "by")
			if st.middle = (&middle{protocol: s.arg(1), by: by}); st.middle.protocol == "" {
				err = errors.New("gateway: which protocol does the origin speak?")
			}
		case "trust":
			_, err = netip.ParsePrefix(s.arg(1))
			st.trusted = append(st.trusted, s.arg(1))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.at, err)
		}
	}
	return st, nil
}

// hosts are the names of all sites of scripts.
func hostsOf(scripts ...*script) ([]string, error) {
	seen := make(map[string]bool)
	var hosts []string
	for _, sc := range scripts {
		st, err := sc.setup(netip.Addr{})
		if err != nil {
			return nil, err
		}
		for _, site := range st.sites {
			for _, h := range site.hosts {
				if !seen[h] {
					seen[h], hosts = true, append(hosts, h)
				}
			}
		}
	}
	return hosts, nil
}

// site reads "site NAME [host,host] key=value ...".
func (st *setup) site(s *step) error {
	site := st.sites[s.arg(1)]
	if site == nil {
		site = newSite()
		st.sites[s.arg(1)] = site
	}
	if hosts := s.arg(2); hosts != "" {
		site.hosts = strings.Split(hosts, ",")
	}
	for _, w := range s.words[2:] {
		key, value, ok := strings.Cut(w.text, "=")
		if !ok {
			continue
		}
		switch key {
		case "tls":
			site.top["tls"] = map[string]any{"min": value}
		case "early_data":
			site.top["early_data"] = value
		case "set_cookie", "stale_while_revalidate", "stale_if_error", "negative", "request_control":
			site.cache[key] = value
		case "merge_schemes":
			site.cache[key] = value == "true"
		case "max_object", "slice":
			site.cache[key] = value + "B"
		case "compress":
			site.compress["codings"] = strings.FieldsFunc(value, func(c rune) bool { return c == ',' })
		case "compress_types":
			site.compress["types"] = strings.Split(value, ",")
		case "compress_min", "compress_max":
			site.compress[strings.TrimPrefix(key, "compress_")] = value + "B"
		default:
			return fmt.Errorf("site: no such key: %s", key)
		}
	}
	return nil
}

// rule reads "rule SITE PATTERN ttl=1m bypass drop=a,b keep=c sort" and the keys that replace the site's.
func (st *setup) rule(s *step) error {
	site := st.sites[s.arg(1)]
	if site == nil {
		return fmt.Errorf("rule: no site %q before it", s.arg(1))
	}
	rule := map[string]any{"path": s.arg(2)}
	if has(s.words, "bypass") {
		rule["bypass"] = true
	}
	for _, key := range []string{"ttl", "negative", "set_cookie", "stale_while_revalidate", "stale_if_error"} {
		if v, ok := option(s.words, key); ok {
			rule[key] = v
		}
	}
	for _, key := range []string{"max_object", "slice"} {
		if v, ok := option(s.words, key); ok {
			rule[key] = v + "B"
		}
	}
	query := map[string]any{}
	for _, key := range []string{"drop", "keep"} {
		if v, ok := option(s.words, key); ok {
			query[key] = strings.Split(v, ",")
		}
	}
	if has(s.words, "sort") {
		query["sort"] = true
	}
	key := map[string]any{"query": query}
	for _, list := range []string{"headers", "cookies"} {
		if v, ok := option(s.words, list); ok {
			key[list] = strings.Split(v, ",")
		}
	}
	if has(s.words, "device") {
		key["device"] = true
	}
	rule["key"] = key
	site.rules = append(site.rules, rule)
	return nil
}

// limit reads "limit key=value ...": times are the machine's, so a script sets the few it
// wants to see expire to a fraction of a second.
func (st *setup) limit(s *step) error {
	for _, w := range s.words[1:] {
		key, value, _ := strings.Cut(w.text, "=")
		switch key {
		case "first_byte", "connect", "wait":
			st.far[key] = value
		case "origin_idle":
			st.far["idle"] = value
		case "concurrent", "waiting":
			n, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			st.far[key] = n
		case "header_time", "idle", "body_time":
			st.limits[key] = value
		case "header_bytes", "url_bytes":
			st.limits[key] = value + "B"
		case "header_fields", "connections_per_address", "handshakes_per_address", "quic_retry_above":
			n, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			st.limits[key] = n
		default:
			return fmt.Errorf("limit: no such key: %s", key)
		}
	}
	return nil
}
