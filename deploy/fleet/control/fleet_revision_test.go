package control_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// TestFleetRevision: a revision reaches every edge, one that is bad the canary alone, whether the canary refuses it or answers errors with
// it. With HITHER_SOAK there are two hundred edges, and it is there within two seconds.
func TestFleetRevision(t *testing.T) {
	edges := 20
	if soaks() {
		edges = 200
	}
	c := newCrowd(t, edges)
	var reached atomic.Int64 // edges that were given a file that is bad
	bad := func(file []byte) bool { return bytes.HasPrefix(file, []byte("# bad")) }
	for _, e := range c.edges {
		var requests, failed atomic.Int64
		e.report = func(r *bus.Report) {
			if requests.Add(1000); bad(e.running.Load().file) {
				failed.Add(500)
			}
			r.Requests, r.Errors = requests.Load(), failed.Load()
		}
		e.take = func(file []byte) error {
			if bad(file) {
				reached.Add(1)
			}
			if bytes.HasPrefix(file, []byte("# bad: refused")) {
				return errors.New("it names a certificate that is not here")
			}
			return nil
		}
	}
	c.begin()
	c.until("the control has heard all edges", func() bool {
		var doc control.NodesDoc
		ready := 0
		if c.try("nodes", nil, &doc) == nil {
			for _, n := range doc.Nodes {
				if n.State == "ready" {
					ready++
				}
			}
		}
		return ready >= edges
	})
	run := func(file []byte) (n int) {
		for _, e := range c.edges {
			if bytes.Equal(e.running.Load().file, file) {
				n++
			}
		}
		return n
	}
	phase := func() (doc control.RolloutDoc) {
		if err := c.try("rollout", nil, &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	good := c.file("good")
	began := time.Now()
	if err := c.try("apply", control.ApplyCall{How: control.How{Now: true}, File: good}, nil); err != nil {
		t.Fatal(err)
	}
	c.until("every edge runs the revision", func() bool { return run(good) == edges })
	took := time.Since(began)
	t.Logf("%d edges run a revision of %d KiB %v after it was given; load %s", edges, len(good)>>10, took.Round(time.Millisecond), machineLoad())
	if soaks() && took > 2*time.Second {
		t.Errorf("it took %v, and 2 s are meant", took)
	}
	for _, comment := range []string{"bad: refused", "bad: answers errors"} {
		reached.Store(0)
		c.until("the one before is done", func() bool { return phase().Phase == "done" })
		if err := c.try("apply", control.ApplyCall{File: c.file(comment)}, nil); err != nil {
			t.Fatal(err)
		}
		c.until("a canary has it", func() bool { return reached.Load() > 0 })
		c.until("it has gone back", func() bool { return phase().Phase == "done" && run(good) == edges })
		if n := reached.Load(); n != 1 {
			t.Errorf("%s: it reached %d edges", comment, n)
		}
		if doc := phase(); doc.Outcome == "stable" {
			t.Errorf("%s: it became %s", comment, doc.Outcome)
		}
	}
}
