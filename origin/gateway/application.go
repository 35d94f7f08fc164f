package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"

	"hither/deploy"
	"hither/origin/discover"
	"hither/origin/upstream"
)

// application is the servers behind a gateway: who they are, as the network file or a look-up says, and the upstream that
// spreads requests over them.
type application struct {
	*Proxy
	o       *Options
	up      *upstream.Upstream
	senders *senders
	log     *slog.Logger

	ctx  context.Context // of checks and look-ups
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex // guards what follows; changes come one after the other
	origin *deploy.Origin
	trust  trust
	list   []upstream.Instance // in use
	look   *look               // nil = the file lists them
}

// look is a look-up of instances that goes on.
type look struct {
	*discover.Watcher
	stop     context.CancelFunc
	answered chan struct{} // closed with the first answer
	known    bool          // it has answered, with
	found    []discover.Found
	led      bool // somewhere, once
}

// newApplication begins to look after an application. A look-up that was made before has found the servers of start, which
// are used until it answers.
func newApplication(origin *deploy.Origin, o *Options, start []upstream.Instance) (_ *application, err error) {
	a := &application{o: o, log: o.Log, origin: origin, trust: trust{}, list: start, senders: newSenders(origin, o)}
	a.ctx, a.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if origin.App.Discover == nil {
		if a.list, err = listed(origin.App.Instances, a.trust); err != nil {
			return nil, err
		}
	}
	if a.up, err = upstream.New(a.upstreamConfig(a.list)); err != nil {
		return nil, err
	}
	a.Proxy = NewProxy(ProxyConfig{Name: o.Name, Transport: a.up, Log: o.Log})
	a.work.Go(func() { a.up.Run(a.ctx) })
	return a, a.watch(origin.App.Discover)
}

// change takes what the network file says now, where that can be had without another upstream: other servers, another
// limit. ok is false where it cannot, and then nothing has changed, as on an error.
func (a *application) change(origin *deploy.Origin) (ok bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !sameUpstream(a.origin, origin) {
		return false, nil
	}
	found := origin.App.Discover != nil
	switch {
	case !found:
		list, err := listed(origin.App.Instances, a.trust)
		if err == nil {
			err = a.up.Set(list)
		}
		if err != nil {
			return false, err
		}
		a.list = list
		a.unwatch()
	case !reflect.DeepEqual(a.origin.App.Discover, origin.App.Discover):
		// What was used stays in use until the new look-up leads somewhere.
		before := a.look
		if err := a.watch(origin.App.Discover); err != nil {
			return false, err
		}
		if before != nil {
			before.stop()
		}
	case a.look.known: // a file of certificates may have another content
		if err := a.take(origin.App.Discover, a.look.found); err != nil {
			return false, err
		}
	}
	if l := limitConfig(origin); l != nil {
		a.up.ChangeLimit(*l)
	}
	a.origin = origin
	return true, nil
}

// sameUpstream says whether two origins differ in nothing but what an upstream can change while it runs.
func sameUpstream(x, y *deploy.Origin) bool {
	if y.App.Static != nil || (x.Limits.Total == 0) != (y.Limits.Total == 0) {
		return false
	}
	return x.App.ProxyProtocol == y.App.ProxyProtocol && x.Limits.Connect == y.Limits.Connect && x.Limits.FirstByte == y.Limits.FirstByte && x.Limits.Idle == y.Limits.Idle &&
		reflect.DeepEqual(x.Balance, y.Balance) && reflect.DeepEqual(x.Retry, y.Retry)
}

// watch begins a look-up; nil is none. a.mu is held, or nobody else knows a.
func (a *application) watch(d *deploy.Discover) error {
	if d == nil {
		return nil
	}
	w, err := discover.New(discoverConfig(d, a.o))
	if err == nil && d.Scheme == "https" {
		_, err = a.trust.config(d.CA, "") // a file that cannot be had is known now
	}
	if err != nil {
		return fmt.Errorf("gateway: origin %s: %w", a.origin.Name, err)
	}
	l := &look{Watcher: w, answered: make(chan struct{})}
	ctx, stop := context.WithCancel(a.ctx)
	l.stop = stop
	a.look = l
	once := sync.OnceFunc(func() { close(l.answered) })
	a.work.Go(func() {
		l.Run(ctx, func(found []discover.Found) { a.found(l, d, found); once() })
	})
	return nil
}

// unwatch ends the look-up, if there is one. a.mu is held.
func (a *application) unwatch() {
	if a.look != nil {
		a.look.stop()
		a.look = nil
	}
}

// missing says whether servers are used that the look-up did not find, because it has found none so far.
func (a *application) missing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.look != nil && a.look.known && !a.look.led && len(a.list) > 0
}

// found takes what a look-up found.
func (a *application) found(l *look, d *deploy.Discover, found []discover.Found) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.look != l {
		return // another one took its place while this one waited for an answer
	}
	// Only to where nobody may go is somewhere too: the servers from before may be there.
	l.known, l.found, l.led = true, found, l.led || len(found) > 0 || l.Status().LookupsTotal["refused"] > 0
	if err := a.take(d, found); err != nil {
		a.log.Error("servers that were looked up cannot be used; those from before stay", "name", d.DNS, "error", err)
	}
}

// take has the servers found be used. A name that has never led anywhere, such as one that was mistyped, takes nothing from
// those that are used: only the start finds none then. a.mu is held.
func (a *application) take(d *deploy.Discover, found []discover.Found) error {
	if len(found) == 0 && !a.look.led {
		return nil
	}
	list, err := located(d, found, a.trust)
	if err == nil {
		err = a.up.Set(list)
	}
	if err == nil {
		a.list = list
	}
	return err
}

// warm waits until a look-up has answered for the first time, or ctx ends.
func (a *application) warm(ctx context.Context) {
	a.mu.Lock()
	l := a.look
	a.mu.Unlock()
	if l == nil {
		return
	}
	select {
	case <-l.answered:
	case <-ctx.Done():
	}
}

// instances are those in use.
func (a *application) instances() []upstream.Instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list
}

// quiet ends checks and look-ups; requests go on.
func (a *application) quiet() { a.stop() }

// close ends everything, whatever is in flight.
func (a *application) close() error {
	a.stop()
	var err error
	if a.up != nil {
		err = a.up.Close()
	}
	a.work.Wait()
	return errors.Join(err)
}
