package gateway

import (
	"fmt"
	"net/url"

	"hither/deploy"
	"hither/origin/discover"
	"hither/origin/upstream"
)

// listed are the instances that the network file lists.
func listed(list []deploy.Instance, t trust) ([]upstream.Instance, error) {
	var out []upstream.Instance
	for _, i := range list {
		u, err := url.Parse(i.URL)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		in := upstream.Instance{ID: deploy.AppAddress(u), URL: u, Protocol: i.Protocol, Weight: i.Weight, Group: i.Group}
		if u.Scheme == "https" {
			if in.TLS, err = t.config(i.CA, u.Hostname()); err != nil {
				return nil, err
			}
		}
		out = append(out, in)
	}
	return out, nil
}

// mostWeight is the largest weight that an instance has. Those of SRV records go to 65,535 (RFC 2782), where the network
// file goes to 1,000.
const mostWeight = 1000

// located are the instances that a look-up found. Priorities are groups as they are: who is asked first is the same, and
// one that goes away changes no other's.
func located(d *deploy.Discover, found []discover.Found, t trust) ([]upstream.Instance, error) {
	heaviest := mostWeight
	for _, f := range found {
		heaviest = max(heaviest, f.Weight)
	}
	var out []upstream.Instance
	for _, f := range found {
		in := upstream.Instance{
			ID: f.Addr.String(), URL: &url.URL{Scheme: d.Scheme, Host: f.Addr.String()}, Protocol: d.Protocol,
			Weight: max(1, f.Weight*mostWeight/heaviest), Group: f.Priority,
		}
		if d.Scheme == "https" {
			var err error
			if in.TLS, err = t.config(d.CA, trimDot(f.Target)); err != nil {
				return nil, err
			}
		}
		out = append(out, in)
	}
	return out, nil
}

// trimDot is a name of DNS as certificates have it.
func trimDot(name string) string {
	if n := len(name); n > 0 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}
