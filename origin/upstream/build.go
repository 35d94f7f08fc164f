package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"hither/origin/balance"
	"hither/origin/health"
	"hither/origin/limit"
)

// Upstream is the instances of one origin, as an http.RoundTripper. It is safe for concurrent use.
type Upstream struct {
	cfg      Config
	born     time.Time
	balancer *balance.Balancer
	checker  *health.Checker // nil = no checks
	hashes   bool            // the algorithm goes by a hash of the request
	budget   budget
	pressure pressure

	requests atomic.Uint64
	retries  [len(reasons)]atomic.Uint64
	refused  atomic.Uint64 // retries and hedges for want of budget

	limiter  atomic.Pointer[limit.Limiter]
	adaptive atomic.Bool // the limiter's

	setting sync.Mutex // one Set at a time
	calls   sync.WaitGroup
	work    sync.WaitGroup // senders that are drained, and attempts that lost
	ctx     context.Context
	stop    context.CancelFunc

	mu      sync.RWMutex // never held while anything waits
	closing bool
	members map[string]*member
	tokens  map[string]string // what affinity cookies say to IDs
	leaving map[*member]bool
}

// New checks cfg and makes the senders of its instances. All mistakes of cfg are in the error.
func New(cfg Config) (*Upstream, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.Balance.Now = cfg.Now
	balancer, err := balance.New(cfg.Balance, balanced(cfg.Instances))
	if err != nil {
		return nil, fmt.Errorf("upstream: origin %q: %w", cfg.Origin, err)
	}
	u := &Upstream{
		cfg: cfg, born: cfg.Now(), balancer: balancer, budget: budget{percent: cfg.Retry.Percent},
		hashes:  cfg.Balance.Algorithm == "maglev" || cfg.Balance.Algorithm == "bounded-hash",
		members: map[string]*member{}, leaving: map[*member]bool{},
	}
	u.ctx, u.stop = context.WithCancel(context.Background())
	if cfg.Limit != nil {
		u.ChangeLimit(*cfg.Limit)
	}
	if cfg.Check != nil {
		u.checker, err = health.New(*cfg.Check, health.Options{Report: balancer.Checked, Alive: balancer.Alive, Now: cfg.Now, Log: cfg.Log})
		if err != nil {
			return nil, fmt.Errorf("upstream: origin %q: %w", cfg.Origin, err)
		}
	}
	if err := u.Set(cfg.Instances); err != nil {
		u.stop()
		return nil, err
	}
	return u, nil
}

func (c *Config) check() error {
	var wrong []error
	bad := func(format string, a ...any) {
		wrong = append(wrong, fmt.Errorf("upstream: origin %q: "+format, append([]any{c.Origin}, a...)...))
	}
	if c.Origin == "" {
		bad("has no name")
	}
	if c.Sender == nil {
		bad("nobody makes its senders")
	}
	for _, name := range []string{c.Affinity.Cookie, c.Affinity.Header} {
		if name != "" && !httpguts.ValidHeaderFieldName(name) { // a cookie's name is a token too (RFC 6265 section 4.1.1)
			bad("affinity by %q, which is no token", name)
		}
	}
	if c.Affinity.Rebalance < 0 || c.Retry.Hedge < 0 || c.Linger < 0 {
		bad("a time below zero")
	}
	if c.Retry.Percent > 100 {
		bad("retries of %d %% of the requests", c.Retry.Percent)
	}
	for _, s := range c.Retry.Statuses {
		if s < 400 || s > 599 {
			bad("a retry after %d, which is no error", s)
		}
	}
	return errors.Join(wrong...)
}

func (c Config) withDefaults() Config {
	c.Retry.Attempts = max(0, cmp.Or(c.Retry.Attempts, 2))
	c.Retry.Percent = max(0, cmp.Or(c.Retry.Percent, 20))
	if c.Retry.Statuses == nil {
		c.Retry.Statuses = []int{502, 503, 504}
	}
	c.Linger = cmp.Or(c.Linger, 5*time.Minute)
	if len(c.Affinity.Key) == 0 {
		c.Affinity.Key = []byte(c.Origin)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func balanced(list []Instance) []balance.Instance {
	var l []balance.Instance
	for _, i := range list {
		l = append(l, balance.Instance{ID: i.ID, Weight: i.Weight, Group: i.Group})
	}
	return l
}

// Run makes the active checks, and looks at who is reached again, until ctx ends. Call it once.
func (u *Upstream) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { u.reached(ctx) })
	if u.checker != nil {
		u.checker.Run(ctx)
	}
	all.Wait()
}

// lookAgain is how often it is looked at which instances are reached.
const lookAgain = 250 * time.Millisecond

// reached tells balance of instances to which there was no connection, and now is one.
func (u *Upstream) reached(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	away := make(map[*member]bool)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		u.mu.RLock()
		members := u.members // which nobody changes but as a whole
		u.mu.RUnlock()
		was := away
		away = make(map[*member]bool)
		for id, m := range members {
			s, knows := m.sender.(interface{ Up() bool })
			switch {
			case !knows:
			case !s.Up():
				away[m] = true
			case was[m]:
				u.balancer.Connected(id)
			}
		}
	}
}

// ChangeLimit takes another limit of requests at once, see limit.Limiter.Change; its clock is the upstream's.
func (u *Upstream) ChangeLimit(cfg limit.Config) {
	u.setting.Lock()
	defer u.setting.Unlock()
	cfg.Now = u.cfg.Now
	if l := u.limiter.Load(); l != nil {
		l.Change(cfg)
	} else {
		u.limiter.Store(limit.New(cfg))
	}
	u.adaptive.Store(cfg.Concurrent <= 0)
}

// second counts whole seconds by the monotonic clock.
func (u *Upstream) second() int64 { return int64(u.cfg.Now().Sub(u.born) / time.Second) }

// retriable says whether an answer of that status is one after which a request goes elsewhere.
func (u *Upstream) retriable(status int) bool { return slices.Contains(u.cfg.Retry.Statuses, status) }
