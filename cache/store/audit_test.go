package store

import "fmt"

// audit holds the books of m against what it really refers to.
func audit(m *Memory) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var bytes [numTiers]int64
	var objects [numTiers]int
	for i := range m.table.shards {
		for h, e := range m.table.shards[i].m {
			for ; e != nil; e = e.twin {
				o := e.obj.Load()
				if o == nil || e.hash != h || m.hash(o.Key) != h || e.size != o.Size() {
					return fmt.Errorf("entry %+v with object %+v at hash %x", e, o, h)
				}
				tier := Queue
				switch e.place {
				case nowhere:
					return fmt.Errorf("%s is in the table and in no tier", o.Key.Path)
				case inFront:
					tier = Front
					if !e.held {
						return fmt.Errorf("%s is in the front, which does not hold it", o.Key.Path)
					}
				}
				if e.front.Load() != (tier == Front) {
					return fmt.Errorf("%s: place %d, flag %v", o.Key.Path, e.place, e.front.Load())
				}
				bytes[tier] += e.size
				objects[tier]++
			}
		}
	}
	for _, l := range []*list{&m.queue.small, &m.queue.main, &m.inFront} {
		var n int64
		for e := l.root.next; e != &l.root; e = e.next {
			n += e.size
			if e.place != l.place || e.obj.Load() == nil {
				return fmt.Errorf("in list %d: entry of place %d, object %p", l.place, e.place, e.obj.Load())
			}
		}
		if n != l.bytes {
			return fmt.Errorf("list %d has %d bytes, its account says %d", l.place, n, l.bytes)
		}
	}
	if front := m.frontBytes.Load(); bytes[Front] != front || objects[Front] != m.inFront.objects || front > m.frontMax {
		return fmt.Errorf("front: %d objects, %d bytes; accounts %d, %d; at most %d",
			objects[Front], bytes[Front], m.inFront.objects, front, m.frontMax)
	}
	if bytes[Queue] != m.queue.bytes() || objects[Queue] != m.queue.objects() {
		return fmt.Errorf("queue: %d objects, %d bytes; accounts %d, %d",
			objects[Queue], bytes[Queue], m.queue.objects(), m.queue.bytes())
	}
	if sum := bytes[Front] + bytes[Queue]; sum > m.size {
		return fmt.Errorf("%d bytes stored, size is %d", sum, m.size)
	}
	if n, most := len(m.queue.ghost.slots), max(minGhosts, int(m.size/512)); n > most {
		return fmt.Errorf("%d ghosts", n)
	}
	return nil
}
