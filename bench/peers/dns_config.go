package peers

import (
	"bytes"
	"embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed gdnsd.* knot.* powerdns.*
var dnsFiles embed.FS

// A dnsConfig is what the files of a peer are filled in with.
type dnsConfig struct {
	Dir      string // all that it writes is there
	Addr     netip.AddrPort
	PoPs     []PlacePoP
	Prefixes []Placed
}

// AddrOf is the address of a PoP.
func (c *dnsConfig) AddrOf(name string) (netip.Addr, error) {
	for _, p := range c.PoPs {
		if p.Name == name {
			return p.Addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no PoP %q", name)
}

// write fills in a file of this folder.
func (c *dnsConfig) write(from, to string) error {
	text, err := template.ParseFS(dnsFiles, from)
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	to = filepath.Join(c.Dir, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	var b bytes.Buffer
	if err := text.Execute(&b, c); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	return nil
}
