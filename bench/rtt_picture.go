package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"

	"hither/deploy"
)

// The picture's measures, in pixels.
const (
	pictureWidth = 960
	pictureCase  = 160 // where a row's case begins, after its group's name
	pictureLeft  = 274 // where time begins
	pictureRight = 165 // kept for the figure of the longest bar
	pictureTop   = 108
	pictureRow   = 22
	pictureBar   = 14
	pictureGap   = 14 // between groups of rows
)

// pictureStyle has the colours of both schemes; hues that people with any colour vision tell apart (Okabe and Ito).
const pictureStyle = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.group, .strong { font-weight: 600 }
.faint { fill: #59636e; font-size: 12px }
.figure { paint-order: stroke; stroke: #ffffff; stroke-width: 5px; stroke-linejoin: round }
.end { text-anchor: end }
.middle { text-anchor: middle }
.ground { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0 }
.dns { fill: #cc79a7 } .connect { fill: #56b4e9 } .handshake { fill: #e69f00 } .wait { fill: #009e73 } .body { fill: #b0b7bf }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.ground { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #3d444d }
.figure { stroke: #0d1117 }
.dns { fill: #d98cb6 } .connect { fill: #4a9fd0 } .handshake { fill: #d99a1c } .wait { fill: #12a67d } .body { fill: #656c76 }
}
</style>
`

// pictureWords say of a row what it has of its own in its group.
var pictureWords = map[string]string{
	"direct none": "direct", "edge none": "edge", "edge hit": "hit", "edge miss-warm": "miss, warm pool", "edge miss-cold": "miss, cold pool",
}

// pictureRows are the rows of the first size, those of one protocol one after another.
func (d *rttDocument) pictureRows() (rows []rttRow, groups int) {
	for _, first := range d.Rows {
		if first.Size != d.Rows[0].Size || slices.ContainsFunc(rows, func(r rttRow) bool { return r.Protocol == first.Protocol }) {
			continue
		}
		before := len(rows)
		for _, r := range d.Rows {
			if r.First != nil && r.Last != nil && r.Size == first.Size && r.Protocol == first.Protocol {
				rows = append(rows, r)
			}
		}
		if len(rows) > before {
			groups++
		}
	}
	return rows, groups
}

// picture draws the rows of the first size as a waterfall: a bar for each, its phases one after another, on lines as far
// from each other as client and origin are. The ways of one protocol stand below each other, to be compared.
func (d *rttDocument) picture() []byte {
	rows, groups := d.pictureRows()
	end, before := 0.0, 0.0
	for _, r := range rows {
		end = max(end, *r.Last)
		if r.DNS != nil {
			before = max(before, *r.DNS)
		}
	}
	bottom := pictureTop + max(groups-1, 0)*pictureGap + len(rows)*pictureRow + 4
	height := bottom + 50
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%[1]d\" height=\"%[2]d\" role=\"img\" aria-labelledby=\"title desc\">\n", pictureWidth, height)
	title, figures, distance := "First byte of "+d.URL, "The figures are the median time to its first byte.", 0.0
	if d.URL == "" {
		title = fmt.Sprintf("First byte over HTTPS: %s ms to the edge, %s ms to the origin", plain(*d.ClientEdge), plain(*d.ClientOrigin))
		figures = "The figures are the median time to its first byte, and the round trips it waited for: near ones to the edge, far ones to the origin."
		distance = *d.ClientOrigin
	}
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">One bar for each protocol, directly and through the edge: DNS, connect, handshake, first byte, last byte.</desc>\n", html.EscapeString(title))
	b.WriteString(pictureStyle)
	fmt.Fprintf(&b, "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", pictureWidth-1, height-1)
	fmt.Fprintf(&b, "<text class=\"title\" x=\"20\" y=\"34\">%s</text>\n", html.EscapeString(title))
	var size int64
	if len(d.Rows) > 0 {
		size = d.Rows[0].Size
	}
	fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"55\">An object of %v. %s</text>\n", deploy.Size(size), figures)

	step := gridStep(distance, end)
	scale := float64(pictureWidth-pictureLeft-pictureRight) / (before + max(end, step))
	at := func(ms float64) float64 { return pictureLeft + math.Round((before+ms)*scale*10)/10 }
	legend(&b, rows, at)
	var marks []float64
	for ms := 0.0; ms <= end+step/1000; ms += step {
		marks = append(marks, ms)
		fmt.Fprintf(&b, "<text class=\"faint middle\" x=\"%g\" y=\"%d\">%s</text>\n", at(ms), bottom+14, plain(ms))
	}
	fmt.Fprintf(&b, "<text class=\"faint end\" x=\"%d\" y=\"%d\">ms</text>\n", pictureWidth-20, bottom+14)
	fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"%d\">bench rtt, %s; %s</text>\n", bottom+38, html.EscapeString(d.Commit), html.EscapeString(d.Machine))

	y := pictureTop
	for i := 0; i < len(rows); y += pictureGap {
		group := rows[i].Protocol
		n := 1
		for i+n < len(rows) && rows[i+n].Protocol == group {
			n++
		}
		for _, ms := range marks {
			fmt.Fprintf(&b, "<line class=\"grid\" x1=\"%g\" y1=\"%d\" x2=\"%[1]g\" y2=\"%[3]d\"/>\n", at(ms), y-4, y+n*pictureRow-4)
		}
		fmt.Fprintf(&b, "<text class=\"group\" x=\"20\" y=\"%d\">%s</text>\n", y+pictureBar-2, protocolWords[group])
		for ; n > 0; n, i, y = n-1, i+1, y+pictureRow {
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\">%s</text>\n", pictureCase, y+pictureBar-2, pictureWords[rows[i].group()])
			rows[i].bar(&b, at, y)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// group is what rows have in common that differ in their protocol alone.
func (r rttRow) group() string { return r.Path + " " + r.Cache }

// A phase is a part of a bar.
type phase struct {
	class    string
	x, width float64
}

// phases are those of a row that can be seen: one that is too short (the rest of a small object) is left out, so that it hides no
// other. DNS is before the clock starts.
func (r rttRow) phases(at func(float64) float64) (all []phase) {
	from := 0.0
	if r.DNS != nil {
		from = -*r.DNS
	}
	for _, p := range []struct {
		class string
		until *float64
	}{{"dns", new(float64)}, {"connect", r.Connect}, {"handshake", r.Handshake}, {"wait", r.First}, {"body", r.Last}} {
		if p.until == nil {
			continue
		}
		if width := at(*p.until) - at(from); width >= 0.5 {
			all = append(all, phase{p.class, at(from), width})
		}
		from = *p.until
	}
	return all
}

// bar draws the phases of a row, and its figure behind them.
func (r rttRow) bar(b *bytes.Buffer, at func(float64) float64, y int) {
	for _, p := range r.phases(at) {
		fmt.Fprintf(b, "<rect class=\"%s\" x=\"%g\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", p.class, p.x, y, p.width, pictureBar)
	}
	figure := fmt.Sprintf("%.0f ms", *r.First)
	if *r.First < 10 {
		figure = fmt.Sprintf("%.1f ms", *r.First)
	}
	if x := r.Rounds; x != nil {
		switch {
		case x.ClientOrigin > 0:
			figure += fmt.Sprintf(" · %d far", x.ClientOrigin)
		case x.EdgeOrigin > 0:
			figure += fmt.Sprintf(" · %d near, %d far", x.ClientEdge, x.EdgeOrigin)
		default:
			figure += fmt.Sprintf(" · %d near", x.ClientEdge)
		}
	}
	class := "figure"
	if r.Cache == "hit" {
		class = "figure strong" // what all this is for
	}
	fmt.Fprintf(b, "<text class=\"%s\" x=\"%g\" y=\"%d\">%s</text>\n", class, at(*r.Last)+6, y+pictureBar-2, figure)
}

// legend names the colours that are there.
func legend(b *bytes.Buffer, rows []rttRow, at func(float64) float64) {
	x := 20
	for _, e := range []struct {
		class, word string
		width       int
	}{{"dns", "DNS, before", 116}, {"connect", "connect (TCP)", 130}, {"handshake", "handshake (TLS, QUIC)", 190}, {"wait", "request to first byte", 180}, {"body", "first to last byte", 0}} {
		if !slices.ContainsFunc(rows, func(r rttRow) bool {
			return slices.ContainsFunc(r.phases(at), func(p phase) bool { return p.class == e.class })
		}) {
			continue
		}
		fmt.Fprintf(b, "<rect class=\"%s\" x=\"%d\" y=\"71\" width=\"12\" height=\"12\"/><text x=\"%d\" y=\"82\">%s</text>\n", e.class, x, x+18, e.word)
		x += e.width
	}
}

// gridStep is how far lines are apart: the distance to the origin, or as many of it as leave at most twelve lines. Where
// no distance is known, a round figure that leaves at most ten.
func gridStep(distance, end float64) float64 {
	if distance > 0 {
		return distance * max(math.Ceil(end/distance/12), 1)
	}
	if end <= 0 {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(end/10)))
	for _, more := range []float64{2, 5, 10} {
		if end/step > 10 {
			step = math.Pow(10, math.Floor(math.Log10(end/10))) * more
		}
	}
	return step
}
