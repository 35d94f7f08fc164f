package contest

import (
	"fmt"
	"slices"
	"strings"

	"hither/bench/upstream"
)

// A Kind is what servers are to do.
type Kind string

// The kinds, in the order in which they are measured: the last ones push out of a cache what the first ones need.
const (
	Hit      Kind = "hit"               // serve what is stored
	Full     Kind = "handshake-full"    // one hit on each new connection
	Resumed  Kind = "handshake-resumed" // the same with a ticket of one before
	Idle     Kind = "idle"              // hold connections on which nothing happens after a hit
	PassedOn Kind = "proxy"             // get from the upstream what may not be stored
	Miss     Kind = "miss"              // get from the upstream, and store, what nobody asked for before
)

// Clients.
const (
	wrkName    = "wrk"
	h2loadName = "h2load"
	benchName  = "bench"
)

// A Case is one row of what is measured.
type Case struct {
	Kind     Kind
	Protocol string // h1, h2 or h3
	Size     upstream.Size
	Client   string // wrk, h2load or bench

	Connections, Streams int // of the client, which waits for answers before it asks on
}

// String names the case as [Select] takes it.
func (c Case) String() string { return fmt.Sprintf("%s/%s/%s", c.Kind, c.Protocol, c.Size.Name) }

// Cases lists all.
func Cases() (all []Case) {
	for _, kind := range []Kind{Hit, Full, Resumed, Idle, PassedOn, Miss} {
		for _, protocol := range []string{"h1", "h2", "h3"} {
			for _, size := range upstream.Sizes() {
				if c := (Case{Kind: kind, Protocol: protocol, Size: size}); c.exists() {
					c.Client, c.Connections, c.Streams = c.client()
					all = append(all, c)
				}
			}
		}
	}
	return all
}

// exists leaves out what tells nothing new: a handshake is the same over HTTP/1.1 and 2, and a body costs the same
// wherever it comes from.
func (c Case) exists() bool {
	switch c.Kind {
	case Full, Resumed:
		return c.Protocol != "h2" && c.Size.Name == "1k"
	case Idle:
		return c.Size.Name == "1k"
	case PassedOn, Miss:
		return c.Size.Name == "1k" || c.Size.Name == "16k" && c.Protocol != "h3"
	}
	return true
}

// client is who loads, and how. wrk and h2load are the judges where they can be: h2load has each connection ask for the
// same things in the same order, which are no misses, and neither opens connections by itself.
func (c Case) client() (name string, connections, streams int) {
	few := c.Size.Bytes > 1<<16 // of large objects a few are enough work, and more would wait only
	switch {
	case c.Kind == Full || c.Kind == Resumed:
		return benchName, 16, 1
	case c.Kind == Idle:
		return benchName, 0, 1
	case c.Protocol == "h1" && few:
		return wrkName, 8, 1
	case c.Protocol == "h1":
		return wrkName, 32, 1
	}
	name = benchName
	if c.Protocol == "h2" && c.Kind != Miss {
		name = h2loadName
	}
	switch {
	case few:
		return name, 4, 2
	case c.Protocol == "h2":
		return name, 16, 10
	}
	return name, 8, 8
}

// Suits reports whether a server can have the case measured: one without a cache has no misses.
func (c Case) Suits(http3, stores bool) bool {
	return (http3 || c.Protocol != "h3") && (stores || c.Kind != Miss)
}

// stored reports whether the objects of the case come from the cache.
func (c Case) stored() bool { return c.Kind != PassedOn && c.Kind != Miss }

// Select finds the cases that are named, each KIND[/PROTOCOL[/SIZE]]; none names all. An error says what there is.
func Select(names []string) ([]Case, error) {
	all := Cases()
	if len(names) == 0 {
		return all, nil
	}
	wanted := make(map[Case]bool)
	for _, name := range names {
		found := false
		for _, c := range all {
			if c.String() == name || strings.HasPrefix(c.String(), name+"/") {
				wanted[c], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no case %q: want KIND[/PROTOCOL[/SIZE]] of %s", name, kinds())
		}
	}
	return slices.DeleteFunc(all, func(c Case) bool { return !wanted[c] }), nil
}

func kinds() string {
	var names []string
	for _, c := range Cases() {
		if !slices.Contains(names, string(c.Kind)) {
			names = append(names, string(c.Kind))
		}
	}
	return strings.Join(names, ", ")
}
