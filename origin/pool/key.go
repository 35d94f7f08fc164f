package pool

import (
	"context"
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
)

// Key says what makes two connections shareable: a request may go over any connection whose key equals its own, and over no
// other. Keys are compared with ==.
type Key struct {
	// Addresses are those of the configuration, sorted and joined with commas: each leads to the same origin.
	Addresses string

	// Protocol is h1, h2, h2c or h3.
	Protocol string

	// TLS says whom this side shows and accepts; nil is plain text. Nothing tells whether two configurations mean the same,
	// so one is like another only if it is the same one.
	TLS *tls.Config

	// ServerName is the name that the origin proves; empty in plain text, and where each address proves its own host.
	ServerName string

	// Source and Destination are what the PROXY protocol said at the beginning of the connection; zero where it is not used,
	// or said nothing.
	Source, Destination netip.AddrPort
}

// Key is what connections of a pool with this configuration have in common, whatever source they speak for.
func (c Config) Key() Key {
	k := Key{Addresses: strings.Join(slices.Sorted(slices.Values(c.Addresses)), ","), Protocol: c.Protocol, TLS: c.TLS}
	if k.Protocol == "" {
		k.Protocol = "h2"
	}
	if c.TLS != nil {
		k.ServerName = c.TLS.ServerName
	}
	return k
}

// sourceKey is the key of a context's value.
type sourceKey struct{}

// source is who is at the ends of the connection that a request came by.
type source struct{ src, dst netip.AddrPort }

// WithSource says for whom a request is made, and which address of ours was asked: what the PROXY protocol tells the origin
// when the pool speaks it; other pools take no notice. Without a valid src, or without WithSource, it tells that the
// connection is this node's own. A dst that is not valid is replaced by the origin's own address.
func WithSource(ctx context.Context, src, dst netip.AddrPort) context.Context {
	return context.WithValue(ctx, sourceKey{}, source{unmap(src), unmap(dst)})
}

// unmap makes an address that is the same by one name equal.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// keyOf is the key of the connections that may carry a request with ctx.
func (p *Pool) keyOf(ctx context.Context) Key {
	k := p.key
	if p.cfg.ProxyProtocol == "" {
		return k
	}
	if s, ok := ctx.Value(sourceKey{}).(source); ok && s.src.IsValid() {
		k.Source, k.Destination = s.src, s.dst
	}
	return k
}
