package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"hither/bench/steer"
)

func TestSteerDocument(t *testing.T) {
	r := &steer.Result{
		Options: steer.Options{Clients: 100, Every: 2500 * time.Millisecond},
		Far:     &steer.Far{Counts: steer.Counts{First: 100, Elsewhere: 100, Moves: 102, Explored: 1, Visits: 2000}, Lost: 17300 * time.Millisecond},
		Load: &steer.Load{
			Counts:   steer.Counts{First: 100, Stayed: 59, Elsewhere: 41, Moves: 43, Backs: 1, Visits: 9000, Failed: 1, Because: errors.New("steer: nobody answers")},
			Capacity: 28, Most: 1.4321, Settled: 95 * time.Second, Kept: 0.8456, Late: 2,
		},
	}
	d := newSteerDocument(r)
	d.Commit, d.Machine = "0123456789ab", "A <Processor>, 2 cores, Linux 6.1"
	var out, indented bytes.Buffer
	if err := d.print("json", &out); !errors.Is(err, errDoesNotHold) {
		t.Errorf("clients flap, and print says %v", err)
	}
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-steer.json", indented.Bytes())
	out.Reset()
	d.print("table", &out)
	golden(t, "bench-steer.txt", out.Bytes())
	r.Load = nil
	if err := newSteerDocument(r).print("table", &out); err != nil {
		t.Errorf("everything holds, and print says %v", err)
	}
}

func TestSteerOptions(t *testing.T) {
	fit := steer.Options{Clients: 100, Every: time.Second, Keep: time.Minute}
	for _, spoil := range []func(*steer.Options){
		func(o *steer.Options) { o.Clients = 9 },
		func(o *steer.Options) { o.Clients = 257 },
		func(o *steer.Options) { o.Every = time.Millisecond },
		func(o *steer.Options) { o.Every = 6 * time.Second },
		func(o *steer.Options) { o.Keep = 0 },
		func(o *steer.Options) { o.Only = "near" },
		func(o *steer.Options) { o.Program = "/nowhere" },
	} {
		o := steerOptions{Options: fit}
		spoil(&o.Options)
		if err := o.check(); err == nil {
			t.Errorf("%+v is taken", o.Options)
		}
	}
}
