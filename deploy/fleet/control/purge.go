package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hither/deploy"
	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
)

// States of a purge at a PoP.
const (
	Done    = "done"
	Pending = "pending"
	Away    = "away"   // nothing was heard of the PoP for 10 s; it does the purge when it is back
	Failed  = "failed" // the PoP could make nothing of it: see Error
)

// A Purge is the document "purge": what became of a purge at each PoP of the network file in use.
type Purge struct {
	ID       uint64     `json:"id"`
	Kind     string     `json:"kind"`
	Value    string     `json:"value"`
	Soft     bool       `json:"soft"`
	At       time.Time  `json:"at"`       // by the control's clock
	PoPs     []PoPPurge `json:"pops"`     // of many purges at once those that have done it are left out: see mostTold
	Done     int        `json:"done"`     // PoPs that have done it
	Complete bool       `json:"complete"` // every PoP has done it
	Objects  int        `json:"objects"`  // found stored, over all PoPs

	// P50 and P99 are over the PoPs of which the time is known; 0, which is absent in the document, where there is none.
	P50 float64 `json:"p50_ms,omitzero"`
	P99 float64 `json:"p99_ms,omitzero"`
}

// A PoPPurge is what became of it at one. Members that are nil are not known: the control started later, or many purges came since.
type PoPPurge struct {
	PoP     string   `json:"pop"`
	State   string   `json:"state"`
	MS      *float64 `json:"ms,omitempty"` // from when the control took it to when the PoP's receipt was here
	Objects *int     `json:"objects,omitempty"`
	Fills   *int     `json:"fills,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Purges is the document "purges": several of them.
type Purges struct {
	Purges   []Purge `json:"purges"`
	Complete bool    `json:"complete"` // all of them
}

// A PurgeCall is what the verb purge is asked: one order, or several.
type PurgeCall struct {
	bus.Order
	Orders  []bus.Order `json:"orders,omitempty"`  // in place of the one; at most bus.MostOrders
	Wait    bool        `json:"wait,omitempty"`    // answer when every PoP has done it, or Timeout has passed
	Timeout float64     `json:"timeout,omitempty"` // in seconds; 0 = 30, more than 600 = 600, less than 0 is a mistake
}

// orders are what is to be purged; several says that they came as a list.
func (call *PurgeCall) orders() (orders []bus.Order, several bool, err error) {
	switch several = call.Orders != nil; {
	case call.Timeout < 0:
		return nil, false, refuse(http.StatusBadRequest, "control: a timeout of %v seconds", call.Timeout)
	case !several:
		return []bus.Order{call.Order}, false, nil
	case call.Order != (bus.Order{}):
		return nil, false, refuse(http.StatusBadRequest, "control: a purge with both kind and orders")
	}
	return call.Orders, true, nil
}

// wait is how long the answer may take; 0 = it is given at once.
func (call *PurgeCall) wait() time.Duration {
	switch {
	case !call.Wait:
		return 0
	case call.Timeout > 0:
		return time.Duration(min(call.Timeout, mostWait.Seconds()) * float64(time.Second))
	}
	return waitTime
}

// Times of purges.
const (
	journalTime = 15 * time.Second // within which an order is on the hub's disk, or is refused
	waitTime    = 30 * time.Second
	mostWait    = 600 * time.Second
)

// purge is the verb: it puts orders into the journal. The document is a Purge, or Purges where Orders were given.
func (c *Control) purge(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var call PurgeCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	orders, several, err := call.orders()
	if err != nil {
		return nil, err
	}
	all, err := c.purgeAll(ctx, orders, call.wait())
	switch {
	case err != nil:
		return nil, err
	case several:
		return document("purges", all)
	}
	return document("purge", all.Purges[0])
}

// document is what a verb answers with: v with its schema, as commands print it.
func document(name string, v any) (any, error) {
	body, err := ops.MarshalDocument(name, v)
	return json.RawMessage(body), err
}

// purgeAll puts orders into the journal, waits for at most as long as wait until every PoP has done them, and says what became of them. The error
// is about the orders or the hub; that a PoP has not done one is none.
func (c *Control) purgeAll(ctx context.Context, orders []bus.Order, wait time.Duration) (Purges, error) {
	if len(orders) == 0 || len(orders) > bus.MostOrders {
		return Purges{}, refuse(http.StatusBadRequest, "control: %d purges at once; 1 to %d can be given", len(orders), bus.MostOrders)
	}
	network := c.o.Network()
	for i, o := range orders {
		if err := checkOrder(network, o); err != nil {
			if len(orders) > 1 {
				err = &Refusal{err.(*Refusal).Status, fmt.Errorf("number %d of the list: %w; nothing was done", i+1, err)}
			}
			return Purges{}, err
		}
	}
	if err := c.gate.closed(); err != nil {
		return Purges{}, err
	}
	if !c.o.Conn.Connected() {
		return Purges{}, refuse(http.StatusServiceUnavailable, "control: the hub does not answer; nothing was done: tell it again when it does")
	}
	writing, cancel := context.WithTimeout(ctx, journalTime)
	ids, _, err := c.journal.write(writing, orders)
	cancel()
	if err != nil {
		return Purges{}, err
	}
	if wait > 0 {
		waiting, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		for _, id := range ids {
			if err := c.receipts.wait(waiting, id); err != nil {
				return Purges{}, err
			}
		}
	}
	out := Purges{Complete: true}
	for i, id := range ids {
		p, err := c.receipts.status(id)
		if err != nil { // so many came meanwhile that it is not followed any more, or the journal is another
			p = Purge{ID: id, Kind: orders[i].Kind, Value: orders[i].Value, Soft: orders[i].Soft, PoPs: []PoPPurge{}}
		}
		out.Purges = append(out.Purges, p)
		out.Complete = out.Complete && p.Complete
	}
	out.brief()
	return out, nil
}

// mostTold bounds the PoPs in one answer, over all of its purges: each has 70 bytes, or 160 where it is away, and the bus takes a message of a
// megabyte. 500 purges at 200 PoPs would be seven.
const mostTold = 4096

// brief leaves out, where it is too much to tell, the PoPs that have done a purge, and then others too.
func (p *Purges) brief() {
	told := 0
	for i := range p.Purges {
		told += len(p.Purges[i].PoPs)
	}
	if told <= mostTold {
		return
	}
	for i := range p.Purges {
		one := &p.Purges[i]
		one.PoPs = slices.DeleteFunc(one.PoPs, func(x PoPPurge) bool { return x.State == Done })
		one.PoPs = one.PoPs[:min(len(one.PoPs), mostTold/len(p.Purges))]
	}
}

// purgeStatus is the verb purge-status: {"id": 1842} is answered with a Purge.
func (c *Control) purgeStatus(_ context.Context, _ string, body json.RawMessage) (any, error) {
	var ask struct {
		ID uint64 `json:"id"`
	}
	if err := readCall(body, &ask); err != nil {
		return nil, err
	}
	p, err := c.receipts.status(ask.ID)
	if err != nil {
		return nil, err
	}
	return document("purge", p)
}

// mostPurges bounds an answer, with mostTold.
const mostPurges = 50

// purges is the verb: {"last": N} is answered with Purges, the newest first; 0 = 20, mostPurges at most.
func (c *Control) purges(_ context.Context, _ string, body json.RawMessage) (any, error) {
	var ask struct {
		Last int `json:"last"`
	}
	if err := readCall(body, &ask); err != nil {
		return nil, err
	}
	if ask.Last < 0 || ask.Last > mostPurges {
		return nil, refuse(http.StatusBadRequest, "control: the last %d purges; %d at most", ask.Last, mostPurges)
	}
	out := Purges{Purges: c.receipts.last(cmp.Or(ask.Last, 20)), Complete: true}
	for _, p := range out.Purges {
		out.Complete = out.Complete && p.Complete
	}
	out.brief()
	return document("purges", out)
}

// mostTag is how long a tag is at most: edges store no response with a longer one (cache.MostTag).
const mostTag = 1 << 10

// kinds of purges.
func kinds() []string { return []string{"url", "tag", "prefix", "host", "all"} }

// checkOrder says what is wrong with an order, as a *Refusal: 400 where it means nothing at any PoP, 404 where no site has its host.
func checkOrder(network *deploy.Network, o bus.Order) error {
	if !slices.Contains(kinds(), o.Kind) {
		return refuse(http.StatusBadRequest, "control: %.40q is no kind of purge: %s", o.Kind, strings.Join(kinds(), ", "))
	}
	switch {
	case len(o.Value) > bus.MostOrderBytes:
		return refuse(http.StatusBadRequest, "control: the value of a purge has %d bytes; at most %d are taken", len(o.Value), bus.MostOrderBytes)
	case !utf8.ValidString(o.Value) || strings.ContainsRune(o.Value, utf8.RuneError):
		return refuse(http.StatusBadRequest, "control: the value of a purge is no text in UTF-8; write other bytes as %%XX")
	case strings.ContainsFunc(o.Value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
		return refuse(http.StatusBadRequest, "control: the value of a purge has a control character")
	case o.Kind == "tag" && len(o.Value) > mostTag:
		return refuse(http.StatusBadRequest, "control: the tag has %d bytes; responses with tags above %d are not stored", len(o.Value), mostTag)
	case o.Kind == "all" && o.Value != "":
		return refuse(http.StatusBadRequest, "control: a purge of all has no value, not %.40q", o.Value)
	case o.Kind != "all" && strings.Trim(o.Value, " \t") != o.Value:
		return refuse(http.StatusBadRequest, "control: %.40q begins or ends with a blank", o.Value)
	case o.Kind != "all" && o.Value == "":
		return refuse(http.StatusBadRequest, "control: a purge by %s names one", o.Kind)
	case o.Kind == "all" || o.Kind == "tag":
		return nil
	}
	host, err := hostOf(o)
	if err != nil {
		return err
	}
	if siteOf(network, host) == nil {
		return refuse(http.StatusNotFound, "control: no site has the host %.200q: see `sites` of the network file", host)
	}
	return nil
}

// hostOf is the host, perhaps with a port, of an order by url, prefix or host. What stands behind it must be the target of a request.
func hostOf(o bus.Order) (string, error) {
	value := o.Value
	if scheme, rest, ok := strings.Cut(value, "://"); ok {
		if scheme = strings.ToLower(scheme); scheme != "https" && scheme != "http" {
			return "", refuse(http.StatusBadRequest, "control: purge %.200q: its scheme is neither https nor http", o.Value)
		}
		value = rest
	}
	if strings.ContainsAny(value, " \t") {
		return "", refuse(http.StatusBadRequest, "control: purge %.200q: a blank is written %%20", o.Value)
	}
	host := value
	if i := strings.IndexAny(value, "/?#"); i >= 0 {
		host = value[:i]
	}
	if o.Kind == "host" && host != value {
		return "", refuse(http.StatusBadRequest, "control: purge host %.200q: write the host alone; a prefix has a path", o.Value)
	}
	target, _, _ := strings.Cut(value[len(host):], "#")
	if path, _, _ := strings.Cut(target, "?"); !decodes(path) {
		return "", refuse(http.StatusBadRequest, "control: purge %.200q: two hexadecimal digits follow each %% of a path, which are not 00; a %% itself is written %%25", o.Value)
	}
	return host, nil
}

// decodes says whether a path has a meaning (RFC 3986 section 2.1). Edges answer no request for another, and find none stored: it is the
// strict part of cache.NormalizeTarget. A query may be anything.
func decodes(path string) bool {
	for {
		i := strings.IndexByte(path, '%')
		if i < 0 {
			return true
		}
		if len(path) < i+3 {
			return false
		}
		if c, err := strconv.ParseUint(path[i+1:i+3], 16, 8); err != nil || c == 0 {
			return false
		}
		path = path[i+3:]
	}
}

// siteOf is the site that an authority belongs to, as edges find it, or nil.
func siteOf(network *deploy.Network, authority string) *deploy.Site {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	_, parent, below := strings.Cut(host, ".")
	var wild *deploy.Site
	for i := range network.Sites {
		for _, h := range network.Sites[i].Hosts {
			if h == host {
				return &network.Sites[i]
			}
			if rest, ok := strings.CutPrefix(h, "*."); ok && below && rest == parent {
				wild = &network.Sites[i]
			}
		}
	}
	return wild
}

// Serves says whether a PoP serves the site that an order names; of an order that names none it is so.
func Serves(network *deploy.Network, name string, o bus.Order) bool {
	if o.Kind == "all" || o.Kind == "tag" {
		return true
	}
	host, err := hostOf(o)
	pop := network.PoP(name)
	if err != nil || pop == nil {
		return true
	}
	site := siteOf(network, host)
	return site == nil || site.Trust == pop.Trust
}

// popNamed makes PoPs and their names comparable.
func popNamed(p deploy.PoP, name string) bool { return p.Name == name }
