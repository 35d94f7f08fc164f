package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// TestVerdictsBounded: of each revision that the hub still has it is kept what became of it, and the keys for it do not grow with those that
// it has no more: nodes read all tables.
func TestVerdictsBounded(t *testing.T) {
	w := newWorld(t)
	if err := fleet.RevisionsIn(w.folder).Accept(deploy.Example()); err != nil {
		t.Fatal(err)
	}
	c, _ := w.control()
	w.until("the first revision is in force", func() bool { p, _ := c.rollout.now(); return p.Phase == done })
	c.rollout.op.Lock()
	defer c.rollout.op.Unlock()
	for _, number := range []int{2, 3, 2 + hub.MostRevisions, 3 + hub.MostRevisions, 2 + 2*hub.MostRevisions} {
		p := plan{Number: number, Hash: "x", Phase: done, Outcome: verdictBack, Why: fmt.Sprint("of ", number), Since: time.Now()}
		if err := c.rollout.put(w.ctx(), p); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.o.Conn.Last(w.ctx(), bus.StreamTables, bus.TableSubject(tableVerdict, "*"))
	if err != nil || len(all) != 3 {
		t.Errorf("%d keys, wanted those of 1, 2 and 3: %v", len(all), err)
	}
	verdicts, err := c.verdicts(w.ctx())
	if err != nil || len(verdicts) != 3 {
		t.Errorf("%v, %v", verdicts, err)
	}
	for number, why := range map[int]string{1: "", 3 + hub.MostRevisions: "of 1003", 2 + 2*hub.MostRevisions: "of 2002"} {
		if v, there := verdicts[number]; !there || v.Why != why {
			t.Errorf("%d: %v, %+v", number, there, v)
		}
	}
}

// TestHistoryBounded has as many revisions as the hub keeps, with as much to say as an operator may, and then one more: the history is that of the
// hub, without what has gone, and is a message.
func TestHistoryBounded(t *testing.T) {
	w := newWorld(t)
	c, _ := w.control()
	if _, err := c.revisions.list(w.ctx()); err != nil {
		t.Fatal(err)
	}
	note, why := strings.Repeat("é", mostNote/2), strings.Repeat("x", mostWords)
	for i := range hub.MostRevisions {
		file := []byte(fmt.Sprint("# ", i))
		rev := bus.Revision{Number: i + 1, Hash: bus.HashOf(file), File: file, By: "main", Note: note, At: time.Now()}
		if _, err := c.o.Conn.Append(w.ctx(), bus.RevisionSubject(rev.Number), bus.Encode(rev), bus.Expectation{}); err != nil {
			t.Fatal(err)
		}
		v := verdict{Number: rev.Number, State: verdictBack, Why: why, At: time.Now()}
		if _, err := c.o.Conn.Append(w.ctx(), verdictSubject(rev.Number), bus.Encode(v), bus.Expectation{}); err != nil {
			t.Fatal(err)
		}
	}
	history := func() (doc HistoryDoc) {
		t.Helper()
		a := c.answer(w.ctx(), bus.ControlSubject("main", "history"), nil)
		if size := len(bus.Encode(a)); a.Status != http.StatusOK || size > bus.MostMessage {
			t.Fatalf("%d, %s, %d bytes", a.Status, a.Error, size)
		}
		if err := json.Unmarshal(a.Doc, &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	if doc := history(); len(doc.Revisions) != hub.MostRevisions || doc.Revisions[hub.MostRevisions-1].Number != 1 || !strings.HasPrefix(doc.Revisions[0].Why, "xxx") {
		t.Errorf("%d revisions, the first %+v", len(doc.Revisions), doc.Revisions[0])
	}
	if _, err := c.revisions.add(w.ctx(), "main", "", []byte("# more"), 0); err != nil {
		t.Fatal(err)
	}
	if doc := history(); len(doc.Revisions) != hub.MostRevisions || doc.Revisions[0].Number != hub.MostRevisions+1 || doc.Revisions[hub.MostRevisions-1].Number != 2 {
		t.Errorf("%d revisions, %d to %d", len(doc.Revisions), doc.Revisions[len(doc.Revisions)-1].Number, doc.Revisions[0].Number)
	}
}
