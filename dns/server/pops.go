package server

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/dns/geo"
	"hither/dns/steer"
)

// A popTable is the network's PoPs with what is known of their health. It never changes.
type popTable struct {
	list []popEntry
	now  *steer.Snapshot
}

// A popEntry is a PoP as it stands in answers.
type popEntry struct {
	name     string
	port     int              // of HTTPS, as clients see it; 0 = none
	v4, v6   []netip.Addr     // those that answer, or all where none does
	state    [2]steer.State   // by family
	down     []netip.AddrPort // what fails its probes
	draining bool             // it has said so, or the operator
	revoked  bool             // its identity was
}

// newPopTable joins the network's PoPs, what probes found and what the fleet tells; a nil health is that of the first moment, when all
// are up, and with a nil told nobody tells anything.
func newPopTable(n *deploy.Network, h *health, t *told, now time.Time) (popTable, error) {
	var table popTable
	var pops []steer.PoP
	for i := range n.PoPs {
		p := &n.PoPs[i]
		e := popEntry{name: p.Name, port: n.EdgeOf(p.Name).Listen.Public}
		if n.EdgeOf(p.Name).Listen.HTTPS == 0 {
			e.port = 0
		}
		targets := targetsOf(n, p)
		e.revoked = t.revoked(p.Name)
		e.draining = h.draining(targets) || t.leaving(p.Name, now)
		// Where probes go to the very addresses that answers have, each address is struck out by itself.
		each := slices.Equal(p.Probe, p.Addresses)
		for _, family := range []int{4, 6} {
			own := ofFamily(p.Addresses, family)
			if len(own) == 0 {
				continue // steer.Absent
			}
			state, down := h.state(targets, family)
			e.state[slot(family)] = state
			e.down = append(e.down, down...)
			if each {
				up := slices.DeleteFunc(slices.Clone(own), func(a netip.Addr) bool {
					return slices.ContainsFunc(down, func(d netip.AddrPort) bool { return d.Addr() == a })
				})
				if len(up) > 0 {
					own = up
				}
			}
			if family == 4 {
				e.v4 = own
			} else {
				e.v6 = own
			}
		}
		slices.SortFunc(e.down, netip.AddrPort.Compare)
		e.down = slices.Compact(e.down)
		table.list = append(table.list, e)
		pops = append(pops, steer.PoP{
			Name: p.Name, At: geo.Point{Lat: p.Place.Lat, Lon: p.Place.Lon}, V4: e.state[0], V6: e.state[1],
			Weight: p.Weight, Fallback: p.Fallback, Draining: e.draining, Revoked: e.revoked,
			Load: t.loadOf(p.Name, now), Shed: t.shareOf(p.Name),
		})
	}
	var err error
	if table.now, err = steer.New(pops, n.DNS.Unknown); err == nil && t != nil {
		table.now = table.now.With(t.view)
	}
	return table, err
}

// unknownLoad stands for the load of a PoP of which nothing was heard for a while: edges report it through the hub, and nobody else knows.
const unknownLoad = -1

func ofFamily(addrs []netip.Addr, family int) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a.Is4() == (family == 4) {
			out = append(out, a)
		}
	}
	return out
}

// addresses are what answers give for a PoP.
func (t *popTable) addresses(pop, family int) []netip.Addr {
	if family == 4 {
		return t.list[pop].v4
	}
	return t.list[pop].v6
}

// ofAll are what answers give for several PoPs, in their order. They are shared where there is one PoP.
func (t *popTable) ofAll(pops []int, family int) []netip.Addr {
	if len(pops) == 1 {
		return t.addresses(pops[0], family)
	}
	var addrs []netip.Addr
	for _, pop := range pops {
		addrs = append(addrs, t.addresses(pop, family)...)
	}
	return addrs
}

// vary reports whether clients of a site can get different PoPs for a type.
func (t *popTable) vary(st *steered, qtype uint16) bool {
	n := 0
	for i := range t.list {
		for _, family := range families(qtype) {
			if st.serves[i] && len(t.addresses(i, family)) > 0 {
				n++
				break
			}
		}
	}
	return n > 1
}

// https makes the HTTPS records of a choice (RFC 9460): one for each port, in the order of its first PoP, with just the
// addresses that A and AAAA would have.
func (t *popTable) https(owner string, ttl uint32, c *choice) []dns.RR {
	var records []dns.RR
	at := make(map[int]*dns.HTTPS)
	name, atPort := siteOf(owner)
	record := func(port int) *dns.HTTPS {
		if rr := at[port]; rr != nil {
			return rr
		}
		rr := &dns.HTTPS{SVCB: dns.SVCB{
			Hdr:      dns.RR_Header{Name: owner, Rrtype: dns.TypeHTTPS, Class: dns.ClassINET, Ttl: ttl},
			Priority: uint16(len(records) + 1), Target: ".",
			Value: []dns.SVCBKeyValue{&dns.SVCBAlpn{Alpn: []string{"h3", "h2"}}},
		}}
		if atPort {
			rr.Target = name // "." would be the name with the prefix
		}
		if port != 443 || atPort {
			rr.Value = append(rr.Value, &dns.SVCBPort{Port: uint16(port)})
		}
		at[port] = rr
		records = append(records, rr)
		return rr
	}
	for i := range c.picked {
		family := 4 + 2*i
		hints := make(map[int][]net.IP)
		var ports []int
		for _, pop := range c.picked[i].PoPs {
			port := t.list[pop].port
			if port == 0 {
				continue
			}
			if hints[port] == nil {
				ports = append(ports, port)
			}
			for _, a := range t.addresses(pop, family) {
				hints[port] = append(hints[port], a.AsSlice())
			}
		}
		for _, port := range ports {
			rr := record(port)
			if family == 4 {
				rr.Value = append(rr.Value, &dns.SVCBIPv4Hint{Hint: hints[port]})
			} else {
				rr.Value = append(rr.Value, &dns.SVCBIPv6Hint{Hint: hints[port]})
			}
		}
	}
	return records
}
