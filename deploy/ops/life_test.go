package ops

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLifeGoesForward(t *testing.T) {
	var l Life
	steps := []struct {
		to    State
		moved bool
	}{
		{Starting, false}, {Ready, true}, {Ready, false}, {Starting, false},
		{Down, true}, {Draining, false}, {Down, false},
	}
	for _, s := range steps {
		before := l.State()
		if got := l.Advance(s.to); got != s.moved {
			t.Errorf("from %v to %v: %v, want %v", before, s.to, got, s.moved)
		}
	}
	if l.State() != Down {
		t.Errorf("ends %v", l.State())
	}
}

func TestOneCallerTakesAStep(t *testing.T) {
	var l Life
	var first atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if l.Advance(Draining) {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	if first.Load() != 1 {
		t.Errorf("%d callers drain, want 1", first.Load())
	}
}

func TestReasonEndsWithItsState(t *testing.T) {
	var l Life
	l.Expect("origins: no connection to us")
	if l.Reason() == "" {
		t.Error("forgotten at once")
	}
	l.Advance(Draining)
	if got := l.Reason(); got != "" {
		t.Errorf("drains because of %q", got)
	}
}

func TestStateWords(t *testing.T) {
	for s := Starting; s <= Unknown; s++ {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Errorf("%s came back as %v, %v", text, back, err)
		}
	}
	var s State
	if err := s.UnmarshalText([]byte("asleep")); err == nil {
		t.Error("an unknown word is a state")
	}
}
