package bus

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
)

// ServeReads answers what nodes ask at [ReadSubject], for as long as the connection lives, and is called on one with the control's
// permissions: the hub does so on its own, and the control in a cluster. With several of them one answers each.
//
// Nodes may not ask JetStream themselves. NATS lets the one who asks choose where the answer goes: a stolen node could have an
// old entry, or the word that there is none, put down as a new value of a table. Here an answer goes to the node's own inbox or nowhere.
func (c *Conn) ServeReads() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serves {
		return nil
	}
	s := &subscription{subject: ReadSubject("*", "*", "*"), queue: "read", take: c.serveRead}
	if c.nc != nil {
		if err := c.start(s); err != nil && !c.nc.IsClosed() {
			return err
		}
	}
	c.subs[s] = struct{}{}
	c.serves = true
	return nil
}

func (c *Conn) serveRead(m *Message) {
	p := strings.Split(m.Subject, ".")
	if len(p) != 4 || m.msg == nil {
		return
	}
	role, name, stream := p[1], p[2], p[3]
	switch {
	case !strings.HasPrefix(m.msg.Reply, Inbox(fleet.Peer{Role: role, Name: name})+"."):
		c.refuse(role+"-"+name, "it asked for an answer elsewhere than at itself; it gets none")
		return
	case stream != StreamJournal && stream != StreamRevisions && stream != StreamTables:
		c.refuse(role+"-"+name, fmt.Sprintf("it asked for the stream %.40q, which is for no node", stream))
		m.msg.RespondMsg(&nats.Msg{Header: nats.Header{headStatus: {"403"}}})
		return
	}
	if nc := c.conn(); nc != nil {
		nc.PublishRequest(directGet(stream), m.msg.Reply, m.Data)
	}
}

// refuse tells of a read that is refused.
func (c *Conn) refuse(node, why string) {
	if c.refused != nil {
		c.refused(node, why)
		return
	}
	c.told.say("read "+node, slog.LevelWarn, "bus: a node's read is refused", "node", node, "why", why)
}
