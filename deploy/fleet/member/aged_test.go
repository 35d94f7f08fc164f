package member_test

import (
	"testing"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// A journal that aged away while nobody purged goes on with a number that leaps. Who stood at its end has missed nothing, whether it was up, starts, or
// comes back to the hub; who had not come so far has.
func TestAgedAway(t *testing.T) {
	for name, c := range map[string]struct {
		before  func(w *world, n *node)
		after   func(w *world, n *node)
		flushes int
	}{
		"up":   {},
		"down": {func(_ *world, n *node) { n.stop() }, func(_ *world, n *node) { n.start() }, 0},
		"down, and it is ordered first": {func(_ *world, n *node) { n.stop() }, func(w *world, n *node) {
			w.order("b")
			n.start()
		}, 0},
		"the hub starts anew": {func(w *world, n *node) { w.restart(false) }, nil, 0},
		"it was behind": {func(w *world, n *node) {
			n.stop()
			w.order("y")
		}, func(_ *world, n *node) { n.start() }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.node(fleet.RoleEdge, "fra")
			n.start()
			n.there()
			w.order("x1", "x2")
			w.order("x3")
			n.there()
			n.put("a", 0)
			n.put("b", 0)
			n.kept = true
			if c.before != nil {
				c.before(w, n)
			}
			forgetUpTo(w, w.last+1)
			w.next = bus.Leap(w.last)
			if c.after != nil {
				c.after(w, n)
			}
			n.there()
			w.order("b")
			n.there()
			if _, flushed, _ := n.seen(); len(flushed) != c.flushes || n.has("a") != (c.flushes == 0) || n.has("b") {
				t.Errorf("flushed %q; a %v, b %v", flushed, n.has("a"), n.has("b"))
			}
		})
	}
}
