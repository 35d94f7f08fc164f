package member

import (
	"context"
	"fmt"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// A hubError is of the way to the hub, and no fault of a revision.
type hubError struct{ error }

func (e *hubError) Unwrap() error { return e.error }

// read returns the target; known says that there is one. It asks the table where what was heard may not be the last.
func (r *revisions) read(ctx context.Context) (t bus.Target, known bool, err error) {
	r.mu.Lock()
	t, before, unread := r.target, r.seq, r.unread
	r.unread = false
	r.mu.Unlock()
	if !unread {
		return t, before > 0, nil
	}
	var seq uint64
	message, err := r.last(ctx, bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
	if t = (bus.Target{}); err == nil && message != nil && len(message.Data) > 0 {
		seq = message.Sequence
		if err = bus.Decode(message.Data, &t); err != nil {
			r.m.counted("target")
			err = fmt.Errorf("member: the target in the hub's table: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.unread = true
		return bus.Target{}, false, err
	case r.seq != before && r.seq > seq: // a change was heard meanwhile
	default:
		r.target, r.seq = t, seq
	}
	return r.target, r.seq > 0, nil
}

// last reads the last value of a subject; nil = there is none.
func (r *revisions) last(ctx context.Context, stream, subject string) (*bus.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	all, err := r.m.o.Conn.Last(ctx, stream, subject)
	if err != nil {
		return nil, &hubError{err}
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all[len(all)-1], nil
}

// fetch returns the file of a revision, from the state folder where it is kept, and else from the hub. What is not what its hash says is
// returned too, with the error.
func (r *revisions) fetch(ctx context.Context, w which) ([]byte, error) {
	if file := r.kept.Find(func(data []byte) bool { return bus.HashOf(data) == w.hash }); file != nil {
		return file, nil
	}
	message, err := r.last(ctx, bus.StreamRevisions, bus.RevisionSubject(w.number))
	switch {
	case err != nil:
		return nil, err
	case message == nil || len(message.Data) == 0:
		return nil, fmt.Errorf("member: the hub has no revision %d", w.number)
	}
	return w.read(message.Data)
}

// read reads a revision's message, and returns its file; with an error what lies there in its place, if that has a file at all.
func (w which) read(data []byte) ([]byte, error) {
	var rev bus.Revision
	if err := bus.Decode(data, &rev); err != nil {
		return nil, fmt.Errorf("member: revision %d: %w", w.number, err)
	}
	if rev.Number != w.number || rev.Hash != w.hash || bus.HashOf(rev.File) != w.hash {
		return rev.File, fmt.Errorf("member: what lies at the hub as revision %d is number %d with the hash %.32q, and its file has %s; the target says %.32q",
			w.number, rev.Number, rev.Hash, bus.HashOf(rev.File), w.hash)
	}
	return rev.File, nil
}

// prepare keeps the way back before a canary is taken.
func (r *revisions) prepare(ctx context.Context, t bus.Target, canary which) error {
	back := which{t.Stable, t.Hash}
	if back.number == 0 && r.m.o.Running != nil { // there is none yet: what the node has now
		back.number, back.hash = r.m.o.Running()
	}
	file, err := r.fetch(ctx, back)
	if err != nil {
		return fmt.Errorf("member: a canary needs a way back: %w", err)
	}
	return r.kept.SetCanary(fleet.Canary{Number: canary.number, Hash: canary.hash, Stable: back.number, StableHash: back.hash}, file)
}
