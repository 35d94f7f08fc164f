package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"hither/bench/load"
)

// The picture's measures, in pixels.
const (
	curveWidth  = 960
	curveHeight = 520
	curveLeft   = 76
	curveRight  = 740 // where shares end; their names stand right of it
	curveTop    = 76
	curveBottom = 410
	curveLabel  = 18 // from one name to the next
)

// curveStyle is that of both schemes, with hues that people with any colour vision tell apart (Okabe and Ito).
const curveStyle = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.faint { fill: #59636e; font-size: 12px }
.end { text-anchor: end }
.middle { text-anchor: middle }
.ground { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0 }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round }
.service.dashed { stroke-dasharray: 5 4 }
.h1 { stroke: #d55e00 } .h2 { stroke: #0072b2 } .h3 { stroke: #009e73 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.ground { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #30363d }
.h1 { stroke: #f0883e } .h2 { stroke: #58a6e0 } .h3 { stroke: #2fbf94 }
}
</style>
`

// A curve is one line of the picture.
type curve struct {
	protocol, what string
	dashed         bool
	times          *loadTimes
	label          float64 // where its name stands
}

// curves are those that there is something to draw of: in an open loop responses are what clients wait for, and service is beside.
func (d *loadDocument) curves() (all []curve) {
	for _, r := range d.Rows {
		if r.Response != nil {
			all = append(all, curve{protocol: r.Protocol, what: "response", times: r.Response})
		}
		if r.Service != nil {
			all = append(all, curve{protocol: r.Protocol, what: "service", times: r.Service, dashed: d.Loop == "open"})
		}
	}
	return all
}

// picture draws how long answers took: for each share of them the time that it did not exceed. The axis of shares widens towards
// the slowest, a tenth of what is left at a time, as those are what a page with many parts waits for.
func (d *loadDocument) picture() []byte {
	all := d.curves()
	low, high, nines := math.Inf(1), math.Inf(-1), 1.0
	for _, c := range all {
		low, high = min(low, milli(c.times.histogram.ValueAtQuantile(0))), max(high, c.times.Max)
		nines = max(nines, math.Log10(float64(c.times.Samples)))
	}
	if len(all) == 0 {
		low, high = 1, 10
	}
	y := newLogAxis(low, high)
	x := func(u float64) float64 { return curveLeft + (curveRight-curveLeft)*u/nines }

	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%[1]d\" height=\"%[2]d\" role=\"img\" aria-labelledby=\"title desc\">\n", curveWidth, curveHeight)
	title := "Latency of " + shorten(d.URL, 80)
	if d.URLs > 1 {
		title = fmt.Sprintf("Latency of %d URLs of %s", d.URLs, shorten(d.URL, 60))
	}
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">A curve for each protocol: the time that a share of its answers did not exceed.</desc>\n", html.EscapeString(title))
	b.WriteString(curveStyle)
	fmt.Fprintf(&b, "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", curveWidth-1, curveHeight-1)
	fmt.Fprintf(&b, "<text class=\"title\" x=\"20\" y=\"34\">%s</text>\n", html.EscapeString(title))
	manner, _, _ := strings.Cut(d.manner(), ". ")
	fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"54\">%s</text>\n", html.EscapeString(manner))

	for _, v := range y.marks() {
		at := y.at(v)
		fmt.Fprintf(&b, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/><text class=\"faint end\" x=\"%d\" y=\"%.1f\">%s</text>\n",
			curveLeft, at, curveRight, at, curveLeft-8, at+4, duration(v))
	}
	for _, mark := range shareMarks(nines) {
		fmt.Fprintf(&b, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/><text class=\"faint middle\" x=\"%.1f\" y=\"%d\">%s %%</text>\n",
			x(mark.nines), curveTop, x(mark.nines), curveBottom, x(mark.nines), curveBottom+18, mark.text)
	}
	fmt.Fprintf(&b, "<text class=\"faint middle\" x=\"%d\" y=\"%d\">share of answers that took at most so long</text>\n", (curveLeft+curveRight)/2, curveBottom+38)
	for _, c := range all {
		fmt.Fprintf(&b, "<path class=\"%s\" d=\"%s\"/>\n", c.class(), c.path(x, y))
	}
	d.nameCurves(&b, all, y)
	for i, lost := range d.leftOut() {
		fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"%d\">%s</text>\n", curveBottom+60+18*i, html.EscapeString(lost))
	}
	fmt.Fprintf(&b, "<text class=\"faint\" x=\"20\" y=\"%d\">bench load, %s; %s</text>\n</svg>\n", curveHeight-14, html.EscapeString(d.Commit), html.EscapeString(d.Machine))
	return b.Bytes()
}

func (c curve) class() string {
	if c.dashed {
		return "curve " + c.protocol + " " + c.what + " dashed"
	}
	return "curve " + c.protocol + " " + c.what
}

// path is the curve in the language of SVG, two pixels a step.
func (c curve) path(x func(float64) float64, y logAxis) string {
	var b strings.Builder
	end := math.Log10(float64(c.times.Samples))
	steps := max(int((x(end)-x(0))/2), 1)
	fmt.Fprintf(&b, "M%.1f %.1f", x(0), y.at(milli(c.times.histogram.ValueAtQuantile(0))))
	for i := 1; i < steps; i++ {
		u := end * float64(i) / float64(steps)
		fmt.Fprintf(&b, "L%.1f %.1f", x(u), y.at(valueAt(c.times.histogram, u)))
	}
	fmt.Fprintf(&b, "L%.1f %.1f", x(end), y.at(c.times.Max))
	return b.String()
}

// valueAt is the time that all but a share of 10^-nines took at most, in milliseconds.
func valueAt(h *hdrhistogram.Histogram, nines float64) float64 {
	return milli(h.ValueAtQuantile(100 * (1 - math.Pow(10, -nines))))
}

func milli(ns int64) float64 { return max(float64(ns)/1e6, 0.001) }

// nameCurves writes the curves' names at their ends, as far from each other as can be read.
func (d *loadDocument) nameCurves(b *bytes.Buffer, all []curve, y logAxis) {
	for i := range all {
		all[i].label = y.at(all[i].times.Max)
	}
	slices.SortStableFunc(all, func(a, b curve) int { return int(math.Copysign(1, a.label-b.label)) })
	for i := 1; i < len(all); i++ {
		all[i].label = max(all[i].label, all[i-1].label+curveLabel)
	}
	if n := len(all); n > 0 {
		all[n-1].label = min(all[n-1].label, curveBottom)
	}
	for i := len(all) - 2; i >= 0; i-- {
		all[i].label = min(all[i].label, all[i+1].label-curveLabel)
	}
	for _, c := range all {
		fmt.Fprintf(b, "<path class=\"%s\" d=\"M%d %.1fh24\"/><text x=\"%d\" y=\"%.1f\">%s %s, to %s</text>\n",
			c.class(), curveRight+10, c.label, curveRight+40, c.label+4, c.protocol, c.what, duration(c.times.Max))
	}
}

// leftOut says, in lines, what the curves do not show.
func (d *loadDocument) leftOut() (lines []string) {
	var failed, unsent []string
	for _, r := range d.Rows {
		var n int64
		for kind, k := range r.Errors {
			if kind != string(load.ErrTimeout) {
				n += k
			}
		}
		if n > 0 {
			failed = append(failed, fmt.Sprintf("%s %d of %d", r.Protocol, n, r.Requests))
		}
		if r.Unsent != nil && *r.Unsent > 0 {
			unsent = append(unsent, fmt.Sprintf("%s %d of %d", r.Protocol, *r.Unsent, r.Requests))
		}
	}
	if failed != nil {
		lines = append(lines, "Failed, and not shown: "+strings.Join(failed, ", "))
	}
	if unsent != nil {
		lines = append(lines, "Never sent, and shown with the time they had waited: "+strings.Join(unsent, ", "))
	}
	return lines
}

// A shareMark is a share on the axis, and how many nines it is.
type shareMark struct {
	nines float64
	text  string
}

// shareMarks are 0, 50, 90, 99, 99.9 and so on, as far as there are samples for.
func shareMarks(nines float64) []shareMark {
	all := []shareMark{{0, "0"}, {math.Log10(2), "50"}, {1, "90"}}
	for n := 2; float64(n) <= nines; n++ {
		text := "99"
		if n > 2 {
			text += "." + strings.Repeat("9", n-2)
		}
		all = append(all, shareMark{float64(n), text})
	}
	return all
}

// A logAxis has equal factors at equal distances.
type logAxis struct{ low, high float64 }

// newLogAxis goes from a round figure below to one above; from a power of ten to another, if it is long.
func newLogAxis(low, high float64) logAxis {
	a := logAxis{roundFigure(low, false), roundFigure(max(high, low*1.01), true)}
	if a.decades() {
		a.low, a.high = math.Pow(10, math.Floor(math.Log10(a.low)+1e-9)), math.Pow(10, math.Ceil(math.Log10(a.high)-1e-9))
	}
	return a
}

// decades reports whether it is too long for marks between powers of ten.
func (a logAxis) decades() bool { return a.high/a.low > 2e4 }

// roundFigure is the next of 1, 2, 5, 10 ... above or below.
func roundFigure(v float64, up bool) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)+1e-9))
	best := decade
	for _, f := range []float64{1, 2, 5, 10} {
		if up && decade*f >= v*(1-1e-9) {
			return decade * f
		}
		if decade*f <= v*(1+1e-9) {
			best = decade * f
		}
	}
	return best
}

func (a logAxis) at(v float64) float64 {
	share := (math.Log(min(max(v, a.low), a.high)) - math.Log(a.low)) / (math.Log(a.high) - math.Log(a.low))
	return curveBottom - share*(curveBottom-curveTop)
}

// marks are the round figures on it, or as many of them as leave room.
func (a logAxis) marks() (all []float64) {
	factors := []float64{1, 2, 5}
	if a.decades() {
		factors = factors[:1]
	}
	for decade := math.Pow(10, math.Floor(math.Log10(a.low)+1e-9)); decade <= a.high*1.01; decade *= 10 {
		for _, f := range factors {
			if v := decade * f; v >= a.low*0.99 && v <= a.high*1.01 {
				all = append(all, v)
			}
		}
	}
	return all
}

// duration writes milliseconds in the unit that people read them in.
func duration(ms float64) string {
	switch {
	case ms >= 1000:
		return short3(ms/1000) + " s"
	case ms >= 1:
		return short3(ms) + " ms"
	}
	return short3(ms*1000) + " µs"
}

func short3(v float64) string { return fmt.Sprintf("%.3g", v) }

// shorten keeps the beginning of what is too long for a line.
func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
