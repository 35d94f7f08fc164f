package node

import "testing"

// A store that cannot be made is no store at all: one that holds a nil pointer would be closed, and crash.
func TestNewStore(t *testing.T) {
	if s, err := newStore(1); err == nil || s != nil {
		t.Errorf("a store of one byte: %v, %v", s, err)
	}
	if s, err := newStore(0); err != nil || s == nil {
		t.Errorf("a store of nothing: %v, %v", s, err)
	}
}
