package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/ops"
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

// Without the hub a PoP's node is told to end where another serves on: one whose node, here, says that it is ready, and that DNS would name. --force does it all the same.
func TestDrainBySocket(t *testing.T) {
	for _, c := range []struct {
		what   string
		iad    ops.State // Down = it does not answer
		weight int       // of iad
		file   bool      // there is a network file
		force  bool
		status int
		says   string
	}{
		{"another is ready", ops.Ready, 1, true, false, 0, ""},
		{"the other drains", ops.Draining, 1, true, false, exitWrong, "is the last that serves site www"},
		{"the other does not answer", ops.Down, 1, true, false, exitWrong, "is the last that serves site www"},
		{"the other is in no answer", ops.Ready, 0, true, false, exitWrong, "is the last that serves site www"},
		{"nobody knows whether there are others", ops.Ready, 1, false, false, exitWrong, "which PoPs there are is not known"},
		{"forced", ops.Down, 1, true, true, 0, ""},
		{"forced, and nobody knows", ops.Ready, 1, false, true, 0, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			if c.file {
				file := bytes.Replace(networkOf("fra", "iad"), []byte("{name: iad, "), fmt.Appendf(nil, "{name: iad, weight: %d, ", c.weight), 1)
				if err := os.WriteFile(filepath.Join(dir, "network.yaml"), file, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var told atomic.Int32
			up := upState{Schema: "hither/up/1"}
			for pop, state := range map[string]ops.State{"fra": ops.Ready, "iad": c.iad} {
				folder := filepath.Join(dir, "nodes", "edge-"+pop)
				if err := os.MkdirAll(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				up.Nodes = append(up.Nodes, upChild{Node: "edge-" + pop, Socket: filepath.Join(folder, ops.SocketName)})
				if state == ops.Down {
					continue
				}
				a := ops.NewAdmin()
				doc := ops.Status{Nodes: []ops.NodeStatus{{Node: "edge-" + pop, Role: "edge", PoP: pop, State: state}}}
				a.Handle("GET /v1/status", says("status", doc, nil))
				a.Handle("POST /v1/drain", func(*http.Request) (string, any, error) {
					told.Add(1)
					return "status", doc, nil
				})
				if err := a.Open(folder); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { a.Close(context.Background()) })
			}
			if err := writeJSON(filepath.Join(dir, "up.json"), up); err != nil {
				t.Fatal(err)
			}
			var stderr strings.Builder
			err := drainBySocket(t.Context(), dir, control.DrainCall{PoP: "fra", Stop: true, Force: c.force}, bus.ErrAway, &stderr)
			switch exit := (*exitError)(nil); {
			case c.status == 0:
				if err != nil || told.Load() != 1 {
					t.Errorf("told %d times, %v", told.Load(), err)
				}
			case !errors.As(err, &exit) || exit.status != c.status || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "--force") || told.Load() != 0:
				t.Errorf("told %d times, %v", told.Load(), err)
			}
		})
	}
}
