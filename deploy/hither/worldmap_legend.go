package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"hither/dns/geo"
	"hither/dns/server"
)

// A box is a rectangle of the map that is taken.
type box struct{ left, top, right, bottom float64 }

func (a box) meets(b box) bool {
	return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

// letter is how wide a letter of a label is at most, about.
const letter = 8

// pops draws PoPs and their names. A name stands where it hides no PoP and no other name, as far as there is room.
func (p *picture) pops() {
	var taken []box
	places := make([]pixel, len(p.m.PoPs))
	for i, pop := range p.m.PoPs {
		places[i] = place(geo.Point{Lat: pop.Lat, Lon: pop.Lon})
		taken = append(taken, box{places[i].x - 8, places[i].y - 8, places[i].x + 8, places[i].y + 8})
	}
	for i, pop := range p.m.PoPs {
		at := places[i]
		p.f(`<g id="pop-%s"><title>%s</title><circle class="halo" cx="%s" cy="%s" r="9"/><circle class="%s" cx="%s" cy="%s" r="5.5"/></g>`+"\n",
			escape(pop.PoP), escape(popWords(pop)), number(at.x), number(at.y), p.popClass(i), number(at.x), number(at.y))
	}
	for i, pop := range p.m.PoPs {
		at := places[i]
		width := letter * float64(len([]rune(pop.PoP)))
		choices := []box{
			{at.x + 11, at.y - 9, at.x + 11 + width, at.y + 7},
			{at.x - 11 - width, at.y - 9, at.x - 11, at.y + 7},
			{at.x - width/2, at.y - 27, at.x + width/2, at.y - 11},
			{at.x - width/2, at.y + 10, at.x + width/2, at.y + 26},
		}
		best := slices.IndexFunc(choices, func(b box) bool {
			return b.left >= 0 && b.right <= mapWidth && !slices.ContainsFunc(taken, b.meets)
		})
		best = max(best, 0)
		b := choices[best]
		taken = append(taken, b)
		x, anchor := b.left, "start"
		switch best {
		case 1:
			x, anchor = b.right, "end"
		case 2, 3:
			x, anchor = at.x, "middle"
		}
		p.f(`<text class="label" x="%s" y="%s" text-anchor="%s">%s</text>`+"\n", number(x), number(b.bottom-3), anchor, escape(pop.PoP))
	}
}

// popClass is how the dot of a PoP looks: full, or hollow where it is struck out.
func (p *picture) popClass(i int) string {
	if struckOut(p.m.PoPs[i]) {
		return fmt.Sprintf("pop out s%d", p.colours[i])
	}
	return fmt.Sprintf("pop f%d s%d", p.colours[i], p.colours[i])
}

func struckOut(p server.MapPoP) bool { return !p.Up || p.Draining }

// popWords is a PoP's name, city and state.
func popWords(p server.MapPoP) string {
	words := p.PoP
	if p.City != "" {
		words += ", " + p.City
	}
	if state := popState(p); state != "up" {
		words += " (" + state + ")"
	}
	return words
}

// shortened is a name as long as a column of the legend has room for. The whole is where the pointer rests on the dot.
func shortened(name string) string {
	const most = (legendWidth - 24) / letter
	if letters := []rune(name); len(letters) > most {
		return string(letters[:most-1]) + "…"
	}
	return name
}

func popState(p server.MapPoP) string {
	switch {
	case !p.Up:
		return "down"
	case p.Draining:
		return "draining"
	}
	return "up"
}

// legend says what a colour stands for, and how much of it there is.
func (p *picture) legend(top float64) {
	all := summarise(p.m)
	for i, s := range all[:len(p.m.PoPs)] {
		pop := p.m.PoPs[i]
		x, y := float64(mapMargin+i%legendColumn*legendWidth), top+float64(i/legendColumn*legendRow)
		p.f(`<g><circle class="%s" cx="%s" cy="%s" r="5.5"/>`, p.popClass(i), number(x+8), number(y+11))
		p.f(`<text class="name" x="%s" y="%s">%s</text>`, number(x+24), number(y+16), escape(shortened(popWords(pop))))
		p.f(`<text x="%s" y="%s">%s</text>`, number(x+24), number(y+34), escape(countries(s.countries)+", "+percent(s.weight, s.of)+" of addresses"))
		if s.countries > 0 {
			p.f(`<text class="quiet small" x="%s" y="%s">%s</text>`, number(x+24), number(y+51),
				escape("median "+thousands(s.median)+" km, farthest "+thousands(s.most)+" km ("+s.farthest+")"))
		}
		p.f("</g>\n")
	}
}

// foot says what is in no colour.
func (p *picture) foot(y float64) {
	var words []string
	if s := summarise(p.m); len(s) > len(p.m.PoPs) {
		words = append(words, "Grey: "+countries(s[len(s)-1].countries)+" without a PoP.")
	}
	if slices.ContainsFunc(p.m.PoPs, struckOut) {
		words = append(words, "Hollow: a PoP that is down or drains.")
	}
	if len(p.m.Unknown) > 0 {
		words = append(words, "Clients whose place nobody knows: "+strings.Join(p.m.Unknown, ", ")+".")
	}
	words = append(words, "Map: Natural Earth. Equal Earth projection.")
	p.f(`<text class="quiet" x="%d" y="%.0f">%s</text>`+"\n", mapMargin, y, escape(strings.Join(words, " ")))
}

func countries(n int) string {
	if n == 1 {
		return "1 country"
	}
	return strconv.Itoa(n) + " countries"
}

// percent writes a part of a whole; "-" where there is no whole.
func percent(part, whole float64) string {
	if !(whole > 0) {
		return "-"
	}
	return strconv.FormatFloat(100*max(part, 0)/whole, 'f', 1, 64) + " %"
}

// thousands writes a distance, in groups of three digits.
func thousands(v float64) string {
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
