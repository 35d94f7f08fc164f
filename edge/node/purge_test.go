package node

import (
	"encoding/json"
	"strings"
	"testing"
)

// What was not measured is not told, and a nought that was is.
func TestPurgeDocument(t *testing.T) {
	for _, c := range []struct {
		pop  PoPPurge
		want string
	}{
		{PoPPurge{PoP: "fra", State: "done", MS: 4, Sequence: 2}, `"pops":[{"pop":"fra","state":"done","ms":4,"objects":0,"fills":0,"sequence":2}],"complete":true,"p50_ms":4,"p99_ms":4}`},
		{PoPPurge{PoP: "fra", State: "done"}, `"pops":[{"pop":"fra","state":"done","objects":0,"fills":0}],"complete":true}`},
		{PoPPurge{PoP: "fra", State: "away", Error: "x"}, `"pops":[{"pop":"fra","state":"away","error":"x"}],"complete":false}`},
	} {
		is, err := json.Marshal(Join(PurgeCall{Kind: "all"}, []PoPPurge{c.pop}))
		if err != nil || string(is) != `{"kind":"all","value":"","soft":false,`+c.want {
			t.Errorf("%s, %v", is, err)
		}
		var back Purge
		if err := json.Unmarshal(is, &back); err != nil || len(back.PoPs) != 1 || back.PoPs[0] != c.pop {
			t.Errorf("%+v, %v", back, err)
		}
	}
	many, err := json.Marshal(PoPPurge{PoP: "fra", State: "done", Objects: 3, Fills: 1})
	if err != nil || !strings.Contains(string(many), `"objects":3,"fills":1`) {
		t.Errorf("%s, %v", many, err)
	}
}

// The document tells how long the PoPs took that have done it, and is complete only where all have.
func TestJoin(t *testing.T) {
	done := func(ms float64) PoPPurge { return PoPPurge{State: "done", MS: ms} }
	hundred := make([]PoPPurge, 100)
	for i := range hundred {
		hundred[i] = done(float64(100 - i))
	}
	for _, c := range []struct {
		pops     []PoPPurge
		complete bool
		p50, p99 float64
	}{
		{nil, false, 0, 0},
		{[]PoPPurge{done(4)}, true, 4, 4},
		{[]PoPPurge{done(9), done(1)}, true, 1, 9},
		{[]PoPPurge{done(3), done(2), done(1)}, true, 2, 3},
		{hundred, true, 50, 99},
		{[]PoPPurge{done(5), {State: "away", MS: 100}}, false, 5, 5},
		{[]PoPPurge{{State: "failed"}}, false, 0, 0},
		{[]PoPPurge{done(5), done(0), done(0)}, true, 5, 5},
	} {
		if p := Join(PurgeCall{Kind: "all"}, c.pops); p.Complete != c.complete || p.P50 != c.p50 || p.P99 != c.p99 || p.Kind != "all" {
			t.Errorf("%d pops: %v %v %v, want %+v", len(c.pops), p.Complete, p.P50, p.P99, c)
		}
	}
}
