package contest

import (
	"context"
	"fmt"
	"time"

	"hither/bench/load"
	"hither/bench/peers"
)

// load is one run of all cases but idle ones.
func (c *Contest) load(ctx context.Context, s *peers.WebServer, one Case) (Run, error) {
	asked, err := c.count(ctx)
	if err != nil {
		return Run{}, err
	}
	before, err := c.usage(s)
	if err != nil {
		return Run{}, err
	}
	began := time.Now()
	web, err := c.Clients.load(ctx, s, one, c.For, c.nonce)
	if err != nil {
		return Run{}, err
	}
	took := time.Since(began)
	after, err := c.usage(s)
	if err != nil {
		return Run{}, err
	}
	askedAfter, err := c.count(ctx)
	if err != nil {
		return Run{}, err
	}
	if err := judge(one, web, askedAfter-asked); err != nil {
		return Run{}, err
	}
	server, helper := after.server-before.server, after.helper-before.helper
	others := after.machine - before.machine - server - helper - (after.behind - before.behind) - (after.self - before.self)
	if one.Client != benchName {
		others -= web.CPU
	}
	return Run{
		PerRequest: server / time.Duration(web.Answered), Helper: helper / time.Duration(web.Answered),
		Rate: web.Rate(), P50: web.P50, P99: web.P99, P999: web.P999, RSS: after.rss,
		Answered: web.Answered, Asked: askedAfter - asked, Failed: web.Failed,
		Busy: server.Seconds() / took.Seconds(), Others: max(others.Seconds()/took.Seconds(), 0),
	}, nil
}

// usual is how many connections a server has had before those that are counted: by then it has the memory that it works with.
const usual = 64

// idle starts a server, opens connections, and reads what they added to its memory.
func (c *Contest) idle(ctx context.Context, e Entrant, one Case) (Run, error) {
	s, err := e.Start(ctx)
	if err != nil {
		return Run{}, &StartError{e.Name, err}
	}
	defer s.Stop()
	l := c.Clients.own(s, one, c.For, "")
	l.URLs, l.Zipf = l.URLs[:1], 0 // of which the first is stored by the second
	l.Connections = usual
	open := func() (*load.Idle, int64, error) {
		idle, err := l.OpenIdle(ctx)
		if err != nil {
			return nil, 0, err
		}
		select {
		case <-time.After(c.Settle):
		case <-ctx.Done():
		}
		u, err := c.usage(s)
		if err == nil && idle.Open() < l.Connections {
			err = fmt.Errorf("it closed %d of %d idle connections", l.Connections-idle.Open(), l.Connections)
		}
		return idle, u.rss, err
	}
	some, _, err := open()
	if some != nil {
		some.Close()
	}
	if err != nil {
		return Run{}, blame(s, err)
	}
	before, err := c.usage(s)
	if err != nil {
		return Run{}, blame(s, err)
	}
	l.Connections = c.Idle
	all, rss, err := open()
	if all != nil {
		defer all.Close()
	}
	if err != nil {
		return Run{}, blame(s, err)
	}
	return Run{RSS: rss, PerConnection: (rss - before.rss) / int64(c.Idle), Answered: int64(c.Idle)}, nil
}

// blame prefers how the server ended to what was seen of that.
func blame(s *peers.WebServer, err error) error {
	if dead := s.Dead(); dead != nil {
		return dead
	}
	return err
}
