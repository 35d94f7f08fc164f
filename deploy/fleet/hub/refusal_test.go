package hub_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// TestRefusal has a connection say why it is away: nobody is there, the hub refuses it, or it does not know who answers.
func TestRefusal(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	stop := w.gateway.OnRevoked(w.hub.Kick)
	defer stop()
	here := w.dial(fleet.RoleOperator, "main")
	if err := here.Refusal(); err != nil {
		t.Errorf("of one that is there: %v", err)
	}
	if err := w.gateway.SetRevoked(map[string]time.Time{"operator-main": time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	dial := func(url string, id *fleet.Identity) *bus.Conn {
		t.Helper()
		c, err := bus.Dial(bus.Options{URLs: []string{url}, Identity: id, Embedded: "us", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	until(t, "one that was there is refused", func() bool { return errors.Is(here.Refusal(), bus.ErrRefused) })
	again := dial(w.hub.URL(), w.identity(fleet.RoleOperator, "main"))
	until(t, "one that comes is refused", func() bool { return errors.Is(again.Refusal(), bus.ErrRefused) })
	stranger := dial(w.hub.URL(), other.identity(fleet.RoleOperator, "main"))
	until(t, "one does not know who answers", func() bool { return errors.Is(stranger.Refusal(), bus.ErrStranger) })
	url := other.hub.URL()
	lost := other.dial(fleet.RoleEdge, "fra")
	other.stop()
	alone := dial(url, other.identity(fleet.RoleOperator, "main"))
	until(t, "where nobody is", func() bool { return !lost.Connected() && alone.Refusal() == nil && lost.Refusal() == nil })
}

// TestUnanswered has the hub end while somebody waits for an answer: what was asked may have been done.
func TestUnanswered(t *testing.T) {
	w := newWorld(t)
	heard := make(chan struct{}, 1)
	if _, err := w.control.Subscribe(bus.ControlSubject("main", "purge"), func(*bus.Message) { heard <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	if err := w.control.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	op := w.dial(fleet.RoleOperator, "main")
	asked := make(chan error, 1)
	go func() {
		_, err := op.Request(w.ctx(), bus.ControlSubject("main", "purge"), nil)
		asked <- err
	}()
	<-heard
	w.stop()
	if err := <-asked; !errors.Is(err, bus.ErrUnanswered) || !errors.Is(err, bus.ErrAway) {
		t.Errorf("%v", err)
	}
	if _, err := op.Request(w.ctx(), bus.ControlSubject("main", "purge"), nil); errors.Is(err, bus.ErrUnanswered) || !errors.Is(err, bus.ErrAway) {
		t.Errorf("asked while it is away: %v", err)
	}
}
