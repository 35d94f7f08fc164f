// Package hub is where the nodes of a fleet meet: a NATS server inside of an origin's node, with the streams that package bus
// names, who may say and hear what, and the same as a configuration for a NATS cluster elsewhere.
//
// Who connects proves itself by the fleet's certificate, and its permissions follow from that (see [PermissionsOf]): a node may
// publish its own reports, hear what is for all and for itself, and read the streams that are for nodes. The control alone, which is
// in this process, may write them. What a node sends beyond its due ends its connection: a stolen one can hurt nobody but itself.
//
// Reading order: hub.go (start and end), admit.go (who is let in), watch.go (what is too much, and a disk that is full), streams.go and
// journal.go (what outlives a process), permissions.go and config.go (the same for a cluster elsewhere).
package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// Options say what a hub is given.
type Options struct {
	Listen   netip.AddrPort  // where nodes come in; port 0 = any that is free
	Folder   string          // for JetStream: STATE/hub
	Identity *fleet.Identity // of the origin's node; it shows its certificate, and refuses who is revoked. Required
	Log      *slog.Logger    // required

	// Problem is told why the hub takes no purges and revisions, as while its disk is full, and "" when it does again; nil = nobody is. It is called
	// by one goroutine, about once a second at most, and not before Start's end.
	Problem func(why string)

	// Limits of one node; the zero Limits are those that README names.
	Limits Limits
}

// A Hub is a NATS server in this process. It is safe for concurrent use.
type Hub struct {
	o     Options
	nats  *server.Server
	token string // by which the control in this process is known
	log   *logger
	door  door
	disk  disk

	reader *bus.Conn // answers what nodes read; nil before Start's end
	serves bool      // reader does so already: its streams are there; of Start, then of watch
	stop   context.CancelFunc
	ends   sync.WaitGroup
}

// Limits of the server and of JetStream in it.
const (
	readyTime   = 30 * time.Second // how long a start may take: JetStream reads what lies in its folder
	mostConns   = 4096             // connections, with those that have not proven yet who they are
	mostSubs    = 256              // subscriptions of one connection; who comes to that many is cut off
	mostPending = 16 << 20         // bytes that wait for one connection; more end it
	mostDisk    = 2 << 30          // what all streams may take; see streams
	mostMemory  = 64 << 20         // of streams in memory, of which there are none
)

// Restored is the file in a hub's folder by which `hither fleet restore` says that the streams there are older than what nodes have
// heard: the journal gets a new name, and the file is removed.
const Restored = "RESTORED"

// Start starts a hub. It is ready when Start returns, but may have no stream yet: see [Ensure].
func Start(o Options) (*Hub, error) {
	h := &Hub{o: o, token: rand.Text(), log: newLogger(o.Log)}
	h.o.Limits = o.Limits.orDefaults()
	h.door.live, h.door.banned, h.door.refused = make(map[uint64]*visitor), make(map[fleet.Peer]time.Time), make(map[string]int64)
	h.log.refused, h.log.fault = h.refuse, h.fault
	h.log.broken = func() { h.disk.broken.Store(true) }
	options := &server.Options{
		ServerName: o.Identity.Peer.String(), Host: o.Listen.Addr().String(), Port: int(o.Listen.Port()),
		NoLog: true, NoSigs: true, JetStream: true, StoreDir: o.Folder, SyncAlways: true,
		JetStreamMaxStore: mostDisk, JetStreamMaxMemory: mostMemory, DisableJetStreamBanner: true,
		TLSConfig:         o.Identity.ServerTLS(fleet.RoleEdge, fleet.RoleOrigin, fleet.RoleDNS, fleet.RoleOperator),
		TLSHandshakeFirst: true, TLSTimeout: h.o.Limits.Handshake.Seconds(), AuthTimeout: h.o.Limits.Handshake.Seconds(),
		MaxPayload: bus.MostMessage + 64<<10, MaxConn: mostConns, MaxSubs: mostSubs, MaxPending: mostPending, MaxControlLine: 4 << 10,
		PingInterval: 10 * time.Second, MaxPingsOut: 3, WriteDeadline: h.o.Limits.Stalled, NoSystemAccount: true, MaxClosedClients: 64,
		CustomClientAuthentication: h,
	}
	if o.Listen.Port() == 0 {
		options.Port = server.RANDOM_PORT
	}
	var err error
	if h.nats, err = server.NewServer(options); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	h.nats.SetLoggerV2(h.log, true, false, false)
	h.nats.Start()
	if err := h.ready(); err != nil {
		h.Close()
		return nil, err
	}
	if err := h.recover(); err != nil {
		h.Close()
		return nil, err
	}
	if h.reader, err = bus.Dial(h.Control()); err == nil {
		err = h.serve()
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("hub: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.ends.Go(func() { h.watch(ctx) })
	return h, nil
}

// ready waits until nodes may come in.
func (h *Hub) ready() error {
	for end := time.Now().Add(readyTime); ; {
		if h.nats.ReadyForConnections(100 * time.Millisecond) {
			break
		}
		select {
		case why := <-h.log.fatal:
			return fmt.Errorf("hub: %s", why)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("hub: not ready on %v after %v", h.o.Listen, readyTime)
		}
	}
	if !h.nats.JetStreamEnabled() {
		return errors.New("hub: JetStream did not start")
	}
	return nil
}

// recover looks at what JetStream found in its folder. A journal that is shorter than it was, or restored, gets a new name, so that
// nodes do not take its next entries for those that they know.
func (h *Hub) recover() error {
	marker := filepath.Join(h.o.Folder, Restored)
	_, err := os.Stat(marker)
	restored := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hub: %w", err)
	}
	last, there := h.journalEnd()
	mark := h.readMark()
	if there && (restored || last < mark) {
		h.o.Log.Warn("the hub's journal is not what it was: it gets a new name, and nodes hold for stale what they have",
			"last", last, "was", mark, "restored", restored)
		conn, err := bus.Dial(h.Control())
		if err != nil {
			return fmt.Errorf("hub: %w", err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), readyTime)
		defer cancel()
		if err := Forget(ctx, conn); err != nil {
			return err
		}
	}
	if !there && mark > 0 {
		h.o.Log.Warn("the hub's journal is gone: a new one begins, and nodes hold for stale what they have", "was", mark)
	}
	h.disk.mark = last
	if last != mark {
		h.writeMark(last)
	}
	if restored {
		if err := os.Remove(marker); err != nil {
			return fmt.Errorf("hub: %w", err)
		}
	}
	return nil
}

// serve has nodes read, where there is something to be read. Without streams NATS tells nobody that nothing will answer: a node that
// asks would wait for seconds, and not hear of what is written meanwhile. Where nobody serves, it is told at once.
func (h *Hub) serve() error {
	if h.serves {
		return nil
	}
	ends := h.streamEnds()
	for _, stream := range []string{bus.StreamJournal, bus.StreamRevisions, bus.StreamTables} {
		if _, there := ends[stream]; !there {
			return nil
		}
	}
	err := h.reader.ServeReads()
	h.serves = err == nil
	return err
}

// Addr is where nodes come in.
func (h *Hub) Addr() string { return h.nats.Addr().String() }

// URL is the same as the network file has it.
func (h *Hub) URL() string { return "tls://" + h.Addr() }

// Control returns the options by which the control in this process connects.
func (h *Hub) Control() bus.Options {
	return bus.Options{
		Identity: h.o.Identity, Log: h.o.Log, InProcess: h.nats, Token: h.token,
		Refused: func(node, why string) { h.refuse(RejectedDenied, node, "error", why) },
	}
}

// Close ends the hub and all its connections, and returns when its files are closed.
func (h *Hub) Close() {
	if h.stop != nil {
		h.stop()
	}
	h.ends.Wait()
	if h.reader != nil {
		h.reader.Close()
	}
	h.nats.Shutdown()
	h.nats.WaitForShutdown()
}
