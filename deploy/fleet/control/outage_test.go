package control_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/ops"
)

// A controlWay is the control's way to the hub, which a test cuts.
type controlWay struct {
	to   nats.InProcessConnProvider
	conn *bus.Conn // the control's

	mu  sync.Mutex // guards what follows
	cut bool
	all []net.Conn
}

func (w *controlWay) InProcessConn() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil, errors.New("the way is cut")
	}
	c, err := w.to.InProcessConn()
	if err == nil {
		w.all = append(w.all, c)
	}
	return c, err
}

// set cuts the way, or makes it good.
func (w *controlWay) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut = cut; cut {
		for _, c := range w.all {
			c.Close()
		}
		w.all = nil
	}
}

// outage has the control be without the hub for a time, in which it hears of nobody.
func (s *stage) outage(d time.Duration) {
	s.t.Helper()
	s.way.set(true)
	until(s.t, "the control is without the hub", func() bool { return !s.way.conn.Connected() })
	s.mu.Lock()
	s.clock = s.clock.Add(d)
	s.mu.Unlock()
	s.way.set(false)
	until(s.t, "the control is back", func() bool {
		_, _, status := s.ask("rollout", nil)
		return status == http.StatusOK
	})
}

// After an outage nodes have as long to be back as the bus gives itself: nobody is down for not being there at once, and a PoP that is on its
// way takes clients. One that was away before the outage is away after it.
func TestStatusAfterOutage(t *testing.T) {
	s := newStage(t)
	s.all()
	s.actor("edge-sin").dead = true
	for range 20 {
		s.pass(2 * time.Second)
	}
	until(t, "the control notes the outage", func() bool { // where the hub was not away for long enough it is none
		s.outage(5 * time.Minute)
		got := s.states()
		return got["edge-sin"] == ops.Down && got["edge-fra"] == ops.Unknown && got["edge-iad"] == ops.Unknown && got["dns-ns1"] == ops.Unknown
	})
	if doc := s.drain("drain", control.DrainCall{PoP: "fra"}); doc.State != "telling" {
		t.Errorf("it is not the last that takes clients: %+v", doc)
	}
	s.drain("drain", control.DrainCall{PoP: "fra", Undo: true})
	answers := make(chan string, 1)
	go func() {
		doc, fault, status := s.ask("apply", control.ApplyCall{File: stageFile("two")})
		answers <- fmt.Sprint(status, " ", fault, doc.Canary)
	}()
	for _, a := range s.actors {
		a.dead = a.dead || a.conn.Peer().Name == "iad"
	}
	for range 8 {
		s.pass(2 * time.Second)
	}
	select {
	case got := <-answers:
		t.Fatalf("not all have reported yet: %s", got)
	default:
	}
	s.actor("edge-iad").dead = false
	s.pass(2 * time.Second)
	if got := <-answers; got != "200 edge-fra" && got != "200 edge-iad" {
		t.Errorf("all have reported: %s", got)
	}
	s.phase("done")
	s.actor("edge-iad").dead = true
	for range 20 {
		s.pass(2 * time.Second)
	}
	if got := s.states(); got["edge-iad"] != ops.Down || got["edge-fra"] != ops.Ready {
		t.Errorf("later: %v", got)
	}
	if fault, status := s.request("drain", control.DrainCall{PoP: "fra"}, new(control.DrainDoc)); status != http.StatusConflict {
		t.Errorf("the last one: %d %s", status, fault)
	}
}

// TestRolloutAfterOutage: a canary that needs its time to be back, after an outage of the hub or a start of the control, is no reason to go back; one that
// does not come is.
func TestRolloutAfterOutage(t *testing.T) {
	s := newStage(t)
	s.all()
	fra := s.actor("edge-fra")
	for i, away := range []func(){func() { s.outage(time.Minute) }, s.lead} {
		s.apply(stageFile(fmt.Sprint("good ", i)), control.How{Canary: "fra"})
		s.phase("watching")
		away()
		fra.dead = true
		for range 7 {
			s.pass(4 * time.Second)
		}
		if doc, _, _ := s.ask("rollout", nil); doc.Phase != "watching" || !strings.Contains(doc.Progress, "on its way back") {
			t.Fatalf("%d: without the canary: %+v", i, doc)
		}
		fra.dead = false
		s.pass(time.Second)
		began := s.now()
		doc := s.phase("everywhere")
		if took := s.now().Sub(began); doc.Outcome != "stable" || took < 28*time.Second {
			t.Errorf("%d: watched for %v: %+v", i, took, doc)
		}
		s.phase("done")
	}
	s.apply(stageFile("gone"), control.How{Canary: "fra"})
	s.phase("watching")
	s.outage(time.Minute)
	fra.dead = true
	if doc := s.phase("done"); doc.Outcome != "rolled back" || !strings.Contains(doc.Why, "not been heard of") {
		t.Errorf("it does not come back: %+v", doc)
	}
}

// A control that had to wait for the hub before it could run has heard nobody until then.
func TestLateControl(t *testing.T) {
	s := newStage(t)
	s.late = 5 * time.Minute
	s.lead()
	if got := s.states(); got["edge-fra"] != ops.Unknown {
		t.Errorf("%v", got)
	}
}
