package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// syncFile notes which revision DIR/network.yaml was last the same as. A file that is another has been edited since. Nodes look there too, to tell
// a file that is an older revision from an operator's own.
const syncFile = ".network.fleet.json"

// An agreed is the content of syncFile.
type agreed struct {
	Number int    `json:"number"`
	Hash   string `json:"hash"`
}

// A steward is the operator in `hither up`: it keeps DIR/network.yaml and the fleet's stable revision the same. What the fleet decides
// comes to the file; what is written into the file by hand goes to the fleet.
type steward struct {
	dir    string
	say    func(format string, args ...any)
	news   chan bus.Revision // stable revisions that the file is to become
	synced chan struct{}     // closed when file and fleet were the same for the first time
	moved  *bell             // rung when the hub may be elsewhere
	edited *bell             // rung when the file was taken by hand
	look   time.Duration     // how often it is seen whether the hub is away, and the identity another
	quiet  time.Duration     // for how long the hub is away before that is said
	once   bool
	given  agreed // of run alone: the last file that went to the fleet; its target may not be heard yet
}

// Times of a steward in use. A hub that starts with its network is there within some seconds.
const (
	stewardLook  = 2 * time.Second
	stewardQuiet = 15 * time.Second
	stewardAgain = time.Minute // how often it is said that the hub is away still
)

func newSteward(dir string, say func(string, ...any)) *steward {
	return &steward{dir: dir, say: say, news: make(chan bus.Revision), synced: make(chan struct{}), moved: newBell(), edited: newBell(),
		look: stewardLook, quiet: stewardQuiet}
}

// run does so until ctx ends. A hub that is away is waited for, with the identity that lies in the folder then: it is another after a rotation of the
// fleet's authority, or when it was added again, and nobody tells this process so.
func (s *steward) run(ctx context.Context) {
	moved := s.moved.listen()
	tick := time.NewTicker(s.look)
	defer tick.Stop()
	var a absence
	for said := ""; ctx.Err() == nil; {
		id, conn, err := s.dial()
		if err != nil && err.Error() != said {
			said = err.Error()
			s.say("the network file does not follow the fleet: %v", err)
		}
		session, end := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if conn != nil {
				// Whoever asks a connection something while it tries to come back waits for that; ended, it does not.
				defer context.AfterFunc(session, conn.Close)()
				s.session(session, conn, id)
			}
		}()
		for same := true; same && ctx.Err() == nil; {
			select {
			case <-moved:
				now, err := s.identity()
				same = err != nil || id != nil && now.HubIn == id.HubIn && slices.Equal(now.Hub, id.Hub)
			case at := <-tick.C:
				if conn != nil && s.here(&a, at, conn, id) {
					continue // with whatever identity
				}
				now, err := s.identity()
				same = err != nil || id != nil && now.Same(id)
			case <-ctx.Done():
			}
		}
		end()
		<-done
		if conn != nil {
			conn.Close()
		}
	}
}

func (s *steward) identity() (*fleet.Identity, error) {
	return fleet.LoadIdentity(filepath.Join(s.dir, fleet.OperatorFolder))
}

// dial makes a connection with the identity that lies in the folder. conn is nil where the network has no hub.
func (s *steward) dial() (id *fleet.Identity, conn *bus.Conn, err error) {
	if id, err = s.identity(); err != nil || len(id.Hub) == 0 {
		return id, nil, err
	}
	conn, err = bus.Dial(bus.Options{URLs: id.Hub, Identity: id, Embedded: id.HubIn, Log: slog.New(slog.DiscardHandler)})
	return id, conn, err
}

// An absence is since when the hub is away, and when that was said last. The zero absence is none.
type absence struct{ since, said time.Time }

// here says whether the hub is there, and tells people when it has been away for a while, and when it is back.
func (s *steward) here(a *absence, now time.Time, conn *bus.Conn, id *fleet.Identity) bool {
	if conn.Connected() {
		if !a.said.IsZero() {
			s.say("the hub answers; the network file follows the fleet again")
		}
		*a = absence{}
		return true
	}
	if a.since.IsZero() {
		a.since = now
	}
	away := now.Sub(a.since)
	if away < s.quiet || !a.said.IsZero() && now.Sub(a.said) < stewardAgain {
		return false
	}
	a.said = now
	why := refusal(conn, id)
	if why == nil {
		why = bus.ErrAway
	}
	s.say("the network file has not followed the fleet for %v: %v", away.Round(time.Second), why)
	return false
}

// session does so over one connection.
func (s *steward) session(ctx context.Context, conn *bus.Conn, id *fleet.Identity) {
	op := &operator{conn: conn, name: id.Name, tidy: func() {}}
	wake := newBell()
	ring, edited := wake.listen(), s.edited.listen()
	unsubscribe, err := conn.Subscribe(bus.LiveTables+bus.TableTarget+"."+bus.TargetKey, func(*bus.Message) { wake.ring() })
	if err != nil {
		s.say("the network file does not follow the fleet: %v", err)
		return
	}
	defer unsubscribe()
	conn.OnConnect(wake.ring)
	for said := ""; ; {
		var again <-chan time.Time
		if conn.Connected() {
			switch err := s.agree(ctx, op); {
			case err == nil:
				said = ""
			case ctx.Err() == nil:
				again = time.After(hubAgain)
				if !errors.Is(err, errNone) && !errors.Is(err, bus.ErrAway) && err.Error() != said {
					said = err.Error()
					s.say("the network file and the fleet are not the same: %v", err)
				}
			}
		}
		select {
		case <-ring:
		case <-edited:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// errNone is that the fleet has no revision yet; the control makes the first.
var errNone = errors.New("the fleet has no revision yet")

// agree makes file and fleet the same, or says why they are not.
func (s *steward) agree(ctx context.Context, op *operator) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	all, err := op.conn.Last(ctx, bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
	if err != nil || len(all) == 0 || len(all[len(all)-1].Data) == 0 {
		return errors.Join(errNone, err)
	}
	var t bus.Target
	if err := bus.Decode(all[len(all)-1].Data, &t); err != nil {
		return err
	}
	file, err := os.ReadFile(filepath.Join(s.dir, "network.yaml"))
	if err != nil {
		return err
	}
	hash, last := bus.HashOf(file), agreedIn(s.dir)
	switch {
	case t.Stable == 0:
		return errNone
	case hash == t.Hash && (s.given.Hash == hash || t.Stable >= s.given.Number):
		return s.note(t)
	case s.given.Hash == hash && t.Stable < s.given.Number, hash == t.Hash: // what was given is on its way
		return nil
	case hash != last.Hash, s.given.Hash == t.Hash: // the fleet says what it was told, and the file is another since
		return s.give(ctx, op, file)
	}
	all, err = op.conn.Last(ctx, bus.StreamRevisions, bus.RevisionSubject(t.Stable))
	if err != nil || len(all) == 0 {
		return errors.Join(fmt.Errorf("revision %d is not at the hub", t.Stable), err)
	}
	var rev bus.Revision
	if err := bus.Decode(all[len(all)-1].Data, &rev); err != nil {
		return err
	}
	if rev.Number != t.Stable || bus.HashOf(rev.File) != t.Hash {
		return fmt.Errorf("revision %d at the hub is not what the target says", t.Stable)
	}
	select {
	case s.news <- rev:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// give makes the file a revision that all nodes run at once: they have read it already.
func (s *steward) give(ctx context.Context, op *operator, file []byte) error {
	if _, err := deploy.Parse("network.yaml", file, checks...); err != nil {
		return errNone // which was said when it was read
	}
	var doc struct {
		Number int `json:"number"`
	}
	err := op.ask(ctx, "apply", map[string]any{"file": file, "note": "network.yaml of hither up", "now": true}, &doc)
	if err != nil {
		return fmt.Errorf("the control did not take it: %w", err)
	}
	s.given = agreed{doc.Number, bus.HashOf(file)}
	return nil // the target changes, and that is heard
}

// agreedIn is what was noted last in a folder.
func agreedIn(dir string) (n agreed) {
	if data, err := os.ReadFile(filepath.Join(dir, syncFile)); err == nil && json.Unmarshal(data, &n) != nil {
		return agreed{}
	}
	return n
}

// note notes that the file is the stable revision.
func (s *steward) note(t bus.Target) error {
	if !s.once {
		s.once = true
		close(s.synced)
	}
	n := agreed{t.Stable, t.Hash}
	if agreedIn(s.dir) == n {
		return nil
	}
	return writeJSON(filepath.Join(s.dir, syncFile), n)
}
