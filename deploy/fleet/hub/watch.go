package hub

import (
	"context"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Limits are what one connection may send, ask for and wait with. Each but the last two is a bucket that holds what may come at once and empties at a rate by the
// second; what makes it overflow ends the connection, and its name is not let in for banTime. NATS knows no limits of that kind, so
// the hub counts what the server has counted. The control in this process has none.
type Limits struct {
	Messages, MessagesAtOnce float64 // that it sends; 0 = 1,000 a second, 10,000 at once
	Bytes, BytesAtOnce       float64 // that it sends; 0 = 4 MiB a second, 64 MiB at once
	Out, OutAtOnce           float64 // bytes that it is sent; 0 = 32 MiB a second, 2 GiB at once, which is all that there may be to read
	Faults, FaultsAtOnce     float64 // errors that it is told; 0 = 5 a second, 500 at once

	Handshake time.Duration // within which TLS is to be done, and again the proof of who it is; 0 = 5 s
	Stalled   time.Duration // for which it may take nothing of what is sent to it; 0 = 5 s
}

func (l Limits) orDefaults() Limits {
	for _, f := range []struct {
		at        *float64
		otherwise float64
	}{
		{&l.Messages, 1000}, {&l.MessagesAtOnce, 10_000}, {&l.Bytes, 4 << 20}, {&l.BytesAtOnce, 64 << 20},
		{&l.Out, 32 << 20}, {&l.OutAtOnce, 2 << 30}, {&l.Faults, 5}, {&l.FaultsAtOnce, 500},
	} {
		if *f.at == 0 {
			*f.at = f.otherwise
		}
	}
	for _, d := range []*time.Duration{&l.Handshake, &l.Stalled} {
		if *d == 0 {
			*d = 5 * time.Second
		}
	}
	return l
}

// Times of the watch.
const (
	lookEvery = 250 * time.Millisecond // so a flood has that long at full speed
	banTime   = 30 * time.Second
	newTime   = 10 * time.Second // a connection may be let in that long before the server lists it
	markEvery = 4                // looks for each time that the journal's end is noted
	mendEvery = 4                // looks for each time that it is seen whether a full disk has room
)

// used is what the server has counted of a connection since it began.
type used struct{ messages, bytes, out int64 }

// spent is how full its buckets are.
type spent struct{ messages, bytes, out, faults float64 }

// watch looks at all connections, the disk and the journal's end, until ctx ends.
func (h *Hub) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for n, last := 1, time.Now(); ; n++ {
		select {
		case <-ctx.Done():
			h.mark()
			return
		case <-tick.C:
		}
		now := time.Now()
		h.look(now, now.Sub(last).Seconds())
		last = now
		if err := h.serve(); err != nil {
			h.log.say("serve", "", "nodes cannot read what the hub has", "error", err)
		}
		if n%markEvery == 0 {
			h.mark()
		}
		if n%mendEvery == 0 {
			h.mend()
		}
	}
}

// look counts what came since the last look, and ends what is too much.
func (h *Hub) look(now time.Time, seconds float64) {
	all, err := h.nats.Connz(&server.ConnzOptions{State: server.ConnOpen, Limit: mostConns})
	if err != nil {
		h.log.say("look", "", "the hub cannot count what its connections send", "error", err)
		return
	}
	open := make(map[uint64]*server.ConnInfo, len(all.Conns))
	for _, c := range all.Conns {
		open[c.Cid] = c
	}
	over := make(map[uint64]*visitor)
	h.door.mu.Lock()
	for id, v := range h.door.live {
		c := open[id]
		switch {
		case c == nil && (v.seen || now.Sub(v.since) > newTime):
			delete(h.door.live, id)
		case c != nil:
			v.seen = true
			if v.spend(h.o.Limits, used{c.InMsgs, c.InBytes, c.OutBytes}, seconds) || c.NumSubs >= mostSubs {
				over[id] = v
				h.door.banned[v.peer] = now.Add(banTime)
			}
		}
	}
	for peer, until := range h.door.banned {
		if now.After(until) {
			delete(h.door.banned, peer)
		}
	}
	h.door.mu.Unlock()
	for id, v := range over {
		h.refuse(RejectedFlood, v.String())
		h.end(id)
	}
}

// spend fills the buckets with what came since the last look and empties them by the time that went by. over says that one is too full.
func (v *visitor) spend(l Limits, now used, seconds float64) (over bool) {
	fill := func(bucket *float64, came int64, rate, atOnce float64) {
		*bucket = max(0, *bucket+float64(came)-rate*seconds)
		over = over || *bucket > atOnce
	}
	fill(&v.spent.messages, now.messages-v.last.messages, l.Messages, l.MessagesAtOnce)
	fill(&v.spent.bytes, now.bytes-v.last.bytes, l.Bytes, l.BytesAtOnce)
	fill(&v.spent.out, now.out-v.last.out, l.Out, l.OutAtOnce)
	fill(&v.spent.faults, v.faults, l.Faults, l.FaultsAtOnce)
	v.last, v.faults = now, 0
	return over
}
