package control_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// TestManyHear: many nodes hear of a revision with one message each, and read it with one more: 40, and two hundred with HITHER_SOAK=1
// (`make soak`). How long that takes is in the log.
func TestManyHear(t *testing.T) {
	s := newStage(t)
	s.lead()
	s.phase("done")
	many := int64(40)
	if os.Getenv("HITHER_SOAK") != "" {
		many = 200
	}
	var heard, read, wrong atomic.Int64
	for i := range many {
		conn := s.dial(fleet.RoleEdge, fmt.Sprintf("pop-%d", i))
		_, err := conn.Subscribe(bus.LiveTables+bus.TableTarget+"."+bus.TargetKey, func(m *bus.Message) {
			heard.Add(1)
			defer read.Add(1)
			var target bus.Target
			if bus.Decode(m.Data, &target) != nil {
				wrong.Add(1)
				return
			}
			number, hash := target.Of(conn.Peer().String())
			all, err := conn.Last(s.ctx(), bus.StreamRevisions, bus.RevisionSubject(number))
			var rev bus.Revision
			if err != nil || len(all) != 1 || bus.Decode(all[0].Data, &rev) != nil || bus.HashOf(rev.File) != hash {
				wrong.Add(1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(s.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	for n := range int64(3) {
		began := time.Now()
		s.apply(stageFile(fmt.Sprint(n)), control.How{Now: true})
		until(t, "all have read it", func() bool { return read.Load() >= (n+1)*many })
		t.Logf("%d nodes have read revision %d %v after it was applied", many, n+2, time.Since(began).Round(time.Millisecond))
		s.phase("done")
	}
	if h, r, w := heard.Load(), read.Load(), wrong.Load(); h != 3*many || r != 3*many || w != 0 {
		t.Errorf("%d messages were heard and %d revisions read, %d of them wrong; %d nodes should have heard 3", h, r, w, many)
	}
}
