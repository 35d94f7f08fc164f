package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hither/deploy/fleet/bus"
	"hither/origin/pool"
)

// This file is purges where one PoP fetches through another. A purge reaches the PoPs each in its own time. An edge that has
// forgotten what it names, and fetches it from a shield that has not yet, would store it once more, for good. So the edge says with
// what it asks a shield how far it is in the journal of purges, and the shield answers when it has come as far itself, or not at all.

const (
	// journalField carries a position as ID/SEQUENCE, between PoPs alone: with a request that of who asks, with a refusal that of
	// who could not answer yet.
	journalField = "Hither-Journal"
	// behindTime is how long a shield lets a request wait for a purge that is on its way, and how long an edge does without a shield that
	// was behind. A purge takes the way from the hub, less than a second.
	behindTime = 2 * time.Second
)

// errBehind is what is wrong with a shield that has not heard yet of a purge.
var errBehind = errors.New("the shield has not come as far in the journal of purges")

// A journalOf is a node's part in the journal of purges; nil functions: it has none.
type journalOf struct {
	// begun is the last entry of which anything may have had its effect here already.
	begun func() bus.Position
	// wait returns when all entries up to a position have had theirs, or with the error of ctx.
	wait func(ctx context.Context, to bus.Position) error
}

// SetJournal tells the node its part in the journal of purges: begun is the last entry that may have had any effect here, wait returns
// when all up to a position have had theirs. It may be called at any time, and again; nil: it has none.
func (n *Node) SetJournal(begun func() bus.Position, wait func(ctx context.Context, to bus.Position) error) {
	n.journal.Store(&journalOf{begun, wait})
}

// writePosition and readPosition are a position as its field has it.
func writePosition(p bus.Position) string {
	return p.Journal + "/" + strconv.FormatUint(p.Sequence, 10)
}

func readPosition(lines []string) (p bus.Position, err error) {
	if len(lines) != 1 {
		return p, fmt.Errorf("%d fields %s", len(lines), journalField)
	}
	id, number, ok := strings.Cut(lines[0], "/")
	if !ok || id == "" || len(id) > 64 {
		return p, fmt.Errorf("%s: %.100q", journalField, lines[0])
	}
	p.Journal = id
	if p.Sequence, err = strconv.ParseUint(number, 10, 64); err != nil { // which repeats the number, however long it is
		return p, fmt.Errorf("%s: %.100q", journalField, lines[0])
	}
	return p, nil
}

// caughtUp answers for a shield: a request waits until the node has come as far in the journal as who asks, and is refused where that
// does not come soon. The field goes no further.
func (n *Node) caughtUp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines, said := r.Header[journalField]
		if !said {
			next.ServeHTTP(w, r)
			return
		}
		delete(r.Header, journalField)
		asked, err := readPosition(lines)
		if err != nil {
			n.o.Log.Debug("a PoP says what is no position in the journal", "error", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		at := bus.Position{}
		if j := n.journal.Load(); j != nil && j.wait != nil {
			at = j.begun()
			ctx, cancel := context.WithTimeout(r.Context(), behindTime)
			err = j.wait(ctx, asked)
			cancel()
		} else {
			err = errBehind
		}
		if err != nil {
			n.count.behind.Inc()
			h := w.Header()
			h[journalField] = []string{writePosition(at)}
			h["Cache-Control"] = []string{"no-store"}
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// askShield sends a request to a shield. Only what may be stored here can do harm by being old. A shield that is behind is done without
// for a while: each request would wait there.
func (l *line) askShield(r *http.Request) (*http.Response, error) {
	var j *journalOf
	if l.o.journal != nil {
		j = l.o.journal.Load()
	}
	if j == nil || j.begun == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return l.Pool.RoundTrip(r)
	}
	at := j.begun()
	if at.Journal == "" {
		return l.Pool.RoundTrip(r)
	}
	if until := l.behind.Load(); until != nil && time.Now().Before(*until) {
		return nil, l.notAsked(r)
	}
	own := *r
	own.Header = r.Header.Clone()
	own.Header[journalField] = []string{writePosition(at)}
	resp, err := l.Pool.RoundTrip(&own)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || len(resp.Header[journalField]) == 0 {
		return resp, err
	}
	resp.Body.Close()
	until := time.Now().Add(behindTime) // of the clock that only goes forward
	l.behind.Store(&until)
	return nil, l.notAsked(r)
}

// notAsked is the error of a request that went to no application: the next gateway gets it, as if this one could not be reached.
func (l *line) notAsked(r *http.Request) error {
	if r.Body != nil {
		r.Body.Close()
	}
	return &pool.Error{Kind: pool.KindRefused, Whose: pool.Origin, Retry: true, Op: "ask " + l.gateway, To: l.o.name, Cause: errBehind}
}
