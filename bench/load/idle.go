package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Idle are connections that stay open and do nothing, each after a request: what a server holds for each of them is seen in its
// memory.
type Idle struct {
	lines []*line
}

// openers are how many connections are opened at once: a server's backlog holds more.
const openers = 16

// OpenIdle opens as many connections as the load has, makes one request on each, and returns when all are open. Rates and times of
// the load do not matter. The error is of a load that is wrong, or of the first connection that could not be opened; then
// none is left open.
func (l HTTPLoad) OpenIdle(ctx context.Context) (*Idle, error) {
	l.For, l.NewConnections, l.Resume = max(l.For, time.Nanosecond), false, false
	if err := l.Check(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if !l.To.IsValid() {
		to, err := Resolve(ctx, l.URLs[0], "")
		if err != nil {
			return nil, fmt.Errorf("load: %v: %w", l.URLs[0], err)
		}
		l.To = to
	}
	d := newDialler(&l)
	if err := d.probe(ctx); err != nil {
		return nil, fmt.Errorf("load: %v over %s at %v: %w", l.URLs[0], l.Protocol, l.To, err)
	}
	idle := &Idle{lines: make([]*line, l.Connections)}
	for i := range idle.lines {
		idle.lines[i] = &line{d: d}
	}
	opening, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	urls, names := newRequests(&l), newPopularity(len(l.URLs), l.Zipf, l.Seed)
	next := make(chan int)
	var all sync.WaitGroup
	for range openers {
		all.Go(func() {
			for i := range next {
				w := newWorker(d, idle.lines[i], urls)
				o := w.ask(opening, names.at(int64(i)))
				w.close()
				if o.err != nil {
					stop(fmt.Errorf("load: connection %d of %d: %w", i+1, l.Connections, o.err))
				}
			}
		})
	}
	for i := range idle.lines {
		select {
		case next <- i:
			continue
		case <-opening.Done():
		}
		break
	}
	close(next)
	all.Wait()
	if opening.Err() != nil {
		idle.Close()
		return nil, context.Cause(opening)
	}
	return idle, nil
}

// Open is how many connections the server has not ended.
func (i *Idle) Open() (n int) {
	for _, l := range i.lines {
		l.mu.Lock()
		if l.now != nil && l.now.dead() == nil {
			n++
		}
		l.mu.Unlock()
	}
	return n
}

// Close ends them all. It may be called again.
func (i *Idle) Close() {
	for _, l := range i.lines {
		l.close()
	}
}
