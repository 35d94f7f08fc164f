//go:build e2e

package lab_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"hither/bench/lab"
)

// delayed starts a delay at a place.
func delayed(t *testing.T, l *lab.Lab, at lab.Place, legs ...lab.Leg) (*lab.Delay, error) {
	t.Helper()
	var d *lab.Delay
	var err error
	if e := l.At(at).Do(func() { d, err = lab.StartDelay(legs) }); e != nil {
		t.Fatal(e)
	}
	return d, err
}

// connects is how long it takes to connect from the client: one round trip.
func connects(t *testing.T, l *lab.Lab, to string) time.Duration {
	t.Helper()
	server, err := l.At(lab.Edge).Listen(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	start := time.Now()
	c, err := l.At(lab.Client).DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return time.Since(start)
}

// A delay is put on top of a lab's distance, is there for what goes to its address alone, and goes again.
func TestDelay(t *testing.T) {
	const more = 150 * time.Millisecond
	l := start(t, lab.Options{Segments: lab.Distances(near, far, far)})
	d, err := delayed(t, l, lab.Client, lab.Leg{To: lab.Edge.Addr(), Distance: more})
	if err != nil {
		t.Fatal(err)
	}
	if took := connects(t, l, "198.18.0.2:80"); took < near+more {
		t.Errorf("over %v and %v it took %v to connect", near, more, took)
	}
	if _, err := delayed(t, l, lab.Client, lab.Leg{To: lab.Origin.Addr(), Distance: more}); err == nil {
		t.Error("a second delay at the same place")
	}
	if e, err := l.Echo(t.Context(), lab.Client, lab.Edge, 1); err != nil || e.P50 < near+more {
		t.Errorf("an echo took %v: %v", e.P50, err)
	}
	packets := l.Count(lab.Client, lab.Origin).Packets
	if _, err := l.Echo(t.Context(), lab.Client, lab.Origin, 1); err != nil {
		t.Error(err)
	}
	if n := l.Count(lab.Client, lab.Origin).Packets - packets; n != 1 {
		t.Errorf("%d packets went to the origin, want 1", n)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	var left bool
	if err := l.At(lab.Client).Do(func() { left = lab.Delayed() }); err != nil || left {
		t.Errorf("the delay's device is left: %v, %v", left, err)
	}
	connects(t, l, "198.18.0.2:80")

	// It goes with the device that packets left by.
	if d, err = delayed(t, l, lab.Client, lab.Leg{To: lab.Edge.Addr(), Distance: more}); err != nil {
		t.Fatal(err)
	}
	shell(t, "nsenter --net="+l.At(lab.Client).Namespace()+" ip link set wan0 down", nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-d.Ended():
	case <-ctx.Done():
		t.Error("the device is down, and the delay goes on")
	}
	if err := d.Close(); err == nil {
		t.Error("the device is down, and the delay does not say so")
	}
}

func TestDelayCannotBe(t *testing.T) {
	l := start(t, lab.Options{})
	for name, legs := range map[string][]lab.Leg{
		"nothing":    {},
		"itself":     {{To: lab.Client.Addr()}},
		"loopback":   {{To: netip.MustParseAddr("127.0.0.1")}},
		"twice":      {{To: lab.Edge.Addr()}, {To: lab.Edge.Addr()}},
		"too far":    {{To: lab.Edge.Addr(), Distance: time.Hour}},
		"IPv6":       {{To: netip.MustParseAddr("2001:db8::1")}},
		"nowhere":    {{To: netip.MustParseAddr("192.0.2.1")}},
		"a group":    {{To: netip.MustParseAddr("224.0.0.1")}},
		"no address": {{}},
	} {
		if _, err := delayed(t, l, lab.Client, legs...); err == nil || errors.Is(err, lab.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
