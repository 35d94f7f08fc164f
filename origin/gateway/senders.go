package gateway

import (
	"context"
	"maps"
	"sync"

	"hither/deploy"
	"hither/origin/pool"
	"hither/origin/upstream"
)

// senders makes the connections to instances, and sums up what they count: what an instance that has gone counted stays.
type senders struct {
	origin *deploy.Origin
	o      *Options

	mu   sync.Mutex
	live map[*sender]bool
	gone pool.Status
}

// sender is the connections to one instance.
type sender struct {
	*pool.Pool
	of *senders
}

func newSenders(origin *deploy.Origin, o *Options) *senders {
	return &senders{origin: origin, o: o, live: map[*sender]bool{}, gone: pool.Status{RetriesTotal: map[string]uint64{}, ErrorsTotal: map[string]uint64{}}}
}

// make is upstream.Config's Sender.
func (s *senders) make(i upstream.Instance) (upstream.Sender, error) {
	p, err := pool.New(poolConfig(s.origin, s.o, i))
	if err != nil {
		return nil, err
	}
	p.Start(context.Background()) // it ends when the upstream closes it
	x := &sender{p, s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[x] = true
	return x, nil
}

// Close closes the connections, whatever is in flight.
func (x *sender) Close() error {
	err := x.Pool.Close()
	s := x.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[x] {
		delete(s.live, x)
		last := x.Status()
		last.Connections, last.Dialing, last.Draining = 0, 0, 0
		s.gone = add(s.gone, last)
	}
	return err
}

// total is what all of them count, since the application began.
func (s *senders) total() pool.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.gone
	for x := range s.live {
		t = add(t, x.Status())
	}
	return t
}

// add adds the numbers of two; it changes neither.
func add(a, b pool.Status) pool.Status {
	return pool.Status{
		Connections: a.Connections + b.Connections, Dialing: a.Dialing + b.Dialing, Draining: a.Draining + b.Draining,
		HandshakesTotal: a.HandshakesTotal + b.HandshakesTotal, RequestsTotal: a.RequestsTotal + b.RequestsTotal,
		RetriesTotal: plus(maps.Clone(a.RetriesTotal), b.RetriesTotal), ErrorsTotal: plus(maps.Clone(a.ErrorsTotal), b.ErrorsTotal),
	}
}
