package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet/control"
)

// TestNodesTable shows what nodes run, and what they are to run where that is another.
func TestNodesTable(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		line control.NodeLine
		want string
	}{
		{control.NodeLine{Revision: 2, Target: 2, Runs: true, Seen: now}, "2"},
		{control.NodeLine{Revision: 1, Target: 2, Seen: now}, "1 (not 2)"},
		{control.NodeLine{Target: 2, Seen: now}, "- (not 2)"},
		{control.NodeLine{Target: 2}, "-"},              // it never reported
		{control.NodeLine{Revision: 3, Seen: now}, "3"}, // no target is known
		{control.NodeLine{Runs: true, Target: 2, Seen: now}, "0"},
	} {
		c.line.Node, c.line.State, c.line.Named = "edge-fra", "ready", true
		var out strings.Builder
		printNodes(&out, control.NodesDoc{Nodes: []control.NodeLine{c.line}}, now)
		_, row, _ := strings.Cut(out.String(), "\n")
		if got := regexp.MustCompile(`  +`).Split(row, -1)[2]; got != c.want {
			t.Errorf("%+v: %q, wanted %q", c.line, got, c.want)
		}
	}
}
