package store

import "testing"

// Of two hits that find an object in the queue at once, one moves it to the front.
func TestPromotedOnce(t *testing.T) {
	m, err := NewMemory(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := object(key("/hot"), 100)
	m.Put(o)
	e := m.table.get(m.hash(o.Key), o.Key)
	e.held = true
	if !m.promote(e) || m.promote(e) {
		t.Error("it was not moved once")
	}
	if err := audit(m); err != nil {
		t.Error(err)
	}
}
