package deploy

import (
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

func (l *loader) checkOrigin(path string, o *Origin) {
	l.checkApp(path+".app", &o.App)
	l.checkBalance(path+".balance", &o.Balance)
	if o.Shield != "" && l.given(path+".shield") {
		l.refers(path+".shield", o.Shield, "pops", "PoP")
	}
	for i, b := range o.Gateway.Bind {
		if here := fmt.Sprintf("%s.gateway.bind[%d]", path, i); b.Port() == 0 && l.given(here) {
			l.wrong(here, "%v", errPort)
		}
	}
	for i, a := range o.Gateway.Addresses {
		here := fmt.Sprintf("%s.gateway.addresses[%d]", path, i)
		if addr, ok := a.Addr(); ok && l.given(here) && addr.IsUnspecified() {
			l.wrong(here, "%v stands for every address of a machine and cannot be dialled; it belongs in `bind`", addr)
		}
	}
}

// checkApp holds an application to exactly one of its three.
func (l *loader) checkApp(path string, a *App) {
	if !l.given(path) {
		return
	}
	var has []string
	for _, key := range []string{"static", "instances", "discover"} {
		if _, ok := l.where[path+"."+key]; ok {
			has = append(has, "`"+key+"`")
		}
	}
	switch {
	case len(has) == 0:
		l.wrong(path, "names nothing that answers; write one of static, instances and discover")
	case len(has) > 1:
		l.wrong(path, "has %s; write exactly one of static, instances and discover", strings.Join(has, " and "))
	}
	if a.Instances != nil && len(a.Instances) == 0 {
		l.wrong(path+".instances", "is empty; it needs at least one")
	}
	for i := range a.Instances {
		here := fmt.Sprintf("%s.instances[%d].url", path, i)
		if !l.given(here) {
			continue
		}
		if err := checkAppURL(a.Instances[i].URL); err != nil {
			l.wrong(here, "%v", err)
		}
	}
	if s := a.Static; s != nil && l.given(path+".static.cache_control") && !httpguts.ValidHeaderFieldValue(s.CacheControl) {
		l.wrong(path+".static.cache_control", "%s cannot be the value of a field", quote(s.CacheControl))
	}
	if a.Discover != nil {
		l.checkDiscover(path+".discover", a.Discover)
	}
}

func (l *loader) checkDiscover(path string, d *Discover) {
	switch {
	case (d.DNS == "") == (d.Fleet == ""):
		if !l.bad[path+".fleet"] && !l.bad[path+".dns"] {
			l.wrong(path, "wants one of dns and fleet")
		}
	case d.DNS != "" && d.Type != "SRV" && d.Port == 0 && !l.bad[path+".port"] && !l.bad[path+".type"]:
		l.wrong(path, "a look-up of type %s brings no port; add `port`", d.Type)
	}
	if d.DNS != "" && l.given(path+".dns") {
		// Labels of a service begin with an underscore (RFC 2782).
		if err := checkDomain(strings.TrimSuffix(strings.ReplaceAll("."+d.DNS, "._", ".")[1:], ".")); err != nil {
			l.wrong(path+".dns", "%s is not a name that can be looked up, such as _http._tcp.app.internal", quote(d.DNS))
		}
	}
}

// checkAppURL checks the URL of an application's HTTP server.
func checkAppURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s is not the address of an HTTP server; write http://HOST:PORT or https://HOST:PORT", quote(s))
	case u.User != nil:
		return fmt.Errorf("a network file holds no secrets; leave user and password out of the URL")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("%s has more than a host and a port; requests bring a path of their own, so the URL ends there", quote(s))
	}
	host := u.Host
	if u.Port() == "" {
		host += ":80" // any: only the form is checked
	}
	return new(HostPort).UnmarshalText([]byte(strings.ToLower(host)))
}

func (l *loader) checkBalance(path string, b *Balance) {
	if a := b.Affinity; a != nil && l.given(path+".affinity") {
		switch {
		case (a.Cookie == "") == (a.Header == ""):
			l.wrong(path+".affinity", "wants one of cookie and header")
		case !httpguts.ValidHeaderFieldName(a.Cookie + a.Header):
			l.wrong(path+".affinity", "%s cannot be the name of a cookie or a field", quote(a.Cookie+a.Header))
		}
	}
	if h := b.Health; h != nil {
		if h.Timeout > h.Interval {
			l.wrong(path+".health.timeout", "%v is longer than the interval of %v; probes would pile up", h.Timeout, h.Interval)
		}
		if l.given(path+".health.path") && !strings.HasPrefix(h.Path, "/") {
			l.wrong(path+".health.path", "%s does not begin with /", quote(h.Path))
		}
		if h.Status != 0 && h.Status < 100 && l.given(path+".health.status") {
			l.wrong(path+".health.status", "%d is not a status; they go from 100 to 599", h.Status)
		}
	}
	if e := &b.Eject; e.Time > e.MaxTime {
		at := path + ".eject.time"
		if !l.given(at) {
			at = path + ".eject.max_time"
		}
		l.wrong(at, "the first ejection of %v lasts longer than max_time, %v", e.Time, e.MaxTime)
	}
}
