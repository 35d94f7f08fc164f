package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// may is what a role may publish to (p) and subscribe to (s); roles that are not named may not.
var may = []struct {
	subject                     string
	edge, origin, dns, operator string
}{
	{"up.ROLE.me.report", "p", "p", "ps", "s"},
	{"up.ROLE.me.receipt", "p", "p", "p", "s"},
	{"up.ROLE.me.report.more", "", "", "", "s"},
	{"up.ROLE.you.report", "", "", "s", "s"},
	{"up.dns.you.report", "", "", "s", "s"},
	{"up.dns.you.receipt", "", "", "", "s"},
	{"up.origin.you.report", "", "", "", "s"},
	{"up.edge.you.report", "", "", "s", "s"},
	{"up.edge.you.rtt", "", "", "s", "s"},
	{"up.edge.you.receipt", "", "", "", "s"},
	{"up.>", "", "", "", "s"},
	{"journal", "", "", "", ""},
	{"journal.x", "", "", "", ""},
	{"table.target.main", "", "", "", ""},
	{"table.revoked.edge-you", "", "", "", ""},
	{"revision.1", "", "", "", ""},
	{"secret.token.x", "", "", "", ""},
	{"live.journal", "s", "s", "s", "s"},
	{"live.table.drain.x", "s", "s", "s", "s"},
	{"live.head", "s", "s", "s", "s"},
	{"control.me.purge", "", "", "", "p"},
	{"control.you.purge", "", "", "", ""},
	{"control.>", "", "", "", ""},
	{"to.ROLE.me.call", "s", "s", "s", "p"},
	{"to.edge.you.call", "", "", "", "p"},
	{"_INBOX.ROLE.me.x", "s", "ps", "s", "s"},
	{"_INBOX.edge.you.x", "", "", "", ""},
	{"_INBOX.dns.you.x", "", "", "", ""},
	{"_INBOX.operator.you.x", "p", "p", "p", ""},
	{"_INBOX.>", "", "", "", ""},
	{"_INBOX.origin.us.x", "p", "p", "p", ""},
	{"read.ROLE.me.TABLES", "p", "p", "p", "p"},
	{"read.ROLE.you.TABLES", "", "", "", ""},
	{"read.>", "", "", "", ""},
	{"$JS.API.DIRECT.GET.TABLES", "", "", "", ""},
	{"$JS.API.DIRECT.GET.SECRETS", "", "", "", ""},
	{"$JS.API.DIRECT.GET.TABLES.table.token.x", "", "", "", ""},
	{"$JS.API.STREAM.MSG.GET.SECRETS", "", "", "", ""},
	{"$JS.API.STREAM.DELETE.JOURNAL", "", "", "", ""},
	{"$JS.API.STREAM.PURGE.JOURNAL", "", "", "", ""},
	{"$JS.API.STREAM.MSG.DELETE.JOURNAL", "", "", "", ""},
	{"$JS.API.STREAM.CREATE.MINE", "", "", "", ""},
	{"$JS.API.CONSUMER.CREATE.SECRETS", "", "", "", ""},
	{"$JS.API.INFO", "", "", "", ""},
	{"$JS.API.>", "", "", "", ""},
	{"$SYS.>", "", "", "", ""},
	{"$SYS.REQ.SERVER.PING", "", "", "", ""},
	{">", "", "", "", ""},
	{"*.*", "", "", "", ""},
}

// tries reports what raw, a connection that is told of its errors on denied, may do with a subject.
func tries(t *testing.T, nc *nats.Conn, denied chan error, subject string) string {
	t.Helper()
	is := func(what string) string {
		// Errors come in the order of what they are about, so those before this one's belong to what was tried.
		const sentinel = "denied.to.all"
		if err := nc.Publish(sentinel, nil); err != nil {
			t.Fatal(err)
		}
		for {
			select {
			case err := <-denied:
				if strings.Contains(err.Error(), sentinel) {
					return what
				}
				what = ""
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: the hub does not answer", subject)
			}
		}
	}
	s, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	out := is("s")
	s.Unsubscribe()
	if last := subject[len(subject)-1]; last != '>' && last != '*' {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		out = is("p") + out
	}
	return out
}

// permissions tries each role on each subject.
func permissions(t *testing.T, at *world) {
	for _, role := range []string{fleet.RoleEdge, fleet.RoleOrigin, fleet.RoleDNS, fleet.RoleOperator} {
		denied := make(chan error, 100)
		nc, err := at.raw(role, "me", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
		if err != nil {
			t.Fatal(role, err)
		}
		defer nc.Close()
		for _, c := range may {
			want := map[string]string{fleet.RoleEdge: c.edge, fleet.RoleOrigin: c.origin, fleet.RoleDNS: c.dns, fleet.RoleOperator: c.operator}[role]
			if got := tries(t, nc, denied, strings.ReplaceAll(c.subject, "ROLE", role)); got != want {
				t.Errorf("%s at %s: it may %q, wanted %q", role, strings.ReplaceAll(c.subject, "ROLE", role), got, want)
			}
		}
	}
}

// replyElsewhere has a stolen edge want its answers at subjects that are another's, or a stream's.
func replyElsewhere(t *testing.T, at *world) {
	honest := at.dial(fleet.RoleEdge, "iad")
	if _, err := honest.Subscribe(bus.CallSubject(fleet.RoleEdge, "iad"), func(m *bus.Message) { m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	heard := make(chan *bus.Message, 10)
	if _, err := honest.Subscribe("live.>", func(m *bus.Message) { heard <- m }); err != nil {
		t.Fatal(err)
	}
	if err := honest.Flush(at.ctx()); err != nil {
		t.Fatal(err)
	}
	for who, c := range map[string]*bus.Conn{"an operator": at.dial(fleet.RoleOperator, "main"), "the control": at.control} {
		if m, err := c.Request(at.ctx(), bus.CallSubject(fleet.RoleEdge, "iad"), []byte("call")); err != nil || string(m.Data) != "call" {
			t.Errorf("a call of %s: %v, %v", who, m, err)
		}
	}
	// A value in a table that would be a purge of everything, were it in the journal.
	entry := bus.Encode(bus.Batch{Journal: "a", First: 1, Orders: []bus.Order{{Kind: "all"}}})
	if _, err := at.control.Append(at.ctx(), bus.RevisionSubject(1), entry, bus.Expectation{}); err != nil {
		t.Fatal(err)
	}
	thief, err := at.raw(fleet.RoleEdge, "fra")
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	ask, _ := json.Marshal(map[string]any{"seq": 1, "batch": 10})
	for _, reply := range []string{bus.LiveJournal, bus.LiveHead, "_INBOX.edge.iad.x", "journal", "table.drain.iad", "control.main.purge", "to.edge.iad.call", "_INBOX.edge.fra"} {
		if err := thief.PublishRequest(bus.ReadSubject(fleet.RoleEdge, "fra", bus.StreamRevisions), reply, ask); err != nil {
			t.Fatal(err)
		}
	}
	// The server tells of a message where its author wants to hear of it.
	for _, dest := range []string{bus.LiveJournal, bus.LiveHead, "journal", "table.drain.iad", "to.edge.iad.call", "_INBOX.edge.iad.x"} {
		m := &nats.Msg{Subject: bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReport), Header: nats.Header{"Nats-Trace-Dest": {dest}}, Data: []byte("{}")}
		if err := thief.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	own, err := thief.SubscribeSync(thief.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "what it may is answered, after all else was looked at", func() bool {
		// A stream whose replica is not ready says nothing, and is asked again.
		if err := thief.PublishRequest(bus.ReadSubject(fleet.RoleEdge, "fra", bus.StreamRevisions), own.Subject, ask); err != nil {
			t.Fatal(err)
		}
		_, err := own.NextMsg(2 * time.Second)
		return err == nil
	})
	if err := honest.Flush(at.ctx()); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{bus.StreamJournal, bus.StreamTables} {
		if err := honest.Read(at.ctx(), stream, 1, func(m *bus.Message) error { return fmt.Errorf("%s has %q", stream, m.Data) }); err != nil {
			t.Error(err)
		}
	}
	if len(heard) > 0 {
		t.Errorf("heard %+v", <-heard)
	}
	if _, err := honest.Request(at.ctx(), bus.ControlSubject("iad", "purge"), nil); !errors.Is(err, bus.ErrDenied) {
		t.Error(err)
	}
}
