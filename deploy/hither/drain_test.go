package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hither/deploy/fleet/control"
)

// A drainEdge answers as the control does, one document after the other.
type drainEdge struct {
	docs  []control.DrainDoc
	verbs []string
	calls []control.DrainCall
}

func (d *drainEdge) ask(_ context.Context, verb string, in, out any) error {
	d.verbs, d.calls = append(d.verbs, verb), append(d.calls, in.(control.DrainCall))
	data, err := json.Marshal(d.docs[min(len(d.verbs)-1, len(d.docs)-1)])
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

// How far a drain has come is shown until it is done; whoever interrupts the command is told that the drain stands.
func TestDrainPop(t *testing.T) {
	d := &drainEdge{docs: []control.DrainDoc{{PoP: "fra", State: "telling", Why: "ns1"}, {PoP: "fra", State: "done", Why: "its node has ended", Done: true}}}
	var out strings.Builder
	call := control.DrainCall{PoP: "fra", Stop: true}
	if err := drainPop(t.Context(), d, call, "", &out); err != nil || !slices.Equal(d.verbs, []string{"drain", "drain-status"}) || d.calls[0] != call {
		t.Errorf("%v, %v, %v", err, d.verbs, d.calls)
	}
	if out.String() != "fra telling: ns1\nfra done: its node has ended\n" {
		t.Errorf("%q", &out)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if err := drainPop(gone, &drainEdge{docs: d.docs[:1]}, call, "", &out); err == nil || !strings.Contains(err.Error(), "hither drain pop fra --undo") {
		t.Errorf("interrupted: %v", err)
	}
	u := &drainEdge{docs: []control.DrainDoc{{PoP: "fra", State: "none"}}}
	if err := drainPop(t.Context(), u, control.DrainCall{PoP: "fra", Undo: true}, "json", &out); err != nil || len(u.verbs) != 1 || !strings.Contains(out.String(), `"hither/drain/1"`) {
		t.Errorf("undone: %v, %v, %s", err, u.verbs, &out)
	}
}
