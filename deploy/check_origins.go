package deploy

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

func (l *loader) checkOrigin(path string, o *Origin) {
	l.checkApp(path+".app", &o.App)
	l.checkBalance(path+".balance", &o.Balance)
	if o.Retry.Hedge >= o.Limits.FirstByte && l.given(path+".retry.hedge") {
		l.wrong(path+".retry.hedge", "%v is not less than limits.first_byte, %v: it would never be used", o.Retry.Hedge, o.Limits.FirstByte)
	}
	l.checkShield(path+".shield", o)
	l.checkGateway(path+".gateway", &o.Gateway)
	for i := range o.Gateways {
		g, here := &o.Gateways[i], fmt.Sprintf("%s.gateways[%d]", path, i)
		l.checkGateway(here, &g.Gateway)
		if g.App != nil {
			l.checkApp(here+".app", g.App)
		}
	}
}

// checkShield checks that the PoP which is to be an origin's shield is there and can be one.
func (l *loader) checkShield(path string, o *Origin) {
	if o.Shield == "" || !l.given(path) {
		return
	}
	l.refers(path, o.Shield, "pops", "PoP")
	i := slices.IndexFunc(l.network.PoPs, func(p PoP) bool { return p.Name == o.Shield })
	if i < 0 || l.bad[path] {
		return
	}
	p, at := &l.network.PoPs[i], fmt.Sprintf("pops[%d].listen", i)
	if p.Listen.Inner == 0 && !l.bad["edge.listen.inner"] && !l.bad[at] && !l.bad[at+".inner"] {
		l.wrong(path, "PoP %s has no port for the others; give `listen` of `edge` or of that PoP an `inner`, such as 9444", quote(o.Shield))
		return
	}
	sites, served := 0, false
	for i := range l.network.Sites {
		if s := &l.network.Sites[i]; s.Origin == o.Name {
			sites++
			served = served || s.Trust == p.Trust
		}
	}
	if sites > 0 && !served {
		l.wrong(path, "PoP %s is of the trust domain %s, and no site of this origin is: nobody would fetch through it", quote(o.Shield), quote(p.Trust))
	}
}

// checkGateway checks where a gateway is dialled and listens.
func (l *loader) checkGateway(path string, g *Gateway) {
	l.checkPrefixes(path+".proxy_protocol", g.ProxyProtocol)
	for i, b := range g.Bind {
		if here := fmt.Sprintf("%s.bind[%d]", path, i); b.Port() == 0 && l.given(here) {
			l.wrong(here, "%v", errPort)
		}
	}
	for i, a := range g.Addresses {
		here := fmt.Sprintf("%s.addresses[%d]", path, i)
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
	l.checkInstances(path+".instances", a.Instances)
	if s := a.Static; s != nil && l.given(path+".static.cache_control") && !httpguts.ValidHeaderFieldValue(s.CacheControl) {
		l.wrong(path+".static.cache_control", "%s cannot be the value of a field", quote(s.CacheControl))
	}
	if a.Discover != nil {
		l.checkDiscover(path+".discover", a.Discover)
	}
	if at := path + ".proxy_protocol"; l.given(at) {
		l.checkAnnounced(at, a)
	}
}

func (l *loader) checkInstances(path string, list []Instance) {
	first := map[string]string{} // address -> path of its URL
	for i := range list {
		in, here := &list[i], fmt.Sprintf("%s[%d]", path, i)
		if !l.given(here + ".url") {
			continue
		}
		if err := checkAppURL(in.URL); err != nil {
			l.wrong(here+".url", "%v", err)
			continue
		}
		u, _ := url.Parse(in.URL) // checked
		at := AppAddress(u)
		if before, again := first[at]; again {
			l.wrong(here+".url", "%s is here twice; line %d has it already, and `weight` says how much it gets", at, l.find(before).line)
			continue
		}
		first[at] = here + ".url"
		l.checkProtocol(here, u.Scheme, in.Protocol, "url")
	}
}

// checkProtocol holds protocol and ca below path to the scheme that key gives.
func (l *loader) checkProtocol(path, scheme, protocol, key string) {
	switch {
	case !l.given(path + ".protocol"):
	case scheme == "http" && (protocol == "h2" || protocol == "h3"):
		l.wrong(path+".protocol", "%s needs TLS; write https in `%s`, or h2c for HTTP/2 without it", protocol, key)
	case scheme == "https" && protocol == "h2c":
		l.wrong(path+".protocol", "h2c is HTTP/2 without TLS; write http in `%s`, or h2", key)
	}
	if scheme == "http" && l.given(path+".ca") {
		l.wrong(path+".ca", "a server without TLS shows no certificate; write https in `%s`", key)
	}
}

// checkAnnounced holds the PROXY protocol to servers whose connections can be one client's.
func (l *loader) checkAnnounced(path string, a *App) {
	const why = "whose connections carry requests of many clients; give it `protocol: h1`, or leave this out"
	if a.Static != nil {
		l.wrong(path, "a folder is told nothing; this is for instances and discover")
	}
	if a.Discover != nil && a.Discover.Protocol != "h1" {
		l.wrong(path, "the servers of discover speak %s, %s", a.Discover.Protocol, why)
	}
	for i := range a.Instances {
		if in := &a.Instances[i]; in.Protocol != "h1" {
			l.wrong(path, "instance %s speaks %s, %s", quote(in.URL), in.Protocol, why)
		}
	}
}

// AppAddress is where an instance of a checked file is dialled, host:port in lower case: its name in metrics, explanations
// and logs.
func AppAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
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
	l.checkProtocol(path, d.Scheme, d.Protocol, "scheme")
	for i, s := range d.Servers {
		if here := fmt.Sprintf("%s.servers[%d]", path, i); s.Port() == 0 && l.given(here) {
			l.wrong(here, "%v", errPort)
		}
	}
	if at := path + ".networks"; d.Networks != nil && len(d.Networks) == 0 && l.given(at) {
		l.wrong(at, "is empty, so no address could be used; leave the key out for all but loopback and link-local ones")
	}
	if d.DNS != "" && l.given(path+".dns") {
		// Labels of a service begin with an underscore (RFC 2782), and are no longer for it (RFC 1035 section 2.3.4).
		long := len(strings.TrimSuffix(d.DNS, ".")) > 253 || slices.ContainsFunc(strings.Split(d.DNS, "."), func(s string) bool { return len(s) > maxName })
		if err := checkDomain(strings.TrimSuffix(strings.ReplaceAll("."+d.DNS, "._", ".")[1:], ".")); err != nil || long {
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
		case strings.EqualFold(a.Header, "Host"): // which is the same for all clients of a site
			l.wrong(path+".affinity", "Host says which site is meant and not which client; name another field")
		}
	}
	if at := path + ".rebalance"; b.Rebalance > 0 && l.given(at) && (b.Affinity == nil || b.Affinity.Cookie == "") && !l.bad[path+".affinity"] {
		l.wrong(at, "nothing holds a client for %v; it is for `affinity` by a cookie", b.Rebalance)
	}
	if h := b.Health; h != nil {
		if h.Timeout > h.Interval {
			l.wrong(path+".health.timeout", "%v is longer than the interval of %v; probes would pile up", h.Timeout, h.Interval)
		}
		if at := path + ".health.path"; l.given(at) {
			switch _, err := url.ParseRequestURI(h.Path); {
			case !strings.HasPrefix(h.Path, "/"):
				l.wrong(at, "%s does not begin with /", quote(h.Path))
			case err != nil:
				l.wrong(at, "%s is no path; what is no plain letter is written as %%XX", quote(h.Path))
			}
		}
		if at := path + ".health.host"; l.given(at) && (h.Type == "tcp" || !httpguts.ValidHostHeader(h.Host)) {
			l.wrong(at, "%s cannot be the Host of a check of type %s", quote(h.Host), h.Type)
		}
		for _, key := range []string{"path", "status", "body"} {
			if at := path + ".health." + key; l.given(at) && !l.bad[at] && (h.Type == "tcp" || h.Type == "grpc") {
				l.wrong(at, "a check of type %s has none; that is for http", h.Type)
			}
		}
		if at := path + ".health.service"; l.given(at) && h.Type != "grpc" {
			l.wrong(at, "a check of type %s asks for no service; that is for grpc", h.Type)
		}
		if h.Status != 0 && h.Status < 200 && l.given(path+".health.status") {
			l.wrong(path+".health.status", "%d is not the status of an answer; they go from 200 to 599", h.Status)
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
