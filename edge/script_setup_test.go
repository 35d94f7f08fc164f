package edge_test

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"hither/edge/proxy"
)

// defaultHost is asked where a script gives a path alone. Its site is called www.
const defaultHost = "www.hither.test"

// setup reads the lines that describe the edge.
func (sc *script) setup(addr netip.Addr) (*setup, error) {
	st := &setup{addr: addr, clock: newClock(), sites: map[string]*siteSetup{
		"www": {hosts: []string{defaultHost, "alias.hither.test"}, minTLS: tls.VersionTLS13, earlyData: true},
	}}
	for _, s := range sc.steps {
		var err error
		switch s.verb() {
		case "site":
			err = st.site(s)
		case "rule":
			err = st.rule(s)
		case "limit":
			err = st.limit(s)
		case "trust":
			var prefix netip.Prefix
			prefix, err = netip.ParsePrefix(s.arg(1))
			st.trusted = append(st.trusted, prefix)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.at, err)
		}
	}
	return st, nil
}

// site reads "site NAME [host,host] key=value ...".
func (st *setup) site(s *step) error {
	site := st.sites[s.arg(1)]
	if site == nil {
		site = &siteSetup{minTLS: tls.VersionTLS13, earlyData: true}
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
		var err error
		switch key {
		case "tls":
			if value == "1.2" {
				site.minTLS = tls.VersionTLS12
			}
		case "early_data":
			site.earlyData = value == "safe"
		case "merge_schemes":
			site.mergeSchemes = value == "true"
		case "set_cookie":
			site.reuse.SetCookie = value == "store"
		case "max_object":
			site.reuse.MaxObject, err = strconv.ParseInt(value, 10, 64)
		case "stale_while_revalidate":
			site.reuse.WhileRevalidate, err = time.ParseDuration(value)
		case "stale_if_error":
			site.reuse.IfError, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("site: no such key: %s", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rule reads "rule SITE PATTERN ttl=1m bypass drop=a,b keep=c".
func (st *setup) rule(s *step) error {
	site := st.sites[s.arg(1)]
	if site == nil {
		return fmt.Errorf("rule: no site %q before it", s.arg(1))
	}
	rule := proxy.Rule{Path: s.arg(2), Bypass: has(s.words, "bypass")}
	if v, ok := option(s.words, "ttl"); ok {
		d, err := time.ParseDuration(v)
		if err != nil {
			return err
		}
		rule.TTL = &d
	}
	if v, ok := option(s.words, "drop"); ok {
		rule.Query.Drop = strings.Split(v, ",")
	}
	if v, ok := option(s.words, "keep"); ok {
		rule.Query.Keep = strings.Split(v, ",")
	}
	site.rules = append(site.rules, rule)
	return nil
}

// limit reads "limit key=value ...": times are the machine's, so a script sets the few it
// wants to see expire to a fraction of a second.
func (st *setup) limit(s *step) error {
	for _, w := range s.words[1:] {
		key, value, _ := strings.Cut(w.text, "=")
		times := map[string]*time.Duration{
			"first_byte": &st.pool.FirstByte, "connect": &st.pool.Connect, "body_idle": &st.pool.BodyIdle,
			"header_time": &st.limits.HeaderTime, "idle": &st.limits.Idle, "silence": &st.limits.Silence,
		}
		numbers := map[string]*int{
			"header_bytes": &st.limits.HeaderBytes, "header_fields": &st.limits.HeaderFields, "url_bytes": &st.limits.URLBytes,
			"connections_per_address": &st.limits.ConnectionsPerAddress, "retry_above": &st.limits.RetryAbove,
			"origin_header_bytes": &st.pool.HeaderBytes, "origin_informational": &st.pool.Informational,
		}
		var err error
		if t := times[key]; t != nil {
			*t, err = time.ParseDuration(value)
		} else if n := numbers[key]; n != nil {
			*n, err = strconv.Atoi(value)
		} else {
			err = fmt.Errorf("limit: no such key: %s", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
