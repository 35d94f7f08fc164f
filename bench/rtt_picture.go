package main

import (
	"bytes"
	"fmt"
	"html"
	"math"

	"hither/deploy"
)

// The picture's measures, in pixels.
const (
	pictureWidth  = 960
	pictureLeft   = 170 // where time begins
	pictureRight  = 170 // kept for the figure of the longest bar
	pictureTop    = 90
	pictureRow    = 22
	pictureBar    = 14
	pictureHeader = 34 // of a group of rows
)

// pictureStyle has the colours of both schemes; hues that people with any colour vision tell apart (Okabe and Ito).
const pictureStyle = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.group { font-weight: 600 }
.faint { fill: #59636e; font-size: 12px }
.end { text-anchor: end }
.middle { text-anchor: middle }
.ground { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0 }
.connect { fill: #56b4e9 } .handshake { fill: #e69f00 } .wait { fill: #009e73 } .body { fill: #b0b7bf }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.ground { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #3d444d }
.connect { fill: #4a9fd0 } .handshake { fill: #d99a1c } .wait { fill: #12a67d } .body { fill: #656c76 }
}
</style>
`

// groupWords say over a group of bars what they have in common.
var groupWords = map[string]string{
	"direct none":    "Direct: no edge",
	"edge none":      "Through the edge",
	"edge hit":       "Through the edge: a hit",
	"edge miss-warm": "Through the edge: a miss, its connection to the origin open",
	"edge miss-cold": "Through the edge: a miss, its first connection to the origin",
}

// picture draws the rows of the first size as a waterfall: a bar for each, its phases one after another, on lines as far
// from each other as client and origin are.
func (d *rttDocument) picture() []byte {
	var rows []rttRow
	end, groups := 0.0, 0
	for _, r := range d.Rows {
		if r.First == nil || r.Last == nil || r.Size != d.Rows[0].Size {
			continue
		}
		if len(rows) == 0 || rows[len(rows)-1].group() != r.group() {
			groups++
		}
		rows = append(rows, r)
		end = max(end, *r.Last)
	}
	bottom := pictureTop + groups*pictureHeader + len(rows)*pictureRow + 8
	height := bottom + 44
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%[1]d\" height=\"%[2]d\" role=\"img\" aria-labelledby=\"title desc\">\n", pictureWidth, height)
	title, figures, distance := "First byte of "+d.URL, "the figures are the median time to its first byte.", 0.0
	if d.URL == "" {
		title = fmt.Sprintf("First byte over HTTPS: %s ms to the edge, %s ms to the origin", plain(*d.ClientEdge), plain(*d.ClientOrigin))
		figures, distance = "the figures are the median time to its first byte, and the round trips it waited for.", *d.ClientOrigin
	}
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">One bar for each protocol, directly and through the edge: connect, handshake, first byte, last byte.</desc>\n", html.EscapeString(title))
	b.WriteString(pictureStyle)
	fmt.Fprintf(&b, "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", pictureWidth-1, height-1)
	fmt.Fprintf(&b, "<text class=\"title\" x=\"20\" y=\"34\">%s</text>\n", html.EscapeString(title))
	var size int64
	if len(d.Rows) > 0 {
		size = d.Rows[0].Size
	}
	fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"54\">An object of %v; %s</text>\n", deploy.Size(size), figures)
	legend(&b)

	step := gridStep(distance, end)
	scale := float64(pictureWidth-pictureLeft-pictureRight) / max(end, step)
	at := func(ms float64) float64 { return pictureLeft + math.Round(ms*scale*10)/10 }
	var marks []float64
	for ms := 0.0; ms <= end+step/1000; ms += step {
		marks = append(marks, ms)
		fmt.Fprintf(&b, "<text class=\"faint middle\" x=\"%g\" y=\"%d\">%s</text>\n", at(ms), bottom+14, plain(ms))
	}
	fmt.Fprintf(&b, "<text class=\"faint end\" x=\"%d\" y=\"%d\">ms</text>\n", pictureWidth-20, bottom+14)
	fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"%d\">bench rtt, %s; %s</text>\n", bottom+36, html.EscapeString(d.Commit), html.EscapeString(d.Machine))

	y, group := pictureTop, ""
	for i, r := range rows {
		if r.group() != group {
			group = r.group()
			y += pictureHeader
			fmt.Fprintf(&b, "<text class=\"group\" x=\"20\" y=\"%d\">%s</text>\n", y-10, groupWords[group])
			n := 1
			for i+n < len(rows) && rows[i+n].group() == group {
				n++
			}
			for _, ms := range marks {
				fmt.Fprintf(&b, "<line class=\"grid\" x1=\"%g\" y1=\"%d\" x2=\"%[1]g\" y2=\"%[3]d\"/>\n", at(ms), y-4, y+n*pictureRow-4)
			}
		}
		fmt.Fprintf(&b, "<text x=\"20\" y=\"%d\">%s</text>\n", y+pictureBar-2, protocolWords[r.Protocol])
		r.bar(&b, at, y)
		y += pictureRow
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// group is what rows have in common that differ in their protocol alone.
func (r rttRow) group() string { return r.Path + " " + r.Cache }

// bar draws the phases of a row, and its figure behind them.
func (r rttRow) bar(b *bytes.Buffer, at func(float64) float64, y int) {
	from := 0.0
	for _, phase := range []struct {
		class string
		until *float64
	}{{"connect", r.Connect}, {"handshake", r.Handshake}, {"wait", r.First}, {"body", r.Last}} {
		if phase.until == nil {
			continue
		}
		// A phase that is too short to see (the rest of a small object) is left out, so that it hides no other.
		if width := at(*phase.until) - at(from); width >= 0.5 {
			fmt.Fprintf(b, "<rect class=\"%s\" x=\"%g\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", phase.class, at(from), y, width, pictureBar)
		}
		from = *phase.until
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
	fmt.Fprintf(b, "<text class=\"faint\" x=\"%g\" y=\"%d\">%s</text>\n", at(*r.Last)+6, y+pictureBar-2, figure)
}

// legend names the colours.
func legend(b *bytes.Buffer) {
	x := 20
	for _, e := range []struct {
		class, word string
		width       int
	}{{"connect", "connect (TCP)", 130}, {"handshake", "handshake (TLS, QUIC)", 190}, {"wait", "request to first byte", 180}, {"body", "first to last byte", 0}} {
		fmt.Fprintf(b, "<rect class=\"%s\" x=\"%d\" y=\"70\" width=\"12\" height=\"12\"/><text x=\"%d\" y=\"81\">%s</text>\n", e.class, x, x+18, e.word)
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
