package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// A Part is a piece of what a hub has, on its way to the gateway to which it moves: pieces of one backup, in order.
type Part struct {
	Move   string         `json:"move"` // which; another one begins anew
	From   string         `json:"from"` // the gateway in which the hub is
	Listen netip.AddrPort `json:"listen"`
	Offset int64          `json:"offset"`
	Data   []byte         `json:"data"`
	Last   bool           `json:"last,omitempty"`
}

// TakeDoc is the document "take": how far a gateway is with a hub that it takes.
type TakeDoc struct {
	Move    string       `json:"move"`
	State   string       `json:"state"`
	Why     string       `json:"why,omitempty"` // it failed
	Journal bus.Position `json:"journal"`       // where it ends, when ready
}

// States of TakeDoc.
const (
	TakeNone    = "none"
	TakeTaking  = "taking"
	TakeFilling = "filling"
	TakeFailed  = "failed"
	TakeReady   = "ready" // the next start of the hub in this gateway finds what it had elsewhere
)

// mostTaken bounds a copy: what the streams may have, in base64, and what stands around it.
const mostTaken = 4 << 30

// Folders in the state folder of a gateway.
const (
	nextFolder   = "hub.next"   // a hub that is being taken
	beforeFolder = "hub.before" // what was in its place
)

// A Taker makes, in a gateway that has none, the hub that comes from another one. What it makes has no effect until a network file names
// the gateway. It is safe for concurrent use.
type Taker struct {
	o    TakerOptions
	ctx  context.Context
	end  context.CancelFunc
	busy sync.WaitGroup

	mu   sync.Mutex // guards what follows
	doc  TakeDoc
	size int64
}

// TakerOptions are what a taker is given; all are required.
type TakerOptions struct {
	Identity *fleet.Identity
	State    string // of the gateway's node
	Network  func() *deploy.Network
	Log      *slog.Logger
}

// NewTaker makes one. Close ends it.
func NewTaker(o TakerOptions) *Taker {
	t := &Taker{o: o, doc: TakeDoc{State: TakeNone}}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

// Close ends what is under way and returns when it has ended.
func (t *Taker) Close() {
	t.end()
	t.busy.Wait()
}

// Doc says how far it is.
func (t *Taker) Doc() TakeDoc {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.doc
}

// Take takes a part. An error may be a [*Refusal].
func (t *Taker) Take(p Part) (TakeDoc, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.take(p); err != nil {
		return t.doc, err
	}
	return t.doc, nil
}

func (t *Taker) take(p Part) error {
	moved, err := HubMoved(t.o.State)
	switch {
	case err != nil:
		return err
	case t.o.Network().Hub.EmbeddedIn == t.o.Identity.Name:
		return refuse(http.StatusConflict, "control: the hub is here already")
	case moved != nil:
		return refuse(http.StatusConflict, "control: the hub that was here stays for nodes that have not heard yet that it is in %s; when all have, it may come back", moved.Gateway)
	case p.Move == "" || len(p.Move) > 64 || !p.Listen.IsValid() || p.Listen.Port() == 0:
		return refuse(http.StatusBadRequest, "control: a part of no move")
	case t.doc.State == TakeFilling:
		return refuse(http.StatusConflict, "control: a hub is being taken")
	}
	next := filepath.Join(t.o.State, nextFolder)
	path := filepath.Join(next, "hub", RestoreFile)
	if p.Offset == 0 {
		if err := errors.Join(os.RemoveAll(next), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
			return err
		}
		t.doc, t.size = TakeDoc{Move: p.Move, State: TakeTaking}, 0
	}
	if t.doc.State != TakeTaking || p.Move != t.doc.Move || p.Offset != t.size || t.size+int64(len(p.Data)) > mostTaken {
		return refuse(http.StatusConflict, "control: a part of move %.64q at %d, and %d of move %q came", p.Move, p.Offset, t.size, t.doc.Move)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(p.Data)
	if err = errors.Join(err, f.Close()); err != nil {
		t.doc.State, t.doc.Why = TakeFailed, err.Error()
		return err
	}
	t.size += int64(len(p.Data))
	if p.Last {
		t.doc.State = TakeFilling
		t.busy.Go(func() { t.fill(p, next) })
	}
	return nil
}

// fill makes a hub of what came, and says what became of it.
func (t *Taker) fill(p Part, next string) {
	ctx, cancel := context.WithTimeout(t.ctx, moveTime)
	defer cancel()
	at, err := t.make(ctx, p, next)
	if err == nil {
		err = t.place(p, next)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.doc.State, t.doc.Why = TakeFailed, err.Error()
		t.o.Log.Warn("the hub was not taken", "from", p.From, "error", errors.Join(err, os.RemoveAll(next)))
		return
	}
	t.doc.State, t.doc.Journal = TakeReady, at
	t.o.Log.Info("what the hub has is here; it begins when a network file says so", "from", p.From, "journal", at)
}

// make starts a hub where it will listen, so that an address which cannot be listened on is found now, fills it, and ends it.
func (t *Taker) make(ctx context.Context, p Part, next string) (at bus.Position, err error) {
	h, err := hub.Start(hub.Options{Listen: p.Listen, Folder: filepath.Join(next, "hub"), Identity: t.o.Identity, Log: t.o.Log})
	if err != nil {
		return at, err
	}
	defer h.Close()
	conn, err := bus.Dial(h.Control())
	if err != nil {
		return at, err
	}
	defer conn.Close()
	c, err := New(Options{Conn: conn, Identity: t.o.Identity, State: next, Network: t.o.Network, Log: t.o.Log})
	if err != nil {
		return at, err
	}
	if err := c.restore(ctx); err != nil {
		return at, err
	}
	return hubJournal{conn}.end(ctx)
}

// place puts it where the hub will be found. What an earlier hub left there is put aside.
func (t *Taker) place(p Part, next string) error {
	if err := writeNote(filepath.Join(next, "hub", cameFile), Came{Gateway: p.From, At: time.Now().UTC()}); err != nil {
		return err
	}
	place, before := filepath.Join(t.o.State, "hub"), filepath.Join(t.o.State, beforeFolder)
	if _, err := os.Stat(place); err == nil {
		if err := errors.Join(os.RemoveAll(before), os.Rename(place, before)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(filepath.Join(next, "hub"), place); err != nil {
		return fmt.Errorf("control: put the hub in its place: %w", err)
	}
	return errors.Join(os.RemoveAll(next), syncFolder(t.o.State))
}
