package rtt

import (
	"fmt"

	"hither/bench/visit"
	"hither/deploy"
)

// A Way is how the client reaches the files.
type Way string

// The ways, as documents name them.
const (
	Direct Way = "direct" // from a plain server at the origin
	Edge   Way = "edge"   // through the edge
)

// A Cache is what the edge has of the answer when it is asked.
type Cache string

// The states of the cache, as documents name them.
const (
	None     Cache = "none"      // there is no cache on the way, or it does not say that it has
	Hit      Cache = "hit"       // it has the answer
	MissWarm Cache = "miss-warm" // it has not, and has a connection to the origin
	MissCold Cache = "miss-cold" // it has not, and connects first
)

// A Case is one thing to measure.
type Case struct {
	Way      Way
	Protocol visit.Protocol
	Cache    Cache
	Size     deploy.Size // of the object
}

func (c Case) String() string {
	if c.Cache == None {
		return fmt.Sprintf("%v %s, %v", c.Protocol, c.Way, c.Size)
	}
	return fmt.Sprintf("%v %s, %v", c.Protocol, c.Cache, c.Size)
}

// Cases lists what there is to measure for objects of some sizes: on the direct way, every protocol; through the edge,
// every one with each state of the cache.
func Cases(sizes []deploy.Size) []Case {
	var all []Case
	for _, size := range sizes {
		for _, c := range []struct {
			way   Way
			cache Cache
		}{{Direct, None}, {Edge, Hit}, {Edge, MissWarm}, {Edge, MissCold}} {
			for _, p := range visit.Protocols() {
				all = append(all, Case{Way: c.way, Protocol: p, Cache: c.cache, Size: size})
			}
		}
	}
	return all
}

// Expected is the round trips that a case takes over a network that loses nothing: those of the protocol to its server;
// for a miss one more from edge to origin, and on a cold pool three before that: TCP, TLS 1.3, and the HTTP/2 settings
// that the pool waits for.
func (c Case) Expected() Rounds {
	n := c.Protocol.RoundTrips()
	switch c.Cache {
	case None:
		return Rounds{ClientOrigin: n}
	case MissWarm:
		return Rounds{ClientEdge: n, EdgeOrigin: 1}
	case MissCold:
		return Rounds{ClientEdge: n, EdgeOrigin: 4}
	}
	return Rounds{ClientEdge: n}
}
