package node

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"hither/deploy/ops"
	"hither/edge/proxy"
)

// A PurgeCall is what an operator tells this edge, or all, to forget.
type PurgeCall struct {
	Kind  string `json:"kind"`  // url, tag, prefix, host or all
	Value string `json:"value"` // a URL with or without scheme, a tag, how URLs begin, a host; "" with all
	Soft  bool   `json:"soft"`  // stale instead of gone
}

// A Purge is the document "purge": what became of a purge at each PoP.
type Purge struct {
	// ID is the number that the fleet gives a purge; 0, which is absent, where an operator tells the edges one by one.
	ID int64 `json:"id,omitzero"`
	PurgeCall
	PoPs     []PoPPurge `json:"pops"`
	Complete bool       `json:"complete"`        // every PoP has done it
	P50      float64    `json:"p50_ms,omitzero"` // over the PoPs that took time to do it; 0 where none has
	P99      float64    `json:"p99_ms,omitzero"`
}

// A PoPPurge is what became of it at one. Where it is not done there are no numbers in the document.
type PoPPurge struct {
	PoP      string  `json:"pop"`
	State    string  `json:"state"`             // done; away: nobody answers there; failed. Pending is the fleet's
	MS       float64 `json:"ms,omitzero"`       // 0 where there was nothing to do
	Objects  int     `json:"objects"`           // responses found stored, each variant one
	Fills    int     `json:"fills"`             // requests to an origin under way whose responses are not stored
	Sequence uint64  `json:"sequence,omitzero"` // of this edge's purges since it began
	Error    string  `json:"error,omitempty"`
}

// MarshalJSON leaves out what was not counted.
func (p PoPPurge) MarshalJSON() ([]byte, error) {
	type plain PoPPurge
	if p.State == "done" {
		return json.Marshal(plain(p))
	}
	return json.Marshal(struct {
		PoP   string `json:"pop"`
		State string `json:"state"`
		Error string `json:"error,omitempty"`
	}{p.PoP, p.State, p.Error})
}

// purgeCall answers POST /v1/purge, whose content is a PurgeCall.
func (n *Node) purgeCall(r *http.Request) (string, any, error) {
	var call PurgeCall
	if err := ops.DecodeBody(r, &call); err != nil {
		return "", nil, err
	}
	p, err := n.Purge(call)
	if err != nil {
		status := http.StatusBadRequest
		if unknown := proxy.UnknownHostError(""); errors.As(err, &unknown) {
			status = http.StatusNotFound
		}
		return "", nil, &ops.Refusal{Status: status, Cause: err}
	}
	return "purge", Join(call, []PoPPurge{p}), nil
}

// Purge forgets what the call names. When it returns no request that begins is answered with it. The error is about the call, or
// a proxy.UnknownHostError.
func (n *Node) Purge(call PurgeCall) (PoPPurge, error) {
	x, err := n.forget(call)
	if err == nil {
		n.o.Log.Info("purged", "kind", call.Kind, "value", call.Value, "soft", call.Soft, "objects", x.Objects, "fills", x.Fills, "ms", x.MS)
	}
	return x, err
}

// forget is Purge without a line in the log.
func (n *Node) forget(call PurgeCall) (PoPPurge, error) {
	began := time.Now() // and not the cache's clock: this is how long an operator waits
	p, err := n.proxy.PurgeOf(call.Kind, call.Value, call.Soft)
	if err != nil {
		return PoPPurge{}, err
	}
	done := n.cache.Purge(p)
	return PoPPurge{
		PoP: n.o.Name, State: "done", MS: float64(time.Since(began)) / float64(time.Millisecond),
		Objects: done.Objects, Fills: done.Fills, Sequence: done.Sequence,
	}, nil
}

// Join makes the document of what the PoPs say.
func Join(call PurgeCall, pops []PoPPurge) Purge {
	p := Purge{PurgeCall: call, PoPs: pops, Complete: len(pops) > 0}
	var times []float64
	for _, x := range pops {
		p.Complete = p.Complete && x.State == "done"
		if x.State == "done" && x.MS > 0 { // one that does not serve the site had nothing to do
			times = append(times, x.MS)
		}
	}
	slices.Sort(times)
	if n := len(times); n > 0 {
		p.P50, p.P99 = times[(n-1)*50/100], times[(n*99+99)/100-1]
	}
	return p
}
