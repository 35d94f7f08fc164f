package deploy

import (
	"fmt"
	"net/url"
)

// check looks for what is wrong between values, each of which is right alone.
func (l *loader) check() {
	n := l.network
	l.collect("pops", len(n.PoPs), func(i int) string { return n.PoPs[i].Name })
	l.collect("origins", len(n.Origins), func(i int) string { return n.Origins[i].Name })
	l.checkGatewayNames()
	l.collect("sites", len(n.Sites), func(i int) string { return n.Sites[i].Name })
	l.collect("zones", len(n.Zones), func(i int) string { return n.Zones[i].Name })
	l.collect("dns.servers", len(n.DNS.Servers), func(i int) string { return n.DNS.Servers[i].Name })
	l.checkHub()
	l.checkEdge("edge", &n.Edge)
	for i := range n.PoPs {
		l.checkPoP(fmt.Sprintf("pops[%d]", i), &n.PoPs[i])
	}
	for i := range n.Origins {
		l.checkOrigin(fmt.Sprintf("origins[%d]", i), &n.Origins[i])
	}
	domains := map[string]bool{}
	for i := range n.PoPs {
		domains[n.PoPs[i].Trust] = true
	}
	for i := range n.Sites {
		l.checkSite(fmt.Sprintf("sites[%d]", i), &n.Sites[i], domains)
	}
	l.checkHosts()
	for i := range n.Zones {
		l.checkZone(fmt.Sprintf("zones[%d]", i), &n.Zones[i])
	}
	l.checkDNS()
	l.checkListeners()
}

// names are those of one list of the file.
type names struct {
	list   []string
	set    map[string]bool
	unsure bool // some are missing because of mistakes, so not finding one means nothing
}

// collect gathers the names of a list, and finds those given twice.
func (l *loader) collect(list string, count int, name func(int) string) {
	n := &names{set: map[string]bool{}, unsure: l.bad[list]}
	l.names[list] = n
	first := map[string]string{}
	for i := range count {
		path := fmt.Sprintf("%s[%d].name", list, i)
		if !l.given(path) {
			n.unsure = true
			continue
		}
		if before, again := first[name(i)]; again {
			l.wrong(path, "%s is used twice; line %d has it already", quote(name(i)), l.find(before).line)
			continue
		}
		first[name(i)] = path
		n.list = append(n.list, name(i))
		n.set[name(i)] = true
	}
}

// checkGatewayNames finds gateways that have the name of an origin or of another gateway: each is a node (`origin-NAME`).
func (l *loader) checkGatewayNames() {
	first := map[string]string{}
	for i := range l.network.Origins {
		if path := fmt.Sprintf("origins[%d].name", i); l.given(path) {
			first[l.network.Origins[i].Name] = path
		}
	}
	for i := range l.network.Origins {
		for j := range l.network.Origins[i].Gateways {
			path, name := fmt.Sprintf("origins[%d].gateways[%d].name", i, j), l.network.Origins[i].Gateways[j].Name
			if !l.given(path) {
				continue
			}
			if before, again := first[name]; again {
				l.wrong(path, "%s is used twice; line %d has it already, and origins and gateways are nodes of one kind", quote(name), l.find(before).line)
				continue
			}
			first[name] = path
		}
	}
}

// refers checks that the value at path names something in a list.
func (l *loader) refers(path, name, list, noun string) {
	if n := l.names[list]; !n.set[name] && !n.unsure && !l.bad[path] {
		suggestion := ""
		if l.untold == 0 {
			suggestion = didYouMean(name, n.list)
		}
		l.wrong(path, "no %s is named %s%s", noun, quote(name), suggestion)
	}
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
	none := len(h.URLs) == 0 && !l.bad["hub.urls"]
	if l.given("hub.embedded_in") {
		l.gateway("hub.embedded_in", h.EmbeddedIn)
		if none {
			l.wrong("hub.embedded_in", "the hub in origin %s has no address; add `urls`, by which nodes reach it", quote(h.EmbeddedIn))
			return
		}
	}
	for _, key := range []string{"hub.control", "hub.bind", "hub.api"} {
		if none && l.given(key) {
			l.wrong(key, "there is no hub; add `urls`, by which nodes reach it")
			return
		}
	}
	if l.given("hub.control") {
		l.gateway("hub.control", h.Control)
		if l.given("hub.embedded_in") && h.Control != h.EmbeddedIn && !l.bad["hub.control"] && !l.bad["hub.embedded_in"] {
			l.wrong("hub.control", "the control works in the node that has the hub in it, which is %s; leave this out", quote(h.EmbeddedIn))
		}
	}
	if l.given("hub.bind") {
		switch {
		case h.EmbeddedIn == "" && !l.bad["hub.embedded_in"]:
			l.wrong("hub.bind", "no node of this network listens for the hub; name it by `embedded_in`, or leave this out")
		case h.Bind.Port() == 0:
			l.wrong("hub.bind", "nodes could not know a port that is chosen at start; give one")
		}
	}
	l.checkAPI(&h.API)
}

// gateway checks that the value at path names a gateway of an origin.
func (l *loader) gateway(path, name string) {
	n := l.names["origins"]
	if n.unsure || l.bad[path] || l.network.OriginNode(name) != nil {
		return
	}
	suggestion := ""
	if l.untold == 0 {
		var all []string
		for i := range l.network.Origins {
			for _, g := range l.network.Origins[i].AllGateways() {
				all = append(all, g.Name)
			}
		}
		suggestion = didYouMean(name, all)
	}
	l.wrong(path, "no gateway of an origin is named %s%s", quote(name), suggestion)
}

// checkAPI checks where programs purge.
func (l *loader) checkAPI(a *HubAPI) {
	switch {
	case !l.given("hub.api"):
	case !a.Address.IsValid():
		if !l.bad["hub.api.address"] {
			l.wrong("hub.api", "wants an `address` to listen on, such as 127.0.0.1:9190")
		}
	case a.Address.Port() == 0:
		l.wrong("hub.api.address", "programs could not know a port that is chosen at start; give one")
	case (a.Cert == "") != (a.Key == ""):
		l.wrong("hub.api", "has one of `cert` and `key`; TLS needs both")
	case a.Cert == "" && !a.Address.Addr().IsLoopback() && !l.bad["hub.api.cert"] && !l.bad["hub.api.key"]:
		l.wrong("hub.api.address", "%v is no loopback address, and tokens must not travel in the clear; add `cert` and `key`", a.Address)
	}
}

// minMemory is the smallest memory tier there is (cache/store).
const minMemory = 128 << 10

// minDisk is the smallest disk tier there is (cache/store/disk).
const minDisk = 16 << 20

// checkEdge checks settings that the file gives at path; the same settings inherited
// are reported once, where they stand.
func (l *loader) checkEdge(path string, e *Edge) {
	l.checkPrefixes(join(path, "listen.proxy_protocol"), e.Listen.ProxyProtocol)
	l.checkPrefixes(join(path, "trusted"), e.Trusted)
	memory, limit := join(path, "cache.memory"), join(path, "cache.memory_limit")
	if m := e.Cache.Memory; l.given(memory) && m > 0 && m < minMemory {
		l.wrong(memory, "%v is too little to store anything; the least is %v, and 0B stores nothing", m, Size(minMemory))
	}
	disk := join(path, "cache.disk")
	if d := e.Cache.Disk; l.given(disk) && d > 0 {
		switch {
		case d < minDisk:
			l.wrong(disk, "%v is too little for a disk tier; the least is %v, and 0B is none", d, Size(minDisk))
		case e.Cache.Memory == 0:
			l.wrong(disk, "nothing comes to the disk but what memory gives up, and `memory` is 0B")
		}
	}
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
	seen := map[string]bool{}
	for i, name := range names {
		here := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case l.bad[here] || l.bad[path] || !l.given(here):
		case name == self:
			l.wrong(here, "%s is the PoP itself", quote(name))
		case seen[name]:
			l.wrong(here, "%s is in this list already", quote(name))
		default:
			l.refers(here, name, "pops", "PoP")
		}
		seen[name] = true
	}
}
