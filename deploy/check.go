package deploy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// check looks for what is wrong between values, each of which is right alone.
func (l *loader) check() {
	n := l.network
	l.unique("pops", len(n.PoPs), func(i int) string { return n.PoPs[i].Name })
	l.unique("origins", len(n.Origins), func(i int) string { return n.Origins[i].Name })
	l.unique("sites", len(n.Sites), func(i int) string { return n.Sites[i].Name })
	l.unique("zones", len(n.Zones), func(i int) string { return n.Zones[i].Name })
	l.unique("dns.servers", len(n.DNS.Servers), func(i int) string { return n.DNS.Servers[i].Name })
	l.checkHub()
	l.checkEdge("edge", &n.Edge)
	for i := range n.PoPs {
		l.checkPoP(fmt.Sprintf("pops[%d]", i), &n.PoPs[i])
	}
	for i := range n.Origins {
		l.checkOrigin(fmt.Sprintf("origins[%d]", i), &n.Origins[i])
	}
	for i := range n.Sites {
		l.checkSite(fmt.Sprintf("sites[%d]", i), &n.Sites[i])
	}
	l.checkHosts()
	for i := range n.Zones {
		l.checkZone(fmt.Sprintf("zones[%d]", i), &n.Zones[i])
	}
	l.checkDNS()
	l.checkListeners()
}

// unique finds a name given twice in one list.
func (l *loader) unique(list string, count int, name func(int) string) {
	first := map[string]string{}
	for i := range count {
		path := fmt.Sprintf("%s[%d].name", list, i)
		if name(i) == "" || l.bad[path] {
			continue
		}
		if before, again := first[name(i)]; again {
			l.wrong(path, "%s is used twice; line %d has it already", quote(name(i)), l.find(before).line)
			continue
		}
		first[name(i)] = path
	}
}

// refers checks that the value at path names something in a list, which is "pops",
// "origins" or "sites".
func (l *loader) refers(path, name, list, noun string) {
	var names []string
	for i := range l.network.PoPs {
		if list == "pops" {
			names = append(names, l.network.PoPs[i].Name)
		}
	}
	for i := range l.network.Origins {
		if list == "origins" {
			names = append(names, l.network.Origins[i].Name)
		}
	}
	for i := range l.network.Sites {
		if list == "sites" {
			names = append(names, l.network.Sites[i].Name)
		}
	}
	if slices.Contains(names, name) || l.unsure(list) {
		return
	}
	l.wrong(path, "no %s is named %s%s", noun, quote(name), didYouMean(name, names))
}

// unsure says that names of the list are missing because of other mistakes, so that
// not finding one means nothing.
func (l *loader) unsure(list string) bool {
	for path := range l.bad {
		rest, ok := strings.CutPrefix(path, list)
		if ok && (!strings.Contains(rest, ".") || strings.HasSuffix(rest, "].name")) {
			return true
		}
	}
	return false
}

func (l *loader) checkHub() {
	h := &l.network.Hub
	for i, s := range h.URLs {
		path := fmt.Sprintf("hub.urls[%d]", i)
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "tls":
			l.wrong(path, "%s is not an address of the hub; write tls://HOST:PORT, such as tls://hub.example.net:4222", quote(s))
		case u.User != nil:
			l.wrong(path, "an address of the hub has no user or password; nodes show their certificates")
		case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
			l.wrong(path, "%s: nothing may follow the port", quote(s))
		default:
			var hp HostPort
			if err := hp.UnmarshalText([]byte(u.Host)); err != nil {
				l.wrong(path, "%v", err)
			}
		}
	}
	if h.EmbeddedIn == "" || l.bad["hub.embedded_in"] {
		return
	}
	l.refers("hub.embedded_in", h.EmbeddedIn, "origins", "origin")
	if len(h.URLs) == 0 && !l.bad["hub.urls"] {
		l.wrong("hub.embedded_in", "the hub in origin %s has no address; add `urls`, by which nodes reach it", quote(h.EmbeddedIn))
	}
}

// checkEdge checks settings that the file gives at path; the same settings inherited
// are reported once, where they stand.
func (l *loader) checkEdge(path string, e *Edge) {
	memory, limit := join(path, "cache.memory"), join(path, "cache.memory_limit")
	if e.Cache.MemoryLimit > 0 && e.Cache.MemoryLimit <= e.Cache.Memory {
		switch {
		case l.given(limit):
			l.wrong(limit, "%v is not more than the %v that the cache takes of it", e.Cache.MemoryLimit, e.Cache.Memory)
		case l.given(memory):
			l.wrong(memory, "%v is not less than the process's memory_limit, %v; raise that too", e.Cache.Memory, e.Cache.MemoryLimit)
		}
	}
}

// given says that the file has a value at path, and a right one.
func (l *loader) given(path string) bool {
	_, ok := l.where[path]
	return ok && !l.bad[path]
}

func (l *loader) checkPoP(path string, p *PoP) {
	l.checkEdge(path, &p.Edge)
	l.checkAddresses(path+".addresses", p.Addresses)
	l.checkAddresses(path+".probe", p.Probe)
	l.bound(path+".bind", p.Bind)
	l.pops(path+".fallback", p.Fallback, p.Name)
	if p.Listen.HTTPS == 0 && p.Listen.HTTP == 0 && !l.bad[path+".listen.https"] && !l.bad["edge.listen.https"] {
		at := path + ".listen"
		if !l.given(at) {
			at = "edge.listen"
		}
		l.wrong(at, "PoP %s listens neither for https nor for http", quote(p.Name))
	}
}

// pops checks a list of names of PoPs, in which self must not be.
func (l *loader) pops(path string, names []string, self string) {
	for i, name := range names {
		here := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case l.bad[here] || l.bad[path] || !l.given(here):
		case name == self:
			l.wrong(here, "%s is the PoP itself", quote(name))
		case slices.Contains(names[:i], name):
			l.wrong(here, "%s is in this list already", quote(name))
		default:
			l.refers(here, name, "pops", "PoP")
		}
	}
}
