package server

import (
	"fmt"
	"math"
	"net/http"
	"slices"

	"hither/deploy/ops"
	"hither/dns/geo"
	"hither/dns/steer"
)

// Map is the document "explain-map": which PoP the clients of each country get now.
type Map struct {
	Network   string       `json:"network"`
	Revision  int          `json:"revision"`
	Site      string       `json:"site"`
	PoPs      []MapPoP     `json:"pops"`
	Countries []MapCountry `json:"countries"`
	Unknown   []string     `json:"unknown"` // PoPs in the order for places nobody knows
}

// MapPoP is a PoP on the map.
type MapPoP struct {
	PoP      string  `json:"pop"`
	Lat      float64 `json:"lat"`
	Lon      float64 `json:"lon"`
	City     string  `json:"city"`
	Up       bool    `json:"up"`
	Draining bool    `json:"draining"`
}

// MapCountry is a country at the point where the embedded table has it.
type MapCountry struct {
	Country   string             `json:"country"`
	Lat       float64            `json:"lat"`
	Lon       float64            `json:"lon"`
	Weight    float64            `json:"weight"` // its part of all addresses
	PoP       string             `json:"pop"`    // "" where no PoP serves the site
	Distance  *float64           `json:"distance_km"`
	Distances map[string]float64 `json:"distances_km"`
}

// mapCall answers GET /v1/explain/map?site=SITE.
func (s *Server) mapCall(r *http.Request) (string, any, error) {
	m, err := s.Map(r.URL.Query().Get("site"))
	if err != nil {
		return "", nil, &ops.Refusal{Status: http.StatusBadRequest, Cause: err}
	}
	return "explain-map", m, nil
}

// Map tells which PoP each country's clients get for a site; "" is the first of the network file. Where PoPs share a
// place by weight, a country stands for one of its clients.
func (s *Server) Map(site string) (Map, error) {
	s.mu.Lock()
	w, revision := s.world.Load(), s.o.Fleet.Number(s.revision)
	s.mu.Unlock()
	n := w.network
	if site == "" && len(n.Sites) > 0 {
		site = n.Sites[0].Name
	}
	if n.Site(site) == nil {
		return Map{}, fmt.Errorf("dns: the network file has no site %q", site)
	}
	m := Map{Network: n.Name, Revision: revision, Site: site, PoPs: []MapPoP{}, Countries: []MapCountry{}, Unknown: n.DNS.Unknown}
	serves := make([]bool, len(n.PoPs))
	for i := range n.PoPs {
		p := &n.PoPs[i]
		serves[i] = p.Trust == n.Site(site).Trust
		m.PoPs = append(m.PoPs, MapPoP{PoP: p.Name, Lat: p.Place.Lat, Lon: p.Place.Lon, City: p.Place.City, Up: w.pops.list[i].up(), Draining: w.pops.list[i].draining || w.pops.list[i].revoked})
	}
	for _, c := range geo.Countries() {
		q := steer.Question{Found: geo.Found{Point: c.Point, Source: geo.SourceEmbedded}, Family: 4, Answers: 1, Site: serves}
		a := w.pops.now.Pick(q, nil)
		if len(a.PoPs) == 0 {
			q.Family = 6
			a = w.pops.now.Pick(q, nil)
		}
		at := MapCountry{Country: c.Code, Lat: c.Point.Lat, Lon: c.Point.Lon, Weight: c.Weight, Distances: make(map[string]float64)}
		for i := range n.PoPs {
			p := &n.PoPs[i]
			km := math.Round(geo.Distance(c.Point, geo.Point{Lat: p.Place.Lat, Lon: p.Place.Lon}))
			at.Distances[p.Name] = km
			if slices.Contains(a.PoPs, i) {
				at.PoP, at.Distance = p.Name, &km
			}
		}
		m.Countries = append(m.Countries, at)
	}
	return m, nil
}
