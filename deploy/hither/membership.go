package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/member"
	"hither/deploy/ops"
	"hither/dns/server"
	"hither/edge/node"
)

// lastTime is how long what ends may take to say so.
const lastTime = 2 * time.Second

// A hubAt is where the hub is.
type hubAt struct {
	urls     []string
	embedded string // the gateway that has it in it; "" = a cluster elsewhere
}

func (a hubAt) equal(b hubAt) bool {
	return a.embedded == b.embedded && slices.Equal(a.urls, b.urls)
}

// hubPlace is what the network file in use says; before there is one, what came with the identity.
func (p *process) hubPlace() hubAt {
	if n := p.files.Network(); n != nil {
		return hubAt{n.Hub.URLs, n.Hub.EmbeddedIn}
	}
	return hubAt{p.identity.Hub, p.identity.HubIn}
}

// membership keeps the node a member of the fleet until ctx ends, and moves with the hub where a network file says so.
func (p *process) membership(ctx context.Context) {
	ring := p.changed.listen()
	for ctx.Err() == nil {
		at := p.hubPlace()
		session, end := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.session(session, at)
		}()
		for at.equal(p.hubPlace()) && ctx.Err() == nil {
			select {
			case <-ring:
			case <-ctx.Done():
			}
		}
		end()
		<-done
	}
}

// session is a member at one hub.
func (p *process) session(ctx context.Context, at hubAt) {
	if len(at.urls) == 0 {
		return
	}
	conn, err := bus.Dial(bus.Options{URLs: at.urls, Identity: p.identity, Embedded: at.embedded, Log: p.log})
	if err != nil {
		p.log.Error("this node is no member of the fleet", "error", err)
		p.fleet.Problem("hub", err.Error())
		return
	}
	defer p.fleet.Problem("hub", "")
	defer conn.Close()
	p.fleet.Hub(conn.Connected)
	defer p.fleet.Hub(nil)
	m, err := member.New(p.member(conn))
	if err == nil {
		p.counts.begin(m)
		p.introduce(conn, m)
		p.kept = p.role.Load() != nil // a later member finds what this one purged in
		p.part.Store(m)
		err = m.Run(ctx)
		p.part.Store(nil)
		p.counts.end(m)
	}
	if err != nil {
		p.log.Error("this node is no member of the fleet", "error", err)
		p.fleet.Problem("hub", err.Error())
	}
	<-ctx.Done()
}

// say has the fleet hear at once what the node is now, and not with its next report.
func (p *process) say() {
	if m := p.part.Load(); m != nil {
		m.Report()
	}
}

// What a role may have for the member beyond what every role has.
type (
	purger interface {
		PurgeOrder(bus.Order) bus.Done
		FlushSoft(why string)
		KeptObjects() bool
	}
	tableReader interface {
		Table(table, key string, value []byte)
	}
	// drainer is told that an operator takes a PoP out of answers.
	drainer interface {
		Drained(pop string, d *bus.Drain)
		Drains() []string // PoPs of which it knows one
	}
	// listener hears what nodes say of themselves.
	listener interface{ Follow(*bus.Conn) error }
	// journalist has its answers wait for the journal.
	journalist interface {
		SetJournal(begun func() bus.Position, wait func(context.Context, bus.Position) error)
	}
	reporter interface{ FillReport(*bus.Report) }
	measurer interface{ RTT() []bus.PrefixRTT }
)

// Roles that have them, so that another name there is an error here.
var (
	_ interface {
		purger
		journalist
		reporter
		measurer
	} = (*node.Node)(nil)
	_ interface {
		drainer
		listener
		reporter
	} = (*server.Server)(nil)
)

// member gives the member what the role has for it.
func (p *process) member(conn *bus.Conn) member.Options {
	o := member.Options{
		Conn: conn, Identity: p.identity, State: p.o.state, Log: p.log,
		Take: p.files.Take, Left: p.files.Left, Running: p.files.Running, Own: p.files.Own,
		Refuse: func(_ int, file []byte, why error) { p.files.Refuse(file, why) },
		Report: p.report, Table: p.table,
	}
	r := p.role.Load()
	if r == nil {
		return o
	}
	o.Call = p.call
	if x, ok := (*r).(purger); ok {
		o.Purge, o.Flush, o.Kept = x.PurgeOrder, x.FlushSoft, x.KeptObjects() || p.kept
	}
	if x, ok := (*r).(measurer); ok {
		o.RTT = x.RTT
	}
	if x, ok := (*r).(drainer); ok {
		for _, pop := range x.Drains() {
			o.Known = append(o.Known, bus.TableSubject(bus.TableDrain, pop))
		}
	}
	return o
}

// introduce tells the role of its member, and lets it hear what it wants to hear.
func (p *process) introduce(conn *bus.Conn, m *member.Member) {
	r := p.role.Load()
	if r == nil {
		return
	}
	if x, ok := (*r).(listener); ok {
		if err := x.Follow(conn); err != nil {
			p.log.Error("this node does not hear of others", "error", err)
		}
	}
	if x, ok := (*r).(journalist); ok {
		x.SetJournal(m.Begun, m.Wait)
	}
}

// table hands on what a table says, to what it is about: this node's identity, or its role.
func (p *process) table(table, key string, value []byte) error {
	err := p.identity.Table(table, key, value)
	r := p.role.Load()
	if r == nil {
		return err
	}
	if x, ok := (*r).(tableReader); ok {
		x.Table(table, key, value)
	}
	if x, ok := (*r).(drainer); ok && table == bus.TableDrain {
		if value == nil {
			x.Drained(key, nil)
			return err
		}
		var d bus.Drain
		if wrong := bus.Decode(value, &d); wrong != nil {
			return errors.Join(err, fmt.Errorf("the drain of %.80q: %w", key, wrong))
		}
		x.Drained(key, &d)
	}
	return err
}

// report says of the node what its role knows.
func (p *process) report(out *bus.Report) {
	p.files.Keep()
	r := p.role.Load()
	if r == nil {
		out.State = ops.Starting.String()
		return
	}
	s := (*r).Status()
	out.Status, _ = ops.MarshalDocument("status", s)
	if len(s.Nodes) > 0 {
		out.State = s.Nodes[0].State.String()
	}
	if x, ok := (*r).(reporter); ok {
		x.FillReport(out)
	}
}

// call answers what an operator asks over the bus as the admin socket would. What shows the process from inside is for who is on
// the machine.
func (p *process) call(ctx context.Context, c bus.Call) bus.Answer {
	path, _, _ := strings.Cut(c.Path, "?")
	switch {
	case c.Method == http.MethodGet && strings.HasPrefix(path, "/v1/"):
	case c.Method == http.MethodPost && (strings.HasPrefix(path, "/v1/explain/") || path == "/v1/purge" || path == "/v1/drain" || path == "/v1/warm" ||
		p.identity.Role == fleet.RoleOrigin && strings.HasPrefix(path, "/v1/hub/")):
	default:
		return bus.Answer{Status: http.StatusNotFound, Error: fmt.Sprintf("%.10s %.100s is no call that a node answers over the bus", c.Method, path)}
	}
	status, body := (*p.role.Load()).Admin().Answer(ctx, c.Method, c.Path, c.Body)
	a := bus.Answer{Status: status}
	if status/100 == 2 {
		a.Doc = json.RawMessage(body)
		return a
	}
	var failure struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &failure) != nil || failure.Error == "" {
		failure.Error = http.StatusText(status)
	}
	a.Error = failure.Error
	return a
}

// waiting serves the admin socket of a node that has no network file yet: it is there, and not ready.
func (p *process) waiting() (*ops.Admin, error) {
	admin := ops.NewAdmin()
	admin.Handle("GET /v1/status", func(*http.Request) (string, any, error) {
		s := ops.Status{Network: p.identity.Network, Nodes: []ops.NodeStatus{{
			Node: p.identity.Peer.String(), Role: p.identity.Role, State: ops.Starting, Version: version(), Connections: map[string]int64{},
			PID: os.Getpid(), Problems: []string{"no network file names this node yet: it waits for a revision that does (`hither fleet apply`)"},
		}}}
		p.fleet.Show(&s)
		return "status", s, nil
	})
	return admin, admin.Open(p.o.state)
}
