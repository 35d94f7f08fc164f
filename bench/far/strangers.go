package far

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"hither/bench/lab"
	"hither/bench/visit"
)

// visitTime bounds a small visit: far more than it takes over the longest distance.
const visitTime = 2 * time.Minute

// strangers visits by TLS 1.3, each time as a client that the edge does not know and for an answer that it does not have,
// and counts what the edge did towards the origin meanwhile.
func (m *measurer) strangers(ctx context.Context) (s Strangers, err error) {
	handshakes, err := m.handshakes(ctx)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var targets []string
	for range m.o.Requests {
		targets = append(targets, m.fresh(smallSize))
	}
	s.First = make([]time.Duration, m.o.Requests)
	next := make(chan int)
	var all sync.WaitGroup
	m.lab.Record()
	for range m.o.Clients {
		all.Go(func() {
			for i := range next {
				v, err := m.miss(ctx, targets[i])
				if err != nil {
					cancel(err)
				}
				s.First[i] = v.First.Sub(v.Start)
			}
		})
	}
	// Evenly, so that the clients do not come in step.
	every := time.NewTicker(max(m.limit()/time.Duration(m.o.Clients), time.Millisecond))
	defer every.Stop()
	for i := range m.o.Requests {
		select {
		case <-every.C:
		case <-ctx.Done():
		}
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	all.Wait()
	recording := m.lab.Stop()
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	for _, p := range recording.On(line) {
		if p.Opens && p.From == lab.Edge {
			s.Opened++
		}
	}
	after, err := m.handshakes(ctx)
	s.Handshakes, s.Requests = int(after-handshakes), m.o.Requests
	return s, err
}

// miss is one visit, which must be a miss.
func (m *measurer) miss(ctx context.Context, target string) (visit.Visit, error) {
	ctx, cancel := context.WithTimeout(ctx, visitTime)
	defer cancel()
	v, err := m.client().Visit(ctx, visit.TLS13, target)
	switch {
	case err != nil:
		return v, err
	case v.Status != 200, v.Bytes != int64(smallSize):
		return v, fmt.Errorf("far: get %s: status %d, %d bytes", target, v.Status, v.Bytes)
	case !strings.Contains(v.Verdict, "; fwd=uri-miss"):
		return v, fmt.Errorf("far: get %s: the edge says %q, and it cannot have had it", target, v.Verdict)
	}
	return v, nil
}

// handshakes is how many the edge has made with the origin since its start.
func (m *measurer) handshakes(ctx context.Context) (uint64, error) {
	s, err := m.net.Status(ctx, lab.Edge)
	if err != nil {
		return 0, err
	}
	if len(s.Origins) != 1 {
		return 0, fmt.Errorf("far: the edge tells of %d origins", len(s.Origins))
	}
	return s.Origins[0].HandshakesTotal, nil
}

// limit is how long a first byte takes by distance alone: the client's handshake with the edge (TCP, TLS 1.3), and the
// request over both distances.
func (m *measurer) limit() time.Duration { return m.o.limit() }

func (o Options) limit() time.Duration { return 3*o.ClientEdge + o.EdgeOrigin }
