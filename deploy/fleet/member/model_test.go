package member_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// A model is a fleet to which everything happens, and what was ever ordered: what a node has stored knows how much had been ordered when
// it came, so none of what it has may have been ordered since.
type model struct {
	*world
	rnd     *rand.Rand
	nodes   []*node
	up      []bool
	ordered []string // in all journals
	keys    int
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{world: newWorld(t), rnd: rand.New(rand.NewPCG(seed, 7)), keys: 400}
	for _, name := range []string{"fra", "iad", "sin"} {
		n := m.node(fleet.RoleEdge, name)
		n.hear = m.lossy(seed)
		m.nodes, m.up = append(m.nodes, n), append(m.up, false)
	}
	return m
}

// lossy loses, doubles and holds back live messages.
func (m *model) lossy(seed uint64) func(*bus.Message, func(*bus.Message)) {
	rnd := rand.New(rand.NewPCG(seed, m.rnd.Uint64()))
	var mu sync.Mutex
	var held *bus.Message
	return func(message *bus.Message, take func(*bus.Message)) {
		mu.Lock()
		defer mu.Unlock()
		switch rnd.IntN(12) {
		case 0:
		case 1:
			take(message)
			take(message)
		case 2:
			held = message
		case 3:
			take(message)
			if held != nil {
				take(held)
			}
		default:
			take(message)
		}
	}
}

func (m *model) key() string { return fmt.Sprint("k", m.rnd.IntN(m.keys)) }

// wanted is a key to purge that the node has, if it has one: what is ordered again and again hides what was passed over.
func (m *model) wanted(n *node) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.stored) == 0 {
		return m.key()
	}
	all := slices.Sorted(maps.Keys(n.stored))
	return all[m.rnd.IntN(len(all))]
}

// step has one thing happen.
func (m *model) step() string {
	i := m.rnd.IntN(len(m.nodes))
	n := m.nodes[i]
	switch k := m.rnd.IntN(40); {
	case k < 16 && m.up[i]:
		for range 10 {
			n.put(m.key(), len(m.ordered))
		}
		return "store"
	case k < 32:
		var urls []string
		for range 1 + m.rnd.IntN(5) {
			urls = append(urls, m.wanted(n))
		}
		m.order(urls...)
		m.ordered = append(m.ordered, urls...)
		return "order"
	case k < 36 && m.up[i]:
		n.kept = m.rnd.IntN(6) > 0
		n.stop()
		m.up[i] = false
		return fmt.Sprint("stop, kept ", n.kept)
	case k < 38:
		m.head()
		return "heartbeat"
	case k == 38:
		m.restart(false)
		return "restart the hub"
	case k == 39 && m.rnd.IntN(5) == 0:
		m.restart(true)
		return "lose the hub's disk"
	}
	m.start(i)
	return "start"
}

// start starts a node, and waits for its first contact: that a hub loses its disk between a node's start and that is left out.
func (m *model) start(i int) {
	if m.up[i] {
		return
	}
	m.up[i] = true
	m.nodes[i].start()
	m.until("the first contact", func() bool { return m.nodes[i].member.Stats().Known })
}

// check brings all nodes up and to the end, and tells what one has that it may not.
func (m *model) check() error {
	for i := range m.nodes {
		m.start(i)
	}
	for _, n := range m.nodes {
		n.there()
		n.mu.Lock()
		defer n.mu.Unlock()
		for key, made := range n.stored {
			if slices.Contains(m.ordered[made:], key) {
				return fmt.Errorf("%v still has %s, which was purged", n.id.Peer, key)
			}
		}
	}
	return nil
}

// run plays steps and checks after them.
func (m *model) run(steps int) error {
	var trail []string
	for range steps {
		trail = append(trail, m.step())
	}
	if err := m.check(); err != nil {
		return fmt.Errorf("%w, after %q", err, trail)
	}
	return nil
}

// Whatever is lost, doubled, cut off, restarted or gone: at the end no node has anything that was purged after it was stored.
func TestModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, seed)
			for range 3 {
				if err := m.run(60); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			kept := 0
			for _, n := range m.nodes {
				kept += len(n.stored)
			}
			t.Logf("%d orders; %d objects are left", len(m.ordered), kept)
		})
	}
}

// The model sees one entry that a node passes over.
func TestModelSeesAFault(t *testing.T) {
	m := newModel(t, 99)
	n := m.nodes[0]
	n.hear = func(message *bus.Message, take func(*bus.Message)) {
		var b bus.Batch
		if err := bus.Decode(message.Data, &b); err != nil {
			t.Error(err)
		}
		if b.Orders[0].Value == "skipped" {
			b.Orders[0].Value = "another"
			message.Data = bus.Encode(b)
		}
		take(message)
	}
	n.start()
	m.up[0] = true
	n.there()
	n.put("skipped", 0)
	m.order("first", "second")
	m.order("skipped")
	m.order("last")
	m.ordered = []string{"first", "second", "skipped", "last"}
	if err := m.check(); err == nil {
		t.Error("a node has what was purged, and nobody saw it")
	}
}
