package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"hither/bench/contest"
	"hither/bench/load"
	"hither/bench/peers"
	"hither/bench/upstream"
)

// bench makes the folder, and says who runs where.
func (o *peersOptions) bench() (*peers.Bench, *peers.Folder, error) {
	cores, err := load.Cores()
	if err != nil {
		return nil, nil, err
	}
	if len(cores) < 2 {
		return nil, nil, errors.New("server and client take a core each, and this program may use one only")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	b := &peers.Bench{Self: self, Net: o.net, Server: cores[0], Client: cores[len(cores)-1], Log: o.log == "on", Connections: o.idle}
	if err := b.Check(); err != nil {
		return nil, nil, err
	}
	if err := moreFiles(b.Files()); err != nil {
		return nil, nil, err
	}
	folder, err := peers.NewFolder(self)
	if err != nil {
		return nil, nil, err
	}
	b.Folder = folder.Dir
	return b, folder, nil
}

// moreFiles lets this program and what it starts have so many files open.
func moreFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("how many files may be open: %w", err)
	}
	if limit.Max < uint64(n) {
		return fmt.Errorf("the idle connections take %d open files, and this program may have %d: use `ulimit -Hn`, or fewer --connections", n, limit.Max)
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // what is set by a call goes to children as well
}

// ready starts the upstream, and makes all that servers and clients need.
func (o *peersOptions) ready(ctx context.Context, b *peers.Bench, clients *contest.Clients) (up *peers.WebServer, err error) {
	if up, err = b.StartUpstream(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			up.Stop()
		}
	}()
	if b.Certificate, err = peers.NewCertificate(b.Folder, peers.WebName); err != nil {
		return nil, err
	}
	clients.Core, clients.Folder, clients.Roots = b.Client, b.Folder, b.Certificate.Roots
	if err := clients.Prepare(); err != nil {
		return nil, err
	}
	b.Objects = filepath.Join(b.Folder, "objects")
	if slices.ContainsFunc(o.peers, func(p peers.WebPeer) bool { return !p.Stores }) {
		for _, s := range upstream.Sizes() {
			if err := upstream.NewObjects().Write(b.Objects, s, contest.Keys(s)); err != nil {
				return nil, err
			}
		}
	}
	return up, load.MoveTo(b.Client)
}

// contest is that of ours and a peer.
func (o *peersOptions) contest(b *peers.Bench, clients *contest.Clients, up *peers.WebServer, peer peers.WebPeer) *contest.Contest {
	return &contest.Contest{
		Ours: contest.Entrant{Name: ourName, HTTP3: true, Stores: true, Start: func(ctx context.Context) (*peers.WebServer, error) {
			return peers.StartHitherWeb(ctx, o.hither, b)
		}},
		Peer: contest.Entrant{Name: peer.Name, HTTP3: peer.HTTP3, Stores: peer.Stores, Start: func(ctx context.Context) (*peers.WebServer, error) {
			return peer.Start(ctx, b)
		}},
		Upstream: up, Clients: clients, Cases: o.cases, Pairs: o.pairs, For: o.each, Idle: o.idle, Settle: time.Second,
	}
}

// estimate is about how long it will take.
func (o *peersOptions) estimate(all []*contest.Contest) (sum time.Duration) {
	const (
		around  = 300 * time.Millisecond // each run
		prepare = 2 * time.Second        // each case
		start   = 4 * time.Second        // both servers
	)
	for _, c := range all {
		sum += start
		for _, one := range c.Suited() {
			if one.Kind == contest.Idle {
				sum += time.Duration(2*min(o.pairs, contest.IdlePairs)) * (2*time.Second + start)
				continue
			}
			sum += prepare + time.Duration(2*o.pairs)*(o.each+around)
		}
	}
	return sum
}
