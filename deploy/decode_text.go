package deploy

import (
	"encoding"
	"net/netip"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// str reads a string.
func (l *loader) str(path string, n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		l.wrong(path, "wants text, and YAML reads this as %s; put it in quotes: %q", kind(n), n.GetToken().Value)
	case ast.MapNode:
		l.wrong(path, "wants text, not a mapping; text with colons needs quotes")
	default:
		l.wrong(path, "wants text, not %s", kind(n))
	}
	return "", false
}

// text reads a value that knows how to read itself.
func (l *loader) text(path string, n ast.Node, v encoding.TextUnmarshaler) {
	s := ""
	switch i, isInt := n.(*ast.IntegerNode); v.(type) {
	case *Size:
		if isInt {
			s = i.Token.Value
			break
		}
		t, ok := n.(*ast.StringNode)
		if !ok {
			l.wrong(path, "wants a size such as 512MiB, not %s", kind(n))
			return
		}
		s = t.Value
	case *Duration:
		if isInt {
			l.wrong(path, "%s lacks its unit; write ms, s, m or h behind it, such as %ss", quote(i.Token.Value), i.Token.Value)
			return
		}
		t, ok := n.(*ast.StringNode)
		if !ok {
			l.wrong(path, "wants a duration such as 30s, not %s", kind(n))
			return
		}
		s = t.Value
	default:
		var ok bool
		if s, ok = l.str(path, n); !ok {
			return
		}
	}
	if err := v.UnmarshalText([]byte(s)); err != nil || s == "" {
		switch v.(type) {
		case *netip.Addr:
			l.wrong(path, "%s is not an IP address", quote(s))
		case *netip.AddrPort:
			l.wrong(path, "%s is not an IP address with a port, such as 192.0.2.1:9443", quote(s))
		case *netip.Prefix:
			l.wrong(path, "%s is not a prefix, such as 192.0.2.0/24", quote(s))
		default:
			l.wrong(path, "%v", err)
		}
		return
	}
	if p, ok := v.(*netip.Prefix); ok && *p != p.Masked() {
		l.wrong(path, "%s has bits set behind its length; write %v", quote(s), p.Masked())
	}
}

// certificate reads `local`, `acme` or a mapping with two files.
func (l *loader) certificate(path string, n ast.Node, c *Certificate) {
	switch n.(type) {
	case ast.MapNode:
		*c = Certificate{}
		l.mapping(path, n, reflect.ValueOf(c).Elem())
	default:
		s, ok := l.str(path, n)
		if !ok {
			return
		}
		if s != CertificateLocal && s != CertificateACME {
			l.wrong(path, "%s is not known; write local, acme or {cert: FILE, key: FILE}", quote(s))
			return
		}
		*c = Certificate{Source: s}
	}
}

// prefixes reads the operator's places. Two ways to write one prefix are the same key.
func (l *loader) prefixes(path string, n ast.Node, m *map[netip.Prefix]Spot) {
	*m = map[netip.Prefix]Spot{}
	keys := map[netip.Prefix]string{}
	given, _ := l.pairs(path, n, func(key string, at position) bool {
		p, err := netip.ParsePrefix(key)
		switch {
		case err != nil:
			l.at(at, "prefixes: %s is not a prefix, such as 192.0.2.0/24", quote(key))
		case p != p.Masked():
			l.at(at, "prefixes: %s has bits set behind its length; write %v", quote(key), p.Masked())
		case keys[p] != "":
			l.at(at, "prefixes: %s is the same prefix as %s above", quote(key), quote(keys[p]))
		default:
			keys[p] = key
			return true
		}
		return false
	})
	for p, key := range keys {
		here := prefixPath(p)
		node := given[key]
		var spot Spot
		if _, ok := node.(ast.MapNode); ok {
			l.decode(here, node, reflect.ValueOf(&spot.Place).Elem())
		} else {
			l.decode(here, node, reflect.ValueOf(&spot.PoP).Elem())
		}
		(*m)[p] = spot
	}
}

// prefixPath is the path of a prefix's value. A dot would divide it.
func prefixPath(p netip.Prefix) string {
	return "dns.geo.prefixes[" + strings.ReplaceAll(p.String(), ".", "_") + "]"
}
