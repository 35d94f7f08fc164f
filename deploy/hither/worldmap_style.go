package main

import (
	"fmt"
	"strings"
)

// palette is what can be told apart with any kind of colour vision (Okabe and Ito, without black), each darker or lighter where a ground
// asks for it. ink is what can be read on both.
var palette = []struct{ light, dark, ink string }{
	{"#0072b2", "#2b8fdb", "#fff"}, {"#d55e00", "#e8701a", "#fff"}, {"#009e73", "#12b287", "#fff"}, {"#cc79a7", "#d98ab6", "#111"},
	{"#e69f00", "#eea91a", "#111"}, {"#56b4e9", "#7cc8f5", "#111"}, {"#cdbe00", "#f0e442", "#111"},
}

// mapStyles is the style of the picture: f0 fills and s0 draws with the first colour of the palette.
func mapStyles() string {
	var b strings.Builder
	b.WriteString(mapStyle)
	for i, c := range palette {
		fmt.Fprintf(&b, ".f%d { fill: %s } .s%d { stroke: %s }\n", i, c.light, i, c.light)
	}
	b.WriteString(darkStyle)
	for i, c := range palette {
		fmt.Fprintf(&b, ".f%d { fill: %s } .s%d { stroke: %s }\n", i, c.dark, i, c.dark)
	}
	b.WriteString("}\n")
	return b.String()
}

// The ground is light, but for those who prefer it dark.
const (
	mapStyle = `
text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-size: 13px; fill: #1d2730 }
.title { font-size: 22px; font-weight: 600 }
.name { font-weight: 600 }
.quiet { fill: #5a6873 }
.small { font-size: 12px }
.code { font-size: 9.5px; font-weight: 600; text-anchor: middle; pointer-events: none }
.label { font-weight: 700; stroke: #fff; stroke-width: 3.5px; stroke-linejoin: round; paint-order: stroke }
.ground { fill: #fff }
.sea { fill: #eef3f7 }
.land { fill: #d3dae0; fill-rule: evenodd }
.grid { fill: none; stroke: #8fa0ad; stroke-opacity: .28; stroke-width: .6px }
.edge { fill: none; stroke: #b4c0c9 }
.way { fill: none; stroke-opacity: .38; stroke-width: .9px; stroke-linecap: round }
.country { fill-opacity: .93; stroke: #fff; stroke-width: .8px }
.halo { fill: #fff }
.pop { stroke-width: 2.5px }
.out { fill: #fff }
.none { fill: #7b8790 }
`
	darkStyle = `@media (prefers-color-scheme: dark) {
text { fill: #e8edf1 }
.quiet { fill: #9fadb8 }
.label { stroke: #10161c }
.ground { fill: #10161c }
.sea { fill: #18212a }
.land { fill: #35424e }
.grid { stroke: #a9bac7; stroke-opacity: .16 }
.edge { stroke: #3d4c58 }
.country { stroke: #10161c }
.halo, .out { fill: #10161c }
`
)
