package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/bench/far"
)

// filled is a result in which one answer alone does not fill the line.
func filled() *far.Result {
	const ms = time.Millisecond
	r := &far.Result{
		Options: far.Options{
			ClientEdge: 10 * ms, EdgeOrigin: 200 * ms, Rate: 200e6, Loss: 0.001, Seed: 1, Connections: 4, Size: 100 << 20,
		},
		Congestion: "bbr",
		Strangers:  far.Strangers{Requests: 3, First: []time.Duration{231 * ms, 233 * ms, 235*ms + 123456}},
		Flow:       []far.Transfer{{Bytes: 100 << 20, Took: 6 * time.Second}},
		One:        []far.Transfer{{Bytes: 100 << 20, Took: 12 * time.Second}},
	}
	for i := range int64(4) {
		r.Parallel = append(r.Parallel, far.Transfer{Bytes: (100 - i) << 20, Took: 20 * time.Second})
		r.Lossy = append(r.Lossy, far.Transfer{Bytes: (90 + i) << 20, Took: 25 * time.Second})
	}
	return r
}

func TestFarDocument(t *testing.T) {
	d := newFarDocument(filled())
	d.Commit, d.Machine = "0123456789ab", "A <Processor>, 2 cores, Linux 6.1"
	var out, indented bytes.Buffer
	if err := d.print("json", &out); !errors.Is(err, errDoesNotHold) {
		t.Errorf("one answer is slow, and print says %v", err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"schema":"hither/bench-far/1","commit":`)) {
		t.Errorf("begins with %.60s", out.Bytes())
	}
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench-far.json", indented.Bytes())
	out.Reset()
	d.print("table", &out)
	golden(t, "bench-far.txt", out.Bytes())

	quick := filled()
	quick.One[0].Took = 6 * time.Second
	if err := newFarDocument(quick).print("table", &out); err != nil {
		t.Errorf("everything holds, and print says %v", err)
	}
	// What was not measured is no number that JSON has not.
	if _, err := json.Marshal(newFarDocument(&far.Result{})); err != nil {
		t.Error(err)
	}
}

// A call of `bench far` that is wrong is told in one line before anything is made.
func TestFarCalls(t *testing.T) {
	program := filepath.Join(t.TempDir(), "hither")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]string{
		"--edge-origin 11s":      "from 0s to 10s",
		"--client-edge -1ms":     "from 0s to 10s",
		"--rate 0":               "--rate 0: want 1 to 10000 Mbit/s",
		"--rate NaN":             "--rate NaN: want",
		"--loss 0.3":             "--loss 0.3: want a share",
		"--requests 0":           "--requests 0: want 1 to",
		"--clients 1001":         "--clients 1001: want 1 to 1000",
		"--samples 0":            "--samples 0: want",
		"--parallel 17":          "--parallel 17: want 1 to 16",
		"--connections 0":        "--connections 0: want",
		"--size 1KiB":            "--size 1KiB: want 2KiB to 1GiB",
		"--size large":           "--size",
		"--hither /nowhere/else": "`make build` makes it",
		"more":                   "more",
	} {
		if !strings.Contains(call, "--hither") {
			call += " --hither " + program
		}
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields("far "+call), &stdout, &stderr)
		if status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("bench far %s: status %d, %q", call, status, &stderr)
		}
	}
}
