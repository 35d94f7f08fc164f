package bus

import (
	"crypto/rand"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// answers are where this connection waits for answers to its requests. NATS's own library makes names of inboxes by counting on from the
// last one, and those of answers from the clock: a node that was called once would know where the control waits next. Nodes may publish into the
// inboxes of operators and gateways, as that is how they answer, so a stolen one could have its own word taken for the hub's. Here each
// answer has a name of its own, with 130 bits of chance.
type answers struct {
	mu  sync.Mutex // guards what follows
	all map[string]chan *nats.Msg
}

// inbox is a new subject at which this connection, and no other, hears answers.
func (c *Conn) inbox() string { return Inbox(c.who) + "." + rand.Text() }

// answerSubject is what the subjects of answers to requests have in common; a name follows.
func (c *Conn) answerSubject() string { return Inbox(c.who) + ".answer." }

// await has one answer wait in the channel, which comes at reply. The caller calls done.
func (c *Conn) await() (reply string, answer <-chan *nats.Msg, done func()) {
	name, one := rand.Text(), make(chan *nats.Msg, 1)
	c.answers.mu.Lock()
	c.answers.all[name] = one
	c.answers.mu.Unlock()
	return c.answerSubject() + name, one, func() {
		c.answers.mu.Lock()
		delete(c.answers.all, name)
		c.answers.mu.Unlock()
	}
}

// answered takes an answer. Only the first at each name counts.
func (c *Conn) answered(m *Message) {
	name := strings.TrimPrefix(m.Subject, c.answerSubject())
	c.answers.mu.Lock()
	one := c.answers.all[name]
	delete(c.answers.all, name)
	c.answers.mu.Unlock()
	if one != nil {
		one <- m.msg
	}
}
