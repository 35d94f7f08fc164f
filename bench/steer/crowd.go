package steer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"hither/bench/lab"
	"hither/bench/visit"
)

// nowhere is the PoP of a client that has none yet.
const nowhere lab.Place = -1

// A crowd is clients that ask DNS as often as an answer allows, and visit the PoP that it names.
type crowd struct {
	place *lab.Node
	tls   *tls.Config
	every time.Duration

	begin  time.Time
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	clients []client
	visits  int
	failed  int
	because error // of the first that failed
}

// A client is where one is, and where it was.
type client struct {
	pop    lab.Place
	first  lab.Place // the first it was sent to
	moves  int
	backs  int           // moves to the first
	parted time.Duration // since the crowd began: when it left the first at last
}

func newCrowd(at *lab.Node, roots *x509.CertPool, clients int, every time.Duration) *crowd {
	c := &crowd{place: at, tls: &tls.Config{RootCAs: roots, ServerName: lab.Host}, every: every, cancel: func() {}}
	for range clients {
		c.clients = append(c.clients, client{pop: nowhere, first: nowhere})
	}
	return c
}

// start has all clients come, one after the other within the time between two visits.
func (c *crowd) start(ctx context.Context) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.begin = time.Now()
	for i := range c.clients {
		c.all.Go(func() { c.live(ctx, i) })
	}
}

// stop has all leave, and waits until they have.
func (c *crowd) stop() {
	c.cancel()
	c.all.Wait()
}

// live is a client's time.
func (c *crowd) live(ctx context.Context, i int) {
	from := lab.ClientAddr(i)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return c.place.DialFrom(ctx, from, network, address)
	}
	v := &visit.Client{Dial: dial, TLS: c.tls}
	var asked time.Time
	next := c.begin.Add(c.every * time.Duration(i) / time.Duration(len(c.clients)))
	for pause(ctx, time.Until(next)) == nil {
		next = next.Add(c.every)
		if time.Since(asked) >= ttl {
			now := time.Now()
			found, err := visit.Ask(ctx, dial, netip.AddrPortFrom(lab.DNS.Addr(), 53).String(), lab.Host)
			if err == nil {
				err = c.sent(i, found[0])
			}
			if err != nil {
				c.visited(ctx, err)
				continue
			}
			asked, v.To = now, netip.AddrPortFrom(found[0], 443)
		}
		x, err := v.Visit(ctx, visit.TLS13, "/1KiB.bin")
		if err == nil && x.Status != 200 {
			err = fmt.Errorf("steer: %v answers with status %d", v.To, x.Status)
		}
		c.visited(ctx, err)
	}
}

// sent notes where DNS has sent a client.
func (c *crowd) sent(i int, to netip.Addr) error {
	p, ok := placeOf(to)
	if !ok {
		return fmt.Errorf("steer: DNS names %v, which is no PoP", to)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x := &c.clients[i]
	switch {
	case x.pop == nowhere:
		x.first = p
	case x.pop != p:
		x.moves++
		if p == x.first {
			x.backs++
		}
		if x.pop == x.first {
			x.parted = time.Since(c.begin)
		}
	}
	x.pop = p
	return nil
}

// visited counts a visit, but for those that the crowd's end cut off.
func (c *crowd) visited(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.visits++
	if err != nil {
		c.failed++
		if c.because == nil {
			c.because = err
		}
	}
}

// at counts clients by the PoP that they are at now.
func (c *crowd) at() map[lab.Place]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := make(map[lab.Place]int)
	for _, x := range c.clients {
		n[x.pop]++
	}
	return n
}

// lost is when the last client left a PoP, to which it had been sent first.
func (c *crowd) lost(p lab.Place) (last time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.clients {
		if x.first == p {
			last = max(last, x.parted)
		}
	}
	return last
}

// counts sums up where clients are and how often they moved.
func (c *crowd) counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := Counts{Visits: c.visits, Failed: c.failed, Because: c.because}
	for _, x := range c.clients {
		if x.first == lab.Edge {
			n.First++
		}
		if x.pop == lab.Edge {
			n.Stayed++
		}
		if x.pop != x.first {
			n.Elsewhere++
		}
		n.Moves += x.moves
		n.Backs += x.backs
	}
	return n
}

// wait returns when something is so, which is looked at four times a second. That it is not so in time is no error.
func (c *crowd) wait(ctx context.Context, d time.Duration, is func() bool) error {
	for deadline := time.Now().Add(d); !is() && time.Now().Before(deadline); {
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
