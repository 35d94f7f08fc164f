package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"hither/deploy"
	"hither/origin/pool"
)

// near are the addresses of who may stand between a client and the edge that asks: proxies that edges trust, and PoPs that
// fetch through another one.
type near []netip.Prefix

// nearOf lists them.
func nearOf(n *deploy.Network) *near {
	list := near(slices.Clone(n.Edge.Trusted))
	for i := range n.PoPs {
		list = append(list, n.PoPs[i].Trusted...)
		for _, a := range n.PoPs[i].Addresses {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return &list
}

// announced returns the request with the client that is named to servers which are told in the PROXY protocol.
func (g *Gateway) announced(r *http.Request) *http.Request {
	return r.WithContext(pool.WithSource(r.Context(), g.near.Load().client(r), netip.AddrPort{}))
}

// client is whose a request is: the last of X-Forwarded-For that is not near. Every edge adds there who asked it, and has
// proved itself; what a client wrote itself stands before that. A shield adds the PoP that asked it, which may have come
// from an address that it is not known by (NAT). Its port is not told, so it is 0. Where the edge says nobody, it is the edge.
func (l near) client(r *http.Request) netip.AddrPort {
	var found netip.AddrPort
	members := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	if n := len(members); n > 1 && shielded(r) {
		members = members[:n-1]
	}
	for _, m := range slices.Backward(members) {
		at, ok := address(strings.TrimSpace(m))
		if !ok {
			break
		}
		found = at
		if !slices.ContainsFunc(l, func(p netip.Prefix) bool { return p.Contains(at.Addr()) }) {
			break
		}
	}
	if !found.IsValid() {
		found, _ = address(r.RemoteAddr)
	}
	return found
}

// shielded says whether two PoPs sent the request on, the second for the first: each names the network at the end of
// CDN-Loop (RFC 8586), where no client can have it, for an edge takes that for a circle.
func shielded(r *http.Request) bool {
	names := strings.Split(strings.Join(r.Header["Cdn-Loop"], ","), ",")
	n := len(names)
	last := strings.TrimSpace(names[n-1])
	return n > 1 && last != "" && strings.EqualFold(last, strings.TrimSpace(names[n-2]))
}

// address reads an address that may have a port, as some proxies write it.
func address(s string) (netip.AddrPort, bool) {
	at, err := netip.ParseAddrPort(s)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(s); err == nil {
			at = netip.AddrPortFrom(a, 0)
		}
	}
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), err == nil
}
