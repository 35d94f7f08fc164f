package control_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/member"
)

// TestAgedAway has a journal age away while nobody purges, and another control begin then: it does not know which number was the last, and leaps. No
// node that stood at the end has missed anything.
func TestAgedAway(t *testing.T) {
	c := newCrowd(t, 2)
	c.begin()
	for i := range 3 {
		if err := c.try("purge", bus.Order{Kind: "tag", Value: fmt.Sprint("t", i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	at := c.edges[0].member.Position()
	c.until("all are at the end", func() bool {
		at = c.edges[0].member.Position()
		return at.Sequence == 3 && c.edges[1].member.Position() == at
	})
	c.age(200 * time.Millisecond)
	c.until("the journal has aged away", func() bool {
		all, err := c.conn.Last(t.Context(), bus.StreamJournal, bus.SubjectJournal)
		return err == nil && len(all) == 0
	})
	c.endLead()
	c.lead() // with the history that it has otherwise
	c.edges[0].put("/kept")
	c.edges[1].stopRun()
	c.edges[1].put("/kept")
	c.edges[1].options = func(o *member.Options) { o.Kept = true }
	c.edges[1].start()
	var p control.Purge
	if err := c.try("purge", bus.Order{Kind: "tag", Value: "t3"}, &p); err != nil {
		t.Fatal(err)
	}
	if p.ID != bus.Leap(3) {
		t.Errorf("the next number is %d", p.ID)
	}
	for _, e := range c.edges {
		c.until(e.name+" has done it", func() bool { return e.member.Position() == bus.Position{Journal: at.Journal, Sequence: 4} })
		if flushes := e.member.Stats().Flushes; len(flushes) > 0 || !e.look("/kept").Fresh() {
			t.Errorf("%s flushed: %v", e.name, flushes)
		}
	}
}

// age changes for how long the journal goes back.
func (c *crowd) age(most time.Duration) {
	c.t.Helper()
	m, err := c.conn.Request(c.t.Context(), "$JS.API.STREAM.INFO."+bus.StreamJournal, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	var info struct {
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		c.t.Fatal(err)
	}
	info.Config["max_age"], info.Config["duplicate_window"] = most, most
	body, err := json.Marshal(info.Config)
	if err != nil {
		c.t.Fatal(err)
	}
	m, err = c.conn.Request(c.t.Context(), "$JS.API.STREAM.UPDATE."+bus.StreamJournal, body)
	if err != nil || strings.Contains(string(m.Data), `"error"`) {
		c.t.Fatalf("%v: %s", err, m.Data)
	}
}
