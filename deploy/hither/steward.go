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
	"sync"
	"time"

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
// comes to the file, where nobody has edited that; a file that is edited goes to the fleet when an operator asks for it, and not before.
type steward struct {
	dir    string
	say    func(format string, args ...any)
	news   chan decided  // revisions that the file is to become
	synced chan struct{} // closed when file and fleet were the same for the first time, or people were told why they are not
	moved  *bell         // rung when the hub may be elsewhere
	edited *bell         // rung when the file may be another, or is to go to the fleet
	look   time.Duration // how often it is seen whether the hub is away, and the identity another
	quiet  time.Duration // for how long the hub is away before that is said

	// Of run alone.
	once  bool
	given agreed    // the last file that went to the fleet; a server of a cluster may not have heard of it yet
	gave  time.Time // when

	mu   sync.Mutex // guards what follows
	want *wanted    // what an operator has asked for and the fleet does not have; nil = nothing
	base string     // hash of the revision that the file is made from, or of which people have been told since that the fleet has it
}

// A wanted is a file that an operator has asked to give to the fleet. It is what the file was then, whatever is written there later.
type wanted struct {
	file       []byte
	hash, base string // of the revision that it was made from: where the fleet has another by now, it would undo that
}

// A decided is a stable revision that is to take the place of the file with the hash over.
type decided struct {
	bus.Revision
	over string
}

// Times of a steward in use. A hub that starts with its network is there within some seconds.
const (
	stewardLook  = 2 * time.Second
	stewardQuiet = 15 * time.Second
	stewardAgain = time.Minute // how often it is said that the hub is away still
)

// newSteward makes a steward of a folder whose network file, as `hither up` starts, is file. What was edited since file and fleet were the same
// is asked for by the start.
func newSteward(dir string, file []byte, say func(string, ...any)) *steward {
	s := &steward{dir: dir, say: say, news: make(chan decided), synced: make(chan struct{}), moved: newBell(), edited: newBell(),
		look: stewardLook, quiet: stewardQuiet, base: agreedIn(dir).Hash}
	if s.base == "" { // the first start of all: the fleet begins with this file
		s.base = bus.HashOf(file)
	}
	s.ask(file)
	return s
}

// ask has a file that was checked go to the fleet, now or when the hub is back. It may be called at any time.
func (s *steward) ask(file []byte) {
	s.mu.Lock()
	s.want = &wanted{file, bus.HashOf(file), s.base}
	s.mu.Unlock()
	s.edited.ring()
}

// still says whether the file is the one in whose place a revision is to come.
func (s *steward) still(d decided) bool {
	file, err := os.ReadFile(filepath.Join(s.dir, "network.yaml"))
	return err == nil && bus.HashOf(file) == d.over
}

// adopted hears that the file is a revision of the fleet now.
func (s *steward) adopted(d decided) {
	s.mu.Lock()
	s.base = d.Hash
	s.mu.Unlock()
	s.edited.ring()
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
				if !errors.Is(err, errSoon) && !errors.Is(err, bus.ErrAway) && err.Error() != said {
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

// errSoon is that the fleet has no revision yet, for the control makes the first, or that what was given is not heard of yet.
var errSoon = errors.New("the fleet has no revision yet")

// agree makes file and fleet the same, or says why they are not.
func (s *steward) agree(ctx context.Context, op *operator) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	all, err := op.conn.Last(ctx, bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
	if err != nil || len(all) == 0 || len(all[len(all)-1].Data) == 0 {
		return errors.Join(errSoon, err)
	}
	var t bus.Target
	if err := bus.Decode(all[len(all)-1].Data, &t); err != nil {
		return err
	}
	// A hub that came back from an older backup stays behind what it was given once.
	if t.Stable == 0 || t.Stable < s.given.Number && time.Since(s.gave) < answerTime {
		return errSoon
	}
	file, err := os.ReadFile(filepath.Join(s.dir, "network.yaml"))
	if err != nil {
		return err
	}
	hash, last, want := bus.HashOf(file), agreedIn(s.dir), s.wanted()
	same := hash == t.Hash || want != nil && want.hash == t.Hash
	if want != nil && (want.hash == t.Hash || want.hash == last.Hash) { // the fleet has it, or had it: nothing was edited
		s.done(want)
		want = nil
	}
	if same {
		if err := s.note(agreed{t.Stable, t.Hash}); err != nil {
			return err
		}
		last.Hash = t.Hash
	}
	switch {
	case want != nil && want.base == t.Hash:
		return s.give(ctx, op, want, t)
	case want != nil:
		s.done(want)
		s.differ(t, true)
		return nil
	case hash == t.Hash:
		return nil
	case hash != last.Hash: // edited, and nobody has asked for it yet
		s.differ(t, false)
		return nil
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
	rev.Hash = t.Hash
	select {
	case s.news <- decided{rev, hash}:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// give makes what was asked for a revision that all nodes run at once: they have read it already. Where the fleet has another than t by now, the
// control takes nothing.
func (s *steward) give(ctx context.Context, op *operator, want *wanted, t bus.Target) error {
	var doc struct {
		Number int `json:"number"`
	}
	call := map[string]any{"file": want.file, "note": "network.yaml of hither up", "now": true, "base": t.Stable}
	if err := op.ask(ctx, "apply", call, &doc); err != nil {
		return fmt.Errorf("the control did not take it: %w", err)
	}
	s.given, s.gave = agreed{doc.Number, want.hash}, time.Now()
	s.done(want)
	s.mu.Lock()
	if s.want != nil && s.want.base == want.base { // asked for meanwhile, and made from this one
		s.want.base = want.hash
	}
	s.mu.Unlock()
	return s.note(s.given)
}

// differ tells people that the file was edited while the fleet decided on another revision. From then on they know: what they ask for next counts.
// Where asked is false it is not said twice.
func (s *steward) differ(t bus.Target, asked bool) {
	s.mu.Lock()
	told := s.base == t.Hash
	s.base = t.Hash
	s.mu.Unlock()
	if asked || !told {
		path := filepath.Join(s.dir, "network.yaml")
		s.say("%s was edited, and the fleet has revision %d meanwhile, which it would undo: each stays as it is. `hither fleet apply %s` shows the difference; SIGHUP gives the file to all nodes",
			path, t.Stable, path)
	}
	s.settled()
}

func (s *steward) wanted() *wanted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want
}

// done forgets what was asked for, unless something else has been since.
func (s *steward) done(want *wanted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want == want {
		s.want = nil
	}
}

// agreedIn is what was noted last in a folder.
func agreedIn(dir string) (n agreed) {
	if data, err := os.ReadFile(filepath.Join(dir, syncFile)); err == nil && json.Unmarshal(data, &n) != nil {
		return agreed{}
	}
	return n
}

// note notes that the file, as it is or as it was when it was asked for, is the stable revision.
func (s *steward) note(n agreed) error {
	s.settled()
	s.mu.Lock()
	s.base = n.Hash
	s.mu.Unlock()
	if agreedIn(s.dir) == n {
		return nil
	}
	return writeJSON(filepath.Join(s.dir, syncFile), n)
}

func (s *steward) settled() {
	if !s.once {
		s.once = true
		close(s.synced)
	}
}
