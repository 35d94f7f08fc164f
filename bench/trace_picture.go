package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"

	"hither/bench/trace"
)

// The measures of the picture, in pixels: two panels for each trace, one under the other.
const (
	tracePanel  = 400 // width of a panel
	traceGap    = 50  // between the two
	traceHeight = 200 // of a panel
	traceTop    = 100 // above the first panels
	traceBelow  = 84  // from one panel to the next below it
)

// traceStyle has the colours of policies in both schemes, of hues that people with any colour vision tell apart (Okabe and Ito).
const traceStyle = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.group { font-weight: 600 }
.faint { fill: #59636e; font-size: 12px }
.end { text-anchor: end }
.middle { text-anchor: middle }
.ground { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0 }
.line { fill: none; stroke-width: 1.5 }
.limited { stroke-dasharray: 3 3 }
.thick { stroke-width: 3.5 }
.fifo { stroke: #8c959f } .lru { stroke: #cc79a7 } .s3fifo { stroke: #e69f00 } .wtinylfu { stroke: #009e73 }
.hither { stroke: #0072b2 } .infinite { stroke: #59636e; stroke-width: 2; stroke-dasharray: 0 5; stroke-linecap: round }
circle { stroke: none }
.of-fifo { fill: #8c959f } .of-lru { fill: #cc79a7 } .of-s3fifo { fill: #e69f00 } .of-wtinylfu { fill: #009e73 } .of-hither { fill: #0072b2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.ground { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #3d444d }
.lru { stroke: #d98cb6 } .s3fifo { stroke: #d99a1c } .wtinylfu { stroke: #12a67d } .hither { stroke: #4a9fd0 } .infinite { stroke: #9198a1 }
.of-lru { fill: #d98cb6 } .of-s3fifo { fill: #d99a1c } .of-wtinylfu { fill: #12a67d } .of-hither { fill: #4a9fd0 }
}
</style>
`

// picture draws hit and byte hit ratio over the size, a line for each policy; where policies were replayed with several limits, with
// the least and the largest of them.
func (d *traceDocument) picture() []byte {
	height := traceTop + len(d.Traces)*(traceHeight+traceBelow)
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%[1]d\" height=\"%[2]d\" role=\"img\" aria-labelledby=\"title desc\">\n", pictureWidth, height)
	b.WriteString("<title id=\"title\">Hits of the store beside other policies</title>\n")
	b.WriteString("<desc id=\"desc\">For each trace, hit ratio and byte hit ratio over the size of the cache, a line for each policy.</desc>\n")
	b.WriteString(traceStyle)
	fmt.Fprintf(&b, "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", pictureWidth-1, height-1)
	b.WriteString("<text class=\"title\" x=\"20\" y=\"34\">Hits of the store beside other policies</text>\n")
	d.legend(&b)
	for i := range d.Traces {
		t := &d.Traces[i]
		top := traceTop + i*(traceHeight+traceBelow)
		for side, of := range []struct {
			word  string
			value func(traceRow) *float64
		}{
			{"hit ratio", func(r traceRow) *float64 { return r.HitRatio }},
			{"byte hit ratio", func(r traceRow) *float64 { return r.ByteHitRatio }},
		} {
			t.panel(&b, 56+side*(tracePanel+traceGap), top, of.word, of.value)
		}
	}
	fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"%d\">bench trace, %s</text>\n</svg>\n", height-14, html.EscapeString(d.Commit))
	return b.Bytes()
}

// legend names the lines.
func (d *traceDocument) legend(b *bytes.Buffer) {
	x := 20
	for _, name := range trace.Names {
		thick := ""
		if name == trace.Store {
			thick = " thick"
		}
		fmt.Fprintf(b, "<path class=\"line %s%s\" d=\"M%d 58h26\"/><text x=\"%d\" y=\"62\">%s</text>\n", name, thick, x, x+32, policyWords[name])
		x += 60 + 8*len(policyWords[name])
	}
	for _, t := range d.Traces {
		if limits := t.limits(); len(limits) > 1 {
			fmt.Fprintf(b, "<text class=\"faint\" x=\"%d\" y=\"62\">dashed: objects to %s of the size</text>\n", x, percent(limits[0]))
			return
		}
	}
}

// panel draws one ratio of a trace. Sizes are as far from each other as one is from the next, whatever they are.
func (t *traceTrace) panel(b *bytes.Buffer, left, top int, word string, value func(traceRow) *float64) {
	sizes := t.at()
	least, most := t.span(value)
	y := func(v float64) float64 {
		return float64(top) + math.Round((most-v)/(most-least)*traceHeight*10)/10
	}
	x := func(i int) float64 {
		return float64(left) + math.Round((float64(i)+0.5)*tracePanel/float64(max(len(sizes), 1))*10)/10
	}
	fmt.Fprintf(b, "<text class=\"group\" x=\"%d\" y=\"%d\">%s: %s</text>\n", left, top-12, html.EscapeString(t.name()), word)
	for v := least; v <= most+0.001; v += 0.1 {
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%d\" y1=\"%g\" x2=\"%d\" y2=\"%[2]g\"/><text class=\"faint end\" x=\"%[4]d\" y=\"%[5]g\">%.1[6]f</text>\n",
			left, y(v), left+tracePanel, left-8, y(v)+4, v)
	}
	for i, at := range sizes {
		text := at.sized()
		if at.Share != nil {
			text += " = " + decimal(*at.Size)
		}
		fmt.Fprintf(b, "<text class=\"faint middle\" x=\"%g\" y=\"%d\">%s</text>\n", x(i), top+traceHeight+18, text)
	}
	if r := t.row(trace.Infinite, "", 0); r != nil && value(*r) != nil {
		fmt.Fprintf(b, "<path class=\"line infinite\" d=\"M%d %gh%d\"/>\n", left, y(*value(*r)), tracePanel)
	}
	limits := t.limits()
	for l, limit := range limits {
		if l != 0 && l != len(limits)-1 {
			continue
		}
		for _, name := range t.policies() {
			class := name
			if l < len(limits)-1 {
				class += " limited"
			}
			if name != trace.Store {
				t.line(b, name, limit, class, 3, x, y, value)
			}
		}
	}
	t.line(b, trace.Store, trace.StoreLimit, trace.Store+" thick", 4.5, x, y, value) // on top of all others: it is what this is about
}

// line draws one policy's ratio over the sizes, if it was replayed at any.
func (t *traceTrace) line(b *bytes.Buffer, name string, limit float64, class string, radius float64, x func(int) float64, y func(float64) float64,
	value func(traceRow) *float64) {
	var path, dots strings.Builder
	for i, at := range t.at() {
		r := t.row(name, at.sized(), limit)
		if r == nil || value(*r) == nil || name == trace.Infinite {
			continue
		}
		move := "L"
		if path.Len() == 0 {
			move = "M"
		}
		fmt.Fprintf(&path, "%s%g %g", move, x(i), y(*value(*r)))
		fmt.Fprintf(&dots, "<circle class=\"of-%s\" cx=\"%g\" cy=\"%g\" r=\"%g\"/>", name, x(i), y(*value(*r)), radius)
	}
	if path.Len() > 0 {
		fmt.Fprintf(b, "<path class=\"line %s\" d=\"%s\"/>%s\n", class, &path, &dots)
	}
}

// span is what the axis goes over: tenths around all values of a panel.
func (t *traceTrace) span(value func(traceRow) *float64) (least, most float64) {
	least, most = 1, 0
	for _, r := range t.Rows {
		if v := value(r); v != nil {
			least, most = min(least, *v), max(most, *v)
		}
	}
	least, most = math.Floor(least*10)/10, math.Ceil(most*10)/10
	if least >= most {
		return 0, 1
	}
	return least, most
}
