package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"hither/deploy/fleet/bus"
)

// Bounds of a call of warm.
const (
	mostWarm     = 256 // URLs
	mostWarmSize = 32 << 10
	warmAtOnce   = 32               // PoPs that fetch at the same time
	warmTime     = 40 * time.Second // a PoP takes 25 s at most
)

// A WarmCall is what the verb warm is asked.
type WarmCall struct {
	URLs []string `json:"urls"` // https://HOST/PATH
	PoPs []string `json:"pops,omitempty"`
}

// A Warmed is the document "warm": what each PoP says of each URL.
type Warmed struct {
	PoPs     []PoPWarmed `json:"pops"`
	Complete bool        `json:"complete"` // every PoP has an answer for every URL that is no error
}

// A PoPWarmed is what became of it at one PoP.
type PoPWarmed struct {
	PoP   string      `json:"pop"`
	State string      `json:"state"` // done, away or failed
	URLs  []URLWarmed `json:"urls,omitempty"`
	Error string      `json:"error,omitempty"`
}

// A URLWarmed is an edge's answer to a request like a client's.
type URLWarmed struct {
	URL     string  `json:"url"`
	Status  int     `json:"status"`  // 0 = there was none
	Verdict string  `json:"verdict"` // of the cache: hit, uri-miss, bypass, …
	Stored  bool    `json:"stored"`  // it lies there now
	Bytes   int64   `json:"bytes"`
	MS      float64 `json:"ms"` // until the last byte was there
	Error   string  `json:"error,omitempty"`
}

// warm is the verb: it has PoPs fetch URLs as if a client had asked for them.
func (c *Control) warm(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var call WarmCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	network, size := c.o.Network(), 0
	if len(call.URLs) == 0 || len(call.URLs) > mostWarm {
		return nil, refuse(http.StatusBadRequest, "control: %d URLs; 1 to %d can be warmed at once", len(call.URLs), mostWarm)
	}
	for _, u := range call.URLs {
		if scheme, _, ok := strings.Cut(u, "://"); ok && !strings.EqualFold(scheme, "https") {
			return nil, refuse(http.StatusBadRequest, "control: %.200q is no https URL, and clients of others are sent to such", u)
		}
		if err := checkOrder(network, bus.Order{Kind: "url", Value: u}); err != nil {
			return nil, err
		}
		size += len(u)
	}
	if size > mostWarmSize {
		return nil, refuse(http.StatusBadRequest, "control: the URLs have %d bytes; at most %d are taken at once", size, mostWarmSize)
	}
	if len(call.PoPs) == 0 {
		for i := range network.PoPs {
			call.PoPs = append(call.PoPs, network.PoPs[i].Name)
		}
	}
	slices.Sort(call.PoPs)
	call.PoPs = slices.Compact(call.PoPs)
	for _, p := range call.PoPs {
		if network.PoP(p) == nil {
			return nil, refuse(http.StatusBadRequest, "control: the network file has no PoP %.80q", p)
		}
	}
	c.o.Log.Info("warm", "urls", len(call.URLs), "first", call.URLs[0], "pops", len(call.PoPs), "operator", by)
	ask, err := json.Marshal(WarmCall{URLs: call.URLs})
	if err != nil {
		return nil, err
	}
	out := Warmed{PoPs: make([]PoPWarmed, len(call.PoPs)), Complete: true}
	well := make([]bool, len(call.PoPs))
	var under sync.WaitGroup
	slots := make(chan struct{}, warmAtOnce)
	for i, name := range call.PoPs {
		under.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			p := c.warmAt(ctx, name, ask)
			well[i] = p.State == Done && !slices.ContainsFunc(p.URLs, func(u URLWarmed) bool { return !u.well() })
			out.PoPs[i] = p.brief(mostTold / 2 / len(call.PoPs)) // each has a URL beside it
		})
	}
	under.Wait()
	out.Complete = !slices.Contains(well, false)
	return document("warm", out)
}

// brief leaves out, where there are too many to tell, the URLs with which all is well, and then others too.
func (p PoPWarmed) brief(most int) PoPWarmed {
	if len(p.URLs) > most {
		p.URLs = slices.DeleteFunc(p.URLs, URLWarmed.well)
		p.URLs = slices.Clone(p.URLs[:min(len(p.URLs), max(most, 1))])
	}
	return p
}

// well says whether a URL was fetched.
func (u URLWarmed) well() bool { return u.Error == "" && u.Status >= 200 && u.Status < 400 }

// warmAt asks one PoP.
func (c *Control) warmAt(ctx context.Context, name string, ask json.RawMessage) PoPWarmed {
	ctx, cancel := context.WithTimeout(ctx, warmTime)
	defer cancel()
	away := func(err error) PoPWarmed { return PoPWarmed{PoP: name, State: Away, Error: err.Error()} }
	m, err := c.o.Conn.Request(ctx, bus.CallSubject("edge", name), bus.Encode(bus.Call{Method: http.MethodPost, Path: "/v1/warm", Body: ask}))
	if err != nil {
		return away(err)
	}
	failed := func(err error) PoPWarmed { return PoPWarmed{PoP: name, State: Failed, Error: err.Error()} }
	var a bus.Answer
	if err := bus.Decode(m.Data, &a); err != nil {
		return failed(err)
	}
	var doc struct {
		URLs []URLWarmed `json:"urls"`
	}
	if a.Status/100 != 2 {
		return failed(fmt.Errorf("it says: %.400s", a.Error))
	}
	if err := json.Unmarshal(a.Doc, &doc); err != nil {
		return failed(fmt.Errorf("its answer has another form: %w", err))
	}
	if len(doc.URLs) > mostWarm {
		return failed(fmt.Errorf("it answers for %d URLs", len(doc.URLs)))
	}
	for i := range doc.URLs {
		u := &doc.URLs[i]
		u.Verdict, u.Error = words(u.Verdict), words(u.Error)
		if len(u.URL) > bus.MostOrderBytes { // none that was asked for is so long
			u.URL = words(u.URL)
		}
	}
	return PoPWarmed{PoP: name, State: Done, URLs: doc.URLs}
}
