package edge_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A run is one script over one protocol.
type run struct {
	proto   string
	setup   *setup
	bell    *bell
	journal *journal
	origin  *origin
	edge    *edge
	client  *client
	auth    *authority
	vars    *strings.Replacer

	calls    map[string]*call
	last     int            // number of the last request
	counters map[string]int // as the script saw them last

	rejected int  // refusals below the proxy, when it was last looked
	unsure   bool // there may have been more since

	// Which log records the last client step made: those of ids, or all from the index on.
	ids  []string
	from int
}

// verbs are the steps a script may have. Those that are nil set the edge up.
var verbs = map[string]func(*run, *step) error{
	"site": nil, "rule": nil, "limit": nil, "trust": nil, "disk": nil, "gateway": nil, "only": nil, "not": nil,

	"get": (*run).request, "head": (*run).request, "post": (*run).request, "put": (*run).request, "delete": (*run).request,
	"options": (*run).request, "patch": (*run).request, "trace": (*run).request, "request": (*run).anyMethod, "eventually": (*run).eventually, "parallel": (*run).parallel,
	"start": (*run).start, "read": (*run).read, "send": (*run).send, "end": (*run).end, "finish": (*run).finish, "abandon": (*run).abandon,
	"origin": (*run).declare, "lie": (*run).declare, "release": (*run).release, "origin-saw": (*run).originSaw, "origin-read": (*run).originRead, "origin-never": (*run).originNever,
	"advance": (*run).advance, "expect-log": (*run).expectLog, "counter": (*run).counter, "reconnect": (*run).reconnect, "replay": (*run).replay,
	"explain": (*run).explain, "purge": (*run).purge, "warm": (*run).warm, "restart": (*run).restart, "shield": (*run).shielded,
	"raw": (*run).raw, "fields": (*run).fields, "handshake": (*run).handshake,
}

// skips tells whether the script is not for proto: "only h1: reason", "not h3: reason".
func (sc *script) skips(proto string) (string, error) {
	for _, s := range sc.steps {
		if s.verb() != "only" && s.verb() != "not" {
			continue
		}
		list, reason, _ := strings.Cut(s.text, ":")
		protos := strings.Fields(list)[1:]
		if strings.TrimSpace(reason) == "" || len(protos) == 0 {
			return "", fmt.Errorf("%s: write %s PROTOCOL: REASON", s.at, s.verb())
		}
		if slices.Contains(protos, proto) == (s.verb() == "not") {
			return reason, nil
		}
	}
	return "", nil
}

// waits are the steps that wait for what they want; all others wait for nothing but what must come whatever they want.
var waits = []string{"origin-saw", "expect-log", "counter", "eventually"}

// play runs a script against an edge of its own. Its error names file and line. last is how long the last step waits where it is one of
// waits: a script that must fail need not wait long for that, and is as patient as others until then.
func (w *world) play(sc *script, proto string, last time.Duration) (err error) {
	addr, auth := w.addr(), w.auth
	r := &run{proto: proto, bell: newBell(patience), auth: auth, calls: make(map[string]*call), counters: make(map[string]int)}
	r.journal = &journal{bell: r.bell}
	r.setup, err = sc.setup(addr)
	if err != nil {
		return err
	}
	r.origin = newOrigin(auth, r.setup.clock, r.bell)
	r.origin.plain = r.setup.middle != nil
	r.origin.lies = slices.ContainsFunc(sc.steps, func(s *step) bool { return s.verb() == "lie" })
	// What is declared before the first request holds from the first connection on.
	for _, s := range sc.steps {
		if s.verb() == "lie" && s.arg(1) == "connection" {
			r.origin.manners = s.words[2:]
		}
	}
	if err := r.origin.up(addr.String()); err != nil {
		return err
	}
	r.setup.origin = r.origin.addr
	if err = r.setup.middle.begin(r.setup, auth); err != nil {
		r.origin.down()
		return err
	}
	// Before the edge, which else would find that it is down.
	if err = r.setup.shield.begin(r.setup, auth); err != nil {
		r.setup.middle.end()
		r.origin.down()
		return err
	}
	if r.edge, err = startEdge(r.setup, auth, r.journal); err != nil {
		r.setup.shield.end()
		r.setup.middle.end()
		r.origin.down()
		return err
	}
	r.client = newClient(proto, r.edge, auth, r.journal)
	r.vars = strings.NewReplacer("$proto", proto, "$version", map[string]string{"h1": "1.1", "h2": "2", "h3": "3"}[proto],
		"$port", strconv.Itoa(int(r.edge.https.Port())), "$edge", addr.String(), "$client", "127.0.0.1")
	defer func() {
		for _, cl := range r.calls {
			cl.abandon()
		}
		r.origin.release()
		r.client.reconnect()
		w.later.Go(func() {
			if err := r.edge.close(); err != nil {
				w.t.Errorf("%s over %s: end: %v", sc.name, proto, err)
			}
			if err := r.setup.shield.end(); err != nil {
				w.t.Errorf("%s over %s: end of the shield: %v", sc.name, proto, err)
			}
			r.setup.middle.end()
			r.origin.down()
		})
	}()
	for i, s := range sc.steps {
		do := verbs[s.verb()]
		if do == nil {
			continue
		}
		if i == len(sc.steps)-1 && slices.Contains(waits, s.verb()) {
			r.bell.patience = last
		}
		if err := do(r, s); err != nil {
			return fmt.Errorf("%s: over %s: %s\n\t%w", s.at, proto, s.text, err)
		}
	}
	return nil
}

// id names the next request, in the Referer field and so in the log.
func (r *run) id() string {
	r.last++
	return "script:" + strconv.Itoa(r.last)
}

// settle waits until the edge has said all it will say of the request: its log record, or
// a refusal counted below the proxy.
func (r *run) settle(id string) error {
	looked := false
	err := r.bell.await("the log record of the request, or a count of its refusal", func() bool {
		if r.journal.of(id) != nil {
			return true
		}
		if !looked { // the record is the rule, and about to come
			looked = true
			return false
		}
		before := r.rejected
		return r.countRejected() == nil && r.rejected > before
	})
	return errors.Join(err, r.journal.fault())
}

// countRejected brings the number of refusals below the proxy to the present.
func (r *run) countRejected() (err error) {
	r.rejected, err = r.edge.counter("edge_rejected_total")
	r.unsure = false
	return err
}

// apart begins a step whose requests have no names of their own: its records are all that
// come from now on.
func (r *run) apart() { r.ids, r.from, r.unsure = nil, len(r.journal.since(0)), true }

// ask sends the request that words describe and gives the whole answer.
func (r *run) ask(s *step, words []token) (*answer, error) {
	id := r.id()
	r.ids = []string{id}
	if r.unsure {
		if err := r.countRejected(); err != nil {
			return nil, err
		}
	}
	cl, err := r.client.begin(s, words, id)
	if err != nil {
		return nil, err
	}
	a := cl.finish()
	return a, r.settle(id)
}

// foretold is ask for a request of which the edge must have said before what it then does.
func (r *run) foretold(s *step, words []token) (*answer, error) {
	said, err := r.foretell(words)
	if err != nil {
		return nil, err
	}
	a, err := r.ask(s, words)
	if err == nil {
		err = said.hold(a, r.journal.of(r.ids[0]))
	}
	return a, err
}

func (r *run) request(s *step) error {
	a, err := r.foretold(s, r.replaced(s.words))
	if err != nil {
		if a == nil {
			return err
		}
		return fmt.Errorf("%w; the answer:\n%s", err, a)
	}
	return a.check(s.want, r.vars)
}

// anyMethod is request for a method that is no verb of scripts: "request PURGE /a".
func (r *run) anyMethod(s *step) error {
	other := *s
	other.words = s.words[1:]
	return r.request(&other)
}

// replaced fills the variables in.
func (r *run) replaced(words []token) []token {
	out := slices.Clone(words)
	for i, w := range out {
		out[i].text, out[i].value = r.vars.Replace(w.text), r.vars.Replace(w.value)
	}
	return out
}

// eventually repeats a request until its expectation holds: for what the edge does behind
// an answer.
func (r *run) eventually(s *step) error {
	words := r.replaced(s.words[1:])
	var failed error
	late := time.Now().Add(r.bell.patience)
	for time.Now().Before(late) {
		a, err := r.ask(s, words)
		if err != nil {
			return err
		}
		if failed = a.check(s.want, r.vars); failed == nil {
			return nil
		}
	}
	return failed
}

// parallel sends N requests at once: "parallel 10 get /a -> ...".
func (r *run) parallel(s *step) error {
	n, err := strconv.Atoi(s.arg(1))
	if err != nil {
		return err
	}
	words := r.replaced(s.words[2:])
	ids, errs := make([]string, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		ids[i] = r.id()
		all.Go(func() {
			cl, err := r.client.begin(s, words, ids[i])
			if err == nil {
				err = cl.finish().check(s.want, r.vars)
			}
			errs[i] = err
		})
	}
	all.Wait()
	r.ids = ids
	for i, id := range ids {
		if errs[i] == nil {
			errs[i] = r.settle(id)
		}
	}
	return errors.Join(errs...)
}

// start begins a request: "start A get /a".
func (r *run) start(s *step) error {
	id := r.id()
	cl, err := r.client.begin(s, r.replaced(s.words[2:]), id)
	if err != nil {
		return err
	}
	r.calls[s.arg(1)] = cl
	return nil
}

func (r *run) call(s *step) (*call, error) {
	cl := r.calls[s.arg(1)]
	if cl == nil {
		return nil, fmt.Errorf("nothing was started as %q", s.arg(1))
	}
	return cl, nil
}

// read takes the next bytes of a response: "read A 1024".
func (r *run) read(s *step) error {
	cl, err := r.call(s)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(s.arg(2))
	if err != nil {
		return err
	}
	return cl.read(n)
}

// send gives the next piece of a request's content: "send A text".
func (r *run) send(s *step) error {
	cl, err := r.call(s)
	if err != nil {
		return err
	}
	_, err = cl.content.Write([]byte(s.arg(2)))
	return err
}

// end ends a request's content.
func (r *run) end(s *step) error {
	cl, err := r.call(s)
	if err != nil {
		return err
	}
	return cl.content.Close()
}

func (r *run) finish(s *step) error {
	cl, err := r.call(s)
	if err != nil {
		return err
	}
	delete(r.calls, s.arg(1))
	a := cl.finish()
	r.ids = []string{cl.id}
	if err := r.settle(cl.id); err != nil {
		return fmt.Errorf("%w; the answer:\n%s", err, a)
	}
	return a.check(s.want, r.vars)
}

// abandon lets a client go away in the middle.
func (r *run) abandon(s *step) error {
	cl, err := r.call(s)
	if err != nil {
		return err
	}
	delete(r.calls, s.arg(1))
	cl.abandon()
	r.ids = []string{cl.id}
	return r.settle(cl.id)
}

func (r *run) declare(s *step) error {
	switch s.arg(1) {
	case "down":
		r.origin.down()
		return nil
	case "up":
		return r.origin.up("")
	case "connection":
		return nil
	}
	return r.origin.declare(s)
}

func (r *run) release(*step) error {
	r.origin.release()
	return nil
}

func (r *run) reconnect(*step) error {
	r.client.reconnect()
	return nil
}

// advance moves the clock. What the origin saw before belongs to the time before.
func (r *run) advance(s *step) error {
	d, err := time.ParseDuration(s.arg(1))
	if err != nil {
		return err
	}
	r.setup.clock.advance(d)
	r.origin.forget()
	return nil
}
