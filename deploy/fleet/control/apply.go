package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// Defaults and bounds of what an operator may set of a roll-out.
const (
	defaultWindow   = deploy.Duration(30 * time.Second)
	defaultPatience = deploy.Duration(10 * time.Minute)
	defaultRequests = 100
	mostWindow      = deploy.Duration(time.Hour)
	mostPatience    = deploy.Duration(7 * 24 * time.Hour)
	mostRequests    = 1_000_000
	mostName        = 4 << 10 // of a file
)

// How says how a revision reaches the nodes. The zero How tries it at the PoP that can tell soonest with the least harm, for 30 seconds.
type How struct {
	Canary      string          `json:"canary,omitempty"`       // PoP that tries it; "" = chosen
	Window      deploy.Duration `json:"window,omitempty"`       // for how long it is watched at least. 0 = 30 s
	Patience    deploy.Duration `json:"patience,omitempty"`     // after which it goes back where the canary had too few requests to tell. 0 = 10 min
	MinRequests int64           `json:"min_requests,omitempty"` // that are enough to tell. 0 = 100
	Now         bool            `json:"now,omitempty"`          // all at once, without a canary
}

// An ApplyCall is the content of the verb "apply".
type ApplyCall struct {
	How
	Name string `json:"name,omitempty"` // of the file, which stands in front of each mistake; "" = network.yaml
	File []byte `json:"file"`
	Note string `json:"note,omitempty"`
	Base int    `json:"base,omitempty"` // the stable revision that the difference was shown to; another one is stable meanwhile: refused. 0 = any

	// MoveHub allows a file that has the hub elsewhere; `hither fleet move-hub` sets it, which does what belongs to that.
	MoveHub bool `json:"move_hub,omitempty"`
}

// A RollbackCall is the content of the verb "rollback": a new revision is made with the file of an old one.
type RollbackCall struct {
	How
	Number int    `json:"number"`
	Note   string `json:"note,omitempty"`
}

// check fills in what is not set.
func (h *How) check() error {
	if h.Window == 0 {
		h.Window = defaultWindow
	}
	if h.Patience == 0 {
		h.Patience = max(defaultPatience, h.Window)
	}
	if h.MinRequests == 0 {
		h.MinRequests = defaultRequests
	}
	switch {
	case h.Now && h.Canary != "":
		return refuse(http.StatusBadRequest, "control: all at once, or at %.64s first: one of the two", h.Canary)
	case h.Window < deploy.Duration(time.Second) || h.Window > mostWindow:
		return refuse(http.StatusBadRequest, "control: a window of %v; 1s to %v are taken", h.Window, mostWindow)
	case h.Patience < h.Window || h.Patience > mostPatience:
		return refuse(http.StatusBadRequest, "control: a patience of %v; from the window, %v, to %v are taken", h.Patience, h.Window, mostPatience)
	case h.MinRequests < 1 || h.MinRequests > mostRequests:
		return refuse(http.StatusBadRequest, "control: %d requests; 1 to %d are taken", h.MinRequests, mostRequests)
	}
	return nil
}

// readCall reads the content of a verb, strictly: an option that this program does not know would be one that does not hold, such as one by which
// a purge, or a token, is for less. Nothing is an empty object.
func readCall(body json.RawMessage, v any) error {
	if len(body) == 0 {
		return nil
	}
	if err := strictly(body, v); err != nil {
		return refuse(http.StatusBadRequest, "control: read the call: %w", err)
	}
	return nil
}

func (c *Control) apply(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var call ApplyCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	if call.Name == "" {
		call.Name = "network.yaml"
	}
	if len(call.Name) > mostName {
		return nil, refuse(http.StatusBadRequest, "control: the name of the file has %d bytes; at most %d are taken, for it stands in front of each mistake", len(call.Name), mostName)
	}
	return c.rollout.apply(ctx, by, call)
}

func (c *Control) rollback(ctx context.Context, by string, body json.RawMessage) (any, error) {
	call := RollbackCall{}
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	rev, err := c.revisions.file(ctx, call.Number)
	if err != nil {
		return nil, err
	}
	if rev == nil || call.Number < 1 {
		return nil, refuse(http.StatusNotFound, "control: there is no revision %d; `hither fleet history` shows them", call.Number)
	}
	if call.Note == "" {
		call.Note = fmt.Sprintf("back to %d", call.Number)
	}
	return c.rollout.apply(ctx, by, ApplyCall{How: call.How, Name: fmt.Sprintf("revision %d", call.Number), File: rev.File, Note: call.Note})
}

// apply makes a file a revision, and begins to lead it to the nodes.
func (r *rollout) apply(ctx context.Context, by string, call ApplyCall) (RolloutDoc, error) {
	fail := func(err error) (RolloutDoc, error) { return RolloutDoc{}, err }
	if err := call.check(); err != nil {
		return fail(err)
	}
	if len(call.Note) > mostNote {
		return fail(refuse(http.StatusBadRequest, "control: a note of %d bytes; at most %d are taken", len(call.Note), mostNote))
	}
	network, err := r.c.parse(call.Name, call.File)
	if err != nil {
		return fail(err)
	}
	if err := sameFleet(r.c.o.Network(), network, call.MoveHub); err != nil {
		return fail(err)
	}
	if !call.Now {
		r.listen(ctx, call.Canary, network)
	}
	r.op.Lock()
	defer r.op.Unlock()
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	if err := r.learn(ctx); err != nil {
		return fail(err)
	}
	before, target := r.now()
	switch {
	case before.busy():
		return fail(refuse(http.StatusConflict, "control: revision %d of %s is being tried at %s; promote it or abort it first", before.Number, before.By, before.Canary))
	case call.Base != 0 && call.Base != target.Stable:
		return fail(refuse(http.StatusConflict, "control: revision %d is the stable one by now, not %d; look at the difference again", target.Stable, call.Base))
	case bus.HashOf(call.File) == target.Hash:
		doc := r.doc()
		doc.Nothing = true
		return doc, nil
	}
	now := r.c.o.Now()
	p := plan{
		Hash: bus.HashOf(call.File), From: target.Stable, FromHash: target.Hash, By: by, Note: call.Note,
		Window: call.Window, Patience: call.Patience, Min: call.MinRequests, Began: now.UTC(), Since: now,
		Phase: everywhere, Outcome: verdictStable, Why: "all at once",
	}
	if !call.Now {
		if err := r.aim(ctx, &p, call.How, network); err != nil {
			return fail(err)
		}
	}
	one, err := r.c.revisions.add(ctx, by, call.Note, call.File, max(before.Number, target.Stable))
	if err != nil {
		return fail(err)
	}
	p.Number = one.Number
	if err := r.put(ctx, p); err != nil {
		return fail(fmt.Errorf("control: revision %d is kept, but whether it is tried is not known; see `hither fleet history`: %w", one.Number, err))
	}
	return r.doc(), nil
}

// sameFleet refuses a file that would lead the nodes out of the fleet.
func sameFleet(old, next *deploy.Network, moveHub bool) error {
	switch {
	case next.Name != old.Name:
		return refuse(http.StatusBadRequest, "control: name: `%s` is another network; this fleet is that of `%s`", next.Name, old.Name)
	case moveHub:
	case next.Hub.EmbeddedIn != old.Hub.EmbeddedIn || !slices.Equal(next.Hub.URLs, old.Hub.URLs):
		return refuse(http.StatusBadRequest, "control: hub: nodes that go elsewhere could not be called back; `hither fleet move-hub` moves it")
	}
	return nil
}

// listen waits, where the hub has begun to answer only just now, until every PoP that could try a revision was heard, or the time is over in which
// nodes come back to it: nobody has reported yet does not mean that nobody is there.
func (r *rollout) listen(ctx context.Context, canary string, next *deploy.Network) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for r.silent(canary, next) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// silent says whether a PoP of both files, or the one that is meant, may still be on its way.
func (r *rollout) silent(canary string, next *deploy.Network) bool {
	for _, p := range r.c.o.Network().PoPs {
		if canary != "" && p.Name != canary || next.PoP(p.Name) == nil || r.c.drains.has(p.Name) {
			continue
		}
		if r.c.reports.due(fleet.Peer{Role: fleet.RoleEdge, Name: p.Name}.String()) {
			return true
		}
	}
	return false
}

// mostReasons is of how many PoPs it is told why they cannot try a revision.
const mostReasons = 8

// aim chooses the canary, and notes what it was like before.
func (r *rollout) aim(ctx context.Context, p *plan, how How, next *deploy.Network) error {
	old := r.c.o.Network()
	var all []candidate
	if how.Canary != "" && old.PoP(how.Canary) == nil && next.PoP(how.Canary) == nil {
		return refuse(http.StatusBadRequest, "control: the network file has no PoP %.64q", how.Canary)
	}
	if err := r.c.drains.learn(ctx); err != nil {
		return err
	}
	var why []string
	for i := range old.PoPs {
		name := old.PoPs[i].Name
		if how.Canary != "" && name != how.Canary || next.PoP(name) == nil {
			continue
		}
		node := fleet.Peer{Role: fleet.RoleEdge, Name: name}.String()
		t, here := r.c.reports.of(node)
		switch {
		case !here:
			why = append(why, node+" does not report")
		case r.c.drains.has(name): // it loses its clients, and what it answered before tells nothing of how many it still has
			why = append(why, node+" drains")
		case t.report.State != "ready":
			why = append(why, node+" is "+t.report.State)
		case t.report.Hash != p.FromHash:
			why = append(why, fmt.Sprintf("%s does not run the stable revision %d", node, p.From))
		default:
			c := candidate{pop: name}
			c.recent, c.time = r.c.reports.between(node, p.Began.Add(-seriesTime), p.Began)
			all = append(all, c)
		}
	}
	pop := choose(all, time.Duration(how.Window), how.MinRequests)
	if pop == "" {
		switch {
		case len(why) == 0 && how.Canary == "":
			why = []string{"none is in both the file in use and the new one"}
		case len(why) == 0:
			why = []string{fmt.Sprintf("%s is not in both the file in use and the new one", how.Canary)}
		case len(why) > mostReasons:
			why = append(why[:mostReasons], fmt.Sprintf("and %d more", len(why)-mostReasons))
		}
		return refuse(http.StatusConflict, "control: no PoP can try it: %s; --now takes it to all at once", strings.Join(why, ", "))
	}
	p.Phase, p.Outcome, p.Why, p.Canary = taking, "", "", fleet.Peer{Role: fleet.RoleEdge, Name: pop}.String()
	t, _ := r.c.reports.of(p.Canary)
	for _, c := range all {
		if c.pop == pop {
			p.Before, p.BeforeTime = c.recent, deploy.Duration(c.time)
		}
	}
	p.BeforeLoad, p.Started = t.report.Load, t.report.Started
	return nil
}

// promote and abort end a roll-out by an operator's word.
func (c *Control) promote(ctx context.Context, by string, _ json.RawMessage) (any, error) {
	return c.rollout.end(ctx, everywhere, verdictStable, "promoted by "+by)
}

func (c *Control) abort(ctx context.Context, by string, _ json.RawMessage) (any, error) {
	return c.rollout.end(ctx, back, verdictBack, "aborted by "+by)
}

func (r *rollout) end(ctx context.Context, next phase, outcome, why string) (any, error) {
	r.op.Lock()
	defer r.op.Unlock()
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	if err := r.learn(ctx); err != nil {
		return nil, err
	}
	p, _ := r.now()
	if !p.busy() {
		return nil, refuse(http.StatusConflict, "control: no revision is being tried")
	}
	if err := r.put(ctx, p.to(next, r.c.o.Now(), outcome, "%s", why)); err != nil {
		return nil, err
	}
	return r.doc(), nil
}
