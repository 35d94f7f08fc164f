package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// Files in the hub's folder of a gateway, STATE/hub, about a move of the hub.
const (
	movedFile = "moved.json" // [Moved]: the hub there has moved, or is about to
	cameFile  = "came.json"  // [Came]: the hub there came from another gateway, which keeps its own until all nodes are here
)

// Moved says where a hub moved to. It is written before the revision that says so, and by it a control that starts knows that nothing
// may be written here any more where that revision is in force. The hub stays for nodes that have not heard of it.
type Moved struct {
	Gateway string         `json:"gateway"`
	Number  int            `json:"number"` // of the revision
	Hash    string         `json:"hash"`
	Listen  netip.AddrPort `json:"listen"` // of the hub that stays
	At      time.Time      `json:"at"`
}

// Came says where a hub came from.
type Came struct {
	Gateway string    `json:"gateway"`
	At      time.Time `json:"at"`
}

// HubMoved reads whether the hub in the state folder of a gateway has moved; nil = it has not.
func HubMoved(state string) (*Moved, error) {
	m := new(Moved)
	there, err := readNote(filepath.Join(state, "hub", movedFile), m)
	if !there {
		return nil, err
	}
	return m, err
}

// EndMoved forgets that a hub was here: it need not stay any more.
func EndMoved(state string) error {
	err := os.Remove(filepath.Join(state, "hub", movedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func readNote(path string, v any) (there bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return false, fmt.Errorf("control: read %s: %w", path, err)
	}
	return true, nil
}

// writeNote writes a file that outlives a crash, whole or not at all.
func writeNote(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return err
}

// syncFolder makes renames in a folder survive a crash of the machine.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// settleMove finds out, at the start, what became of a move that was under way when the control ended: where the plan names its
// revision the hub has moved, and nothing is written here any more; else it has not. It waits for a hub that is away.
func (c *Control) settleMove(ctx context.Context) {
	c.tidyMove()
	m, err := HubMoved(c.o.State)
	if err != nil {
		// A note that was begun and cannot be read: it is written whole before anything else, so this disk is damaged.
		c.o.Log.Error("whether the hub has moved cannot be read; it is taken to be here", "error", err)
		return
	}
	if m == nil {
		return
	}
	for said := false; ctx.Err() == nil; {
		there, err := c.rollout.has(ctx, m.Number, m.Hash)
		switch {
		case err == nil && there:
			c.gate.close(errMoves(m.Gateway))
			c.o.Log.Warn("the hub has moved; this control writes nothing any more", "to", m.Gateway, "revision", m.Number)
			return
		case err == nil:
			c.o.Log.Warn("a move of the hub did not come to its end; it is here as before", "to", m.Gateway, "error", EndMoved(c.o.State))
			return
		case !said:
			said = true
			c.o.Log.Warn("it is not known yet whether the hub has moved", "error", err)
		}
		pause(ctx, restorePause)
	}
}

// tidyMove removes what a move left that was killed while it copied: all that the hub has.
func (c *Control) tidyMove() {
	left, _ := filepath.Glob(filepath.Join(c.o.State, copyPattern))
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			c.o.Log.Warn("a copy of the hub that nobody needs is left", "error", err)
		}
	}
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// has reads from the hub whether its plan is about a revision.
func (r *rollout) has(ctx context.Context, number int, hash string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	all, err := r.c.o.Conn.Last(ctx, bus.StreamTables, bus.TableSubject(tableRollout, rolloutKey))
	if err != nil || len(all) == 0 {
		return false, err
	}
	var p plan
	if err := bus.Decode(all[len(all)-1].Data, &p); err != nil {
		return false, err
	}
	return p.Number == number && p.Hash == hash, nil
}

// dismissEvery is how often it is looked whether the hub from which this one came is still needed.
const dismissEvery = 2 * time.Second

// dismiss has the gateway from which the hub came end its own, when every node that the network file names is here.
func (c *Control) dismiss(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, dismissEvery) {
		came, there, err := c.came()
		if err != nil {
			c.o.Log.Error("where the hub came from cannot be read; the one there stays until somebody ends it", "error", err)
			return
		}
		if !there {
			return
		}
		if c.o.Network().OriginNode(came.Gateway) != nil && len(c.absent()) > 0 {
			continue
		}
		if err := c.endBefore(ctx, came); err != nil {
			if ctx.Err() == nil {
				c.faint.Warn("the hub that was before does not end", "gateway", came.Gateway, "error", err)
			}
			continue
		}
		c.o.Log.Info("all nodes are at this hub; the one before has ended", "gateway", came.Gateway)
		return
	}
}

// came reads where the hub came from, while the one there has not ended.
func (c *Control) came() (came Came, there bool, err error) {
	there, err = readNote(filepath.Join(c.o.State, "hub", cameFile), &came)
	return came, there, err
}

// endBefore has the gateway from which the hub came end its own, unless the network has it no more, and forgets it.
func (c *Control) endBefore(ctx context.Context, came Came) error {
	if c.o.Network().OriginNode(came.Gateway) != nil {
		if err := c.tell(ctx, came.Gateway, "/v1/hub/end", struct{}{}, nil); err != nil {
			return err
		}
	}
	err := os.Remove(filepath.Join(c.o.State, "hub", cameFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was told to as well
	}
	return err
}

// absent are the nodes that the network file names and that do not report to this hub.
func (c *Control) absent() []string {
	absent := []string{}
	for _, peer := range namesOf(c.o.Network()) {
		if _, ok := c.reports.of(peer.String()); !ok {
			absent = append(absent, peer.String())
		}
	}
	return absent
}

// An EndCall is the content of the verb "end-hub".
type EndCall struct {
	Gateway string `json:"gateway"` // in which the hub is now
}

// EndDoc is the document "end": the hub that was before has ended, though some had not come from it.
type EndDoc struct {
	Schema  string   `json:"schema"` // hither/end/1
	Gateway string   `json:"gateway"`
	Absent  []string `json:"absent"` // nodes that look for the hub there, if they look for it at all
}

// endHub ends the hub that was before on the word of an operator, who knows that whoever is not here will not come, or gives it the network
// file by hand.
func (c *Control) endHub(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var call EndCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	if call.Gateway != c.o.Identity.Name {
		return nil, refuse(http.StatusConflict, "control: the hub is in %s, and not in %.64q; only one that has moved leaves a hub behind",
			c.o.Identity.Name, call.Gateway)
	}
	came, there, err := c.came()
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, refuse(http.StatusConflict, "control: no gateway keeps a hub that was before")
	}
	absent := c.absent()
	if err := c.endBefore(ctx, came); err != nil {
		return nil, refuse(http.StatusConflict,
			"control: %s does not end its hub: %w; call again when it answers, or take it out of the network file", came.Gateway, err)
	}
	c.o.Log.Warn("the hub that was before has ended on an operator's word", "gateway", came.Gateway, "absent", absent, "by", by)
	return EndDoc{"hither/end/1", came.Gateway, absent}, nil
}

// tell calls a gateway. out, if not nil, becomes its answer.
func (c *Control) tell(ctx context.Context, gateway, path string, in, out any) error {
	call := bus.Call{Method: http.MethodPost, Path: path}
	if in == nil {
		call.Method = http.MethodGet
	} else {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		call.Body = body
	}
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	m, err := c.o.Conn.Request(ctx, bus.CallSubject(fleet.RoleOrigin, gateway), bus.Encode(call))
	if err != nil {
		return err
	}
	var a bus.Answer
	if err := bus.Decode(m.Data, &a); err != nil {
		return err
	}
	if a.Status/100 != 2 {
		return fmt.Errorf("it answers %d: %s", a.Status, words(a.Error))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.Doc, out)
}
