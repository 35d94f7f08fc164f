package proxy

import (
	"net/http"
	"strings"
)

// This file is RFC 8586: every request to an origin names this network in CDN-Loop, behind the networks that it came by, and
// one that names it already has gone in a circle. Unlike Via, which may name this node without any circle (see passes), the
// field is for that alone: nobody may take it out, and a client's own goes on as it came.

// cdnLoop is the field's canonical name.
const cdnLoop = "Cdn-Loop"

// What a CDN-Loop may be. Longer ones are circles that other networks do not see.
const (
	mostCDNs      = 32
	mostCDNsBytes = 4 << 10
)

// circles reports whether lines of CDN-Loop name the network own more often than it has its reasons for, or more networks than
// anybody needs. A request of a client must not have come by this network at all; one that a PoP sends to a shield has, once.
//
// A member is a name and perhaps parameters (section 2). What is malformed names nobody, and hides nobody: quotes are not
// looked at, for what one parser takes to be inside of them another does not. The worst is that a client who writes this
// network's name there is refused.
func circles(lines []string, own string, reasons int) bool {
	members, size := 0, 0
	for _, line := range lines {
		if size += len(line); size > mostCDNsBytes {
			return true
		}
		for member := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(member, ";")
			words := strings.Fields(name)
			if len(words) == 0 {
				continue
			}
			if members++; members > mostCDNs {
				return true
			}
			if own == "" || !strings.EqualFold(words[0], own) {
				continue
			}
			if reasons--; reasons < 0 {
				return true
			}
		}
	}
	return false
}

// appendCDN names this network behind those that h has.
func (p *Proxy) appendCDN(h http.Header) {
	if p.cfg.CDN != "" {
		appendField(h, cdnLoop, p.cfg.CDN)
	}
}
