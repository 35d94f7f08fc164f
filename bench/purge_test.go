package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"hither/bench/purge"
)

func TestPurgeDocument(t *testing.T) {
	const ms = time.Millisecond
	r := &purge.Result{Options: purge.Options{Distance: 200 * ms}, Purges: []purge.Purge{
		{Gone: []time.Duration{103 * ms, 104 * ms, 105*ms + 123456}, Receipt: 203 * ms, Told: purge.Told{"near": 201 * ms}},
		{Gone: []time.Duration{102 * ms, 104 * ms, 155 * ms}, Receipt: 255 * ms, Told: purge.Told{"near": 202 * ms}, Found: 1},
	}}
	d := newPurgeDocument(r)
	d.Commit, d.Machine = "0123456789ab", "A <Processor>, 2 cores, Linux 6.1"
	var out, indented bytes.Buffer
	if err := d.print("json", &out); !errors.Is(err, errDoesNotHold) {
		t.Errorf("one was found after its receipt, and print says %v", err)
	}
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-purge.json", indented.Bytes())
	out.Reset()
	d.print("table", &out)
	golden(t, "bench-purge.txt", out.Bytes())
	r.Purges = r.Purges[:1]
	if err := newPurgeDocument(r).print("table", &out); err != nil {
		t.Errorf("everything holds, and print says %v", err)
	}
	if _, err := json.Marshal(newPurgeDocument(&purge.Result{})); err != nil {
		t.Error(err)
	}
}

func TestPurgeOptions(t *testing.T) {
	for _, o := range []purgeOptions{
		{Options: purge.Options{Purges: 0}},
		{Options: purge.Options{Purges: 10001}},
		{Options: purge.Options{Purges: 1, Distance: -1}},
		{Options: purge.Options{Purges: 1, Distance: time.Minute}},
		{Options: purge.Options{Purges: 1, Program: "/nowhere"}},
	} {
		if err := o.check(); err == nil {
			t.Errorf("%+v is taken", o.Options)
		}
	}
}
