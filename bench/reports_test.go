package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"hither/bench/reports"
)

func TestReportsDocument(t *testing.T) {
	pair := func(with, without time.Duration) reports.Pair {
		return reports.Pair{Reports: reports.Spent{CPU: with, Answered: 5000, Busy: 0.98}, Alone: reports.Spent{CPU: without, Answered: 5010, Busy: 0.99}}
	}
	r := &reports.Result{Idle: reports.Idle{Reports: 0.0061, Alone: 0.0023}, Options: reports.Options{Pairs: 2, For: 5 * time.Second}, Pairs: map[string][]reports.Pair{
		"hits":       {pair(90400, 90000), pair(90100, 90000)},
		"handshakes": {pair(870000, 850000), pair(880000, 870000)},
	}, Shares: map[string]reports.Share{
		"hits": {Samples: 4000, Reports: 20, Collector: 300, Allocated: 0.02}, "handshakes": {Samples: 4000, Reports: 39, Collector: 500, Allocated: 0.01},
	}}
	d := newReportsDocument(r)
	d.Commit, d.Machine = "0123456789ab", "A <Processor>, 2 cores, Linux 6.1"
	var out, indented bytes.Buffer
	if err := d.print("json", &out); !errors.Is(err, errDoesNotHold) {
		t.Errorf("reports cost too much, and print says %v", err)
	}
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-reports.json", indented.Bytes())
	out.Reset()
	d.print("table", &out)
	golden(t, "bench-reports.txt", out.Bytes())
	r.Pairs["handshakes"], r.Shares["handshakes"] = r.Pairs["hits"], r.Shares["hits"]
	if err := newReportsDocument(r).print("table", &out); err != nil {
		t.Errorf("everything holds, and print says %v", err)
	}
	if _, err := json.Marshal(newReportsDocument(&reports.Result{})); err != nil {
		t.Error(err)
	}
}

func TestReportsOptions(t *testing.T) {
	fit := reportsOptions{Options: reports.Options{Pairs: 6, For: time.Second, Idle: time.Second, Profile: time.Second}, net: "127.90", alone: "127.91"}
	for _, spoil := range []func(*reportsOptions){
		func(o *reportsOptions) { o.Pairs = 5 },
		func(o *reportsOptions) { o.For = time.Millisecond },
		func(o *reportsOptions) { o.Idle = 0 },
		func(o *reportsOptions) { o.Profile = 0 },
		func(o *reportsOptions) { o.alone = o.net },
		func(o *reportsOptions) { o.hither = "/nowhere" },
	} {
		o := fit
		spoil(&o)
		if err := o.check(); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
