package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// A RolloutDoc is the document "rollout": how far the last roll-out is, whether it is over or not.
type RolloutDoc struct {
	Schema string `json:"schema"` // hither/rollout/1
	Number int    `json:"number"` // of the revision
	Stable int    `json:"stable"` // what all run that do not try it
	Hash   string `json:"hash"`
	By     string `json:"by"`
	Note   string `json:"note,omitempty"`

	Phase    string    `json:"phase"` // taking, watching, everywhere, back, done
	Since    time.Time `json:"since"` // of the phase
	Canary   string    `json:"canary,omitempty"`
	Progress string    `json:"progress"`          // one line, for people
	Outcome  string    `json:"outcome,omitempty"` // stable, refused or rolled back, as soon as that is decided
	Why      string    `json:"why,omitempty"`
	Nothing  bool      `json:"nothing,omitempty"` // what was applied is what all run already

	// Of the canary: before it was told, and since it is watched.
	Before count `json:"before"`
	After  count `json:"after"`
	Need   int64 `json:"need"` // requests that After must have
	Few    bool  `json:"few"`  // the window is over, and it waits for them

	Nodes RolloutNodes `json:"nodes"`
}

// RolloutNodes says who runs what it is told to.
type RolloutNodes struct {
	Running int           `json:"running"`
	Waiting []string      `json:"waiting,omitempty"` // they report, and do not run it yet
	Refused []NodeRefusal `json:"refused,omitempty"`
	Away    []string      `json:"away,omitempty"`    // they do not report; they take it when they are back
	Unnamed []string      `json:"unnamed,omitempty"` // they report, do not run it, and the file in use does not name them: nothing is wrong with that
}

// A NodeRefusal is why a node did not take a revision.
type NodeRefusal struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

func (c *Control) progress(context.Context, string, json.RawMessage) (any, error) {
	if p, _ := c.rollout.now(); p.Phase == "" {
		return nil, refuse(http.StatusServiceUnavailable, "control: it has not read yet what is in force; ask again in a moment")
	}
	return c.rollout.doc(), nil
}

// doc makes the document.
func (r *rollout) doc() RolloutDoc {
	p, t := r.now()
	v := r.view(p)
	d := RolloutDoc{
		Schema: "hither/rollout/1", Number: p.Number, Stable: t.Stable, Hash: p.Hash, By: p.By, Note: p.Note, Phase: string(p.Phase), Since: p.Since.UTC(),
		Canary: p.Canary, Outcome: p.Outcome, Why: p.Why, Before: p.Before, Need: p.Min, Nodes: r.nodes(p),
	}
	if p.Phase == watching {
		d.After = v.after
	}
	elapsed := v.now.Sub(p.Since)
	if p.busy() && v.due {
		d.Progress = p.Canary + " may be on its way back to the hub, which has just begun to answer"
		return d
	}
	switch p.Phase {
	case taking:
		d.Progress = fmt.Sprintf("%s is to take it, for %v by now", p.Canary, elapsed.Round(time.Second))
	case watching:
		d.Progress = fmt.Sprintf("%s runs it, for %v of %v; %d of %d requests, %d errors", p.Canary, min(elapsed, time.Duration(p.Window)).Round(time.Second), p.Window,
			v.after.Requests, p.Min, v.after.Errors)
		if d.Few = elapsed > time.Duration(p.Window) && v.after.Requests < p.Min; d.Few {
			d.Progress += fmt.Sprintf("; it waits for more, for %v of %v", elapsed.Round(time.Second), p.Patience)
		}
	case everywhere, back, done:
		d.Progress = fmt.Sprintf("%d nodes run what they are told", d.Nodes.Running)
		if d.Nodes.Running == 1 {
			d.Progress = "1 node runs what it is told"
		}
		for _, x := range []struct {
			n    int
			word string
		}{{len(d.Nodes.Waiting), "not yet"}, {len(d.Nodes.Refused), "refused"}, {len(d.Nodes.Away), "away"}} {
			if x.n > 0 {
				d.Progress += fmt.Sprintf(", %d %s", x.n, x.word)
			}
		}
	}
	return d
}
