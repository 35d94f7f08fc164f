package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"hither/dns/geo"
	"hither/dns/server"
)

// mapDocument is hither/explain-map/1, as a DNS server tells it.
type mapDocument = server.Map

// Layout of the picture in pixels.
const (
	mapMargin    = 20
	mapHead      = 76 // above the map
	legendRow    = 66
	legendWidth  = 286
	legendColumn = 4
	biggest      = 24.0 // radius of the country with the most addresses
	smallest     = 2.2  // radius that can still be seen
)

// worldMap writes the world as an SVG that needs nothing else: continents, PoPs, and each country in the colour of the PoP that its
// clients get, with the way there. A PoP that is down or drains is hollow. It fails where a place is none, and where w does.
func worldMap(w io.Writer, m mapDocument) error {
	for _, p := range m.PoPs {
		if err := onEarth("PoP "+p.PoP, p.Lat, p.Lon); err != nil {
			return err
		}
	}
	for _, c := range m.Countries {
		if err := onEarth("country "+c.Country, c.Lat, c.Lon); err != nil {
			return err
		}
	}
	continents, err := land(landTopology)
	if err != nil {
		return err
	}
	p := &picture{m: m, colours: colours(m.PoPs), index: make(map[string]int)}
	for i, pop := range m.PoPs {
		p.index[pop.PoP] = i
	}
	rows := (len(m.PoPs) + legendColumn - 1) / legendColumn
	top := mapHead + mapHeight + 22
	height := top + float64(rows*legendRow) + 56
	p.f(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img" aria-labelledby="title">`+"\n",
		mapWidth+2*mapMargin, height, mapWidth+2*mapMargin, height)
	title := "Which PoP clients get, by country: network " + m.Network + ", site " + m.Site
	p.f("<title id=\"title\">%s</title>\n<style>%s</style>\n<rect class=\"ground\" width=\"100%%\" height=\"100%%\"/>\n", escape(title), mapStyles())
	p.f(`<text class="title" x="%d" y="38">%s</text>`+"\n", mapMargin, escape("Where clients of "+m.Site+" go"))
	p.f(`<text class="quiet" x="%d" y="60">%s</text>`+"\n", mapMargin,
		escape(fmt.Sprintf("Network %s, revision %d. One dot per country, its area the country's part of all addresses, in the colour of the PoP that its clients get.", m.Network, m.Revision)))
	p.f(`<g transform="translate(%d %d)">`+"\n", mapMargin, mapHead)
	p.ground(continents)
	p.ways()
	p.countries()
	p.pops()
	p.f("</g>\n")
	p.legend(top)
	p.foot(height - 24)
	p.f("</svg>\n")
	_, err = w.Write(p.b.Bytes())
	return err
}

func onEarth(what string, lat, lon float64) error {
	if !(math.Abs(lat) <= 90 && math.Abs(lon) <= 180) {
		return fmt.Errorf("map: %s: no place on Earth: latitude %v, longitude %v", what, lat, lon)
	}
	return nil
}

// colours gives each PoP its number in the palette. PoPs that must share a colour are as far apart as can be, one after the other.
func colours(pops []server.MapPoP) []int {
	at := func(i int) geo.Point { return geo.Point{Lat: pops[i].Lat, Lon: pops[i].Lon} }
	out := make([]int, len(pops))
	for i := range pops {
		if i < len(palette) {
			out[i] = i
			continue
		}
		room := slices.Repeat([]float64{math.Inf(1)}, len(palette)) // distance to the nearest PoP of that colour
		for j := range i {
			room[out[j]] = min(room[out[j]], geo.Distance(at(i), at(j)))
		}
		out[i] = slices.Index(room, slices.Max(room))
	}
	return out
}

// A picture is an SVG being made.
type picture struct {
	b       bytes.Buffer
	m       mapDocument
	colours []int
	index   map[string]int // of PoPs
}

func (p *picture) f(format string, args ...any) { fmt.Fprintf(&p.b, format, args...) }

// path writes lines or, closed, areas.
func (p *picture) path(class string, closed bool, lines ...[]pixel) {
	p.f(`<path class="%s" d="`, class)
	for _, l := range lines {
		for i, at := range l {
			letter := "L"
			if i == 0 {
				letter = "M"
			}
			p.f("%s%s %s", letter, number(at.x), number(at.y))
		}
		if closed {
			p.b.WriteByte('Z')
		}
	}
	p.f("\"/>\n")
}

// ground draws sea, land and the net of degrees.
func (p *picture) ground(continents [][]coordinate) {
	sphere := line([]coordinate{{-180, -90}, {-180, 90}, {180, 90}, {180, -90}, {-180, -90}})
	p.path("sea", true, sphere)
	var areas [][]pixel
	for _, ring := range continents {
		areas = append(areas, line(append(slices.Clip(ring), ring[0])))
	}
	p.path("land", true, areas...)
	var grid [][]pixel
	for lat := -60.0; lat <= 60; lat += 30 {
		grid = append(grid, line([]coordinate{{-180, lat}, {180, lat}}))
	}
	for lon := -150.0; lon <= 180; lon += 30 {
		x := turn(lon - middle)
		grid = append(grid, line([]coordinate{{x, -90}, {x, 90}}))
	}
	p.path("grid", false, grid...)
	p.path("edge", true, sphere)
}

// ways draws the shortest way from each country to its PoP.
func (p *picture) ways() {
	for _, c := range p.m.Countries {
		i, ok := p.index[c.PoP]
		if !ok {
			continue
		}
		pop := p.m.PoPs[i]
		if ways := greatCircle(geo.Point{Lat: c.Lat, Lon: c.Lon}, geo.Point{Lat: pop.Lat, Lon: pop.Lon}); ways != nil {
			p.path(fmt.Sprintf("way s%d", p.colours[i]), false, ways...)
		}
	}
}

// countries draws the dots, large ones first so that small ones lie on them.
func (p *picture) countries() {
	var most, all float64
	for _, c := range p.m.Countries {
		most, all = max(most, c.Weight), all+max(c.Weight, 0)
	}
	list := slices.Clone(p.m.Countries)
	slices.SortStableFunc(list, func(a, b server.MapCountry) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), strings.Compare(a.Country, b.Country))
	})
	var codes []string
	for _, c := range list {
		r := smallest
		if most > 0 && c.Weight > 0 {
			r = max(r, biggest*math.Sqrt(c.Weight/most))
		}
		at := place(geo.Point{Lat: c.Lat, Lon: c.Lon})
		colour, ink, words := "none", "#fff", "no PoP"
		if i, ok := p.index[c.PoP]; ok {
			colour, ink, words = fmt.Sprintf("f%d", p.colours[i]), palette[p.colours[i]].ink, c.PoP
			if c.Distance != nil {
				words += ", " + thousands(*c.Distance) + " km"
			}
		}
		p.f(`<g id="country-%s"><title>%s</title><circle class="country %s" cx="%s" cy="%s" r="%s"/>`, escape(c.Country),
			escape(fmt.Sprintf("%s: %s, %s of addresses", c.Country, words, percent(c.Weight, all))), colour, number(at.x), number(at.y), number(r))
		p.f("</g>\n")
		if r >= 7.5 {
			codes = append(codes, fmt.Sprintf(`<text class="code" x="%s" y="%s" style="fill:%s">%s</text>`+"\n", number(at.x), number(at.y+3.5), ink, escape(c.Country)))
		}
	}
	for _, code := range codes {
		p.b.WriteString(code)
	}
}

// number writes a length as exactly as can be seen.
func number(v float64) string {
	s := strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	if s == "-0" {
		return "0"
	}
	return s
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
