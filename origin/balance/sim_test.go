package balance

import (
	"cmp"
	"container/heap"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

// sim plays a script: a clock of its own, events in the order of their times.
type sim struct {
	t      *testing.T
	script *script
	b      *Balancer
	clock  *clock
	began  time.Time
	rand   *rand.Rand
	events events
	seq    int
	hosts  map[string]*host
	spent  []budget
	cookie []string // by client
	stats  []second
}

type second struct {
	asked                   map[string]int // picks and checks
	requests, errors, moved int
}

type budget struct{ requests, retries int }

// host is a scripted instance at work.
type host struct {
	scripted
	there   bool
	busy    int
	waiting []func()
	broken  int // it was killed so many times: what it did then is lost
	row     int // checks in a row that failed, or passed (below 0)
	isDown  bool
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), cmp.Compare(e[i].seq, e[j].seq)) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any     { old := *e; x := old[len(old)-1]; *e = old[:len(old)-1]; return x }

// firstByte is how long the balancer's caller waits for an answer, connectTime how long a refused connection takes.
const (
	firstByte   = 2 * time.Second
	connectTime = time.Millisecond
)

func newSim(t *testing.T, s *script, algorithm string, seed uint64, unguarded bool) *sim {
	c := newClock()
	m := &sim{
		t: t, script: s, clock: c, began: c.t, rand: rand.New(rand.NewPCG(seed, 1)), hosts: map[string]*host{},
		stats: make([]second, int(s.run/time.Second)+60), cookie: make([]string, max(s.load.clients, 1)),
	}
	m.spent = make([]budget, len(m.stats))
	for n := range m.stats {
		m.stats[n].asked = map[string]int{}
	}
	for _, i := range s.each {
		m.hosts[i.id] = &host{scripted: i, there: !i.later}
	}
	cfg := s.set
	cfg.Algorithm, cfg.Seed, cfg.Now = algorithm, seed, c.now
	var err error
	if m.b, err = newBalancer(cfg, m.list(), unguarded); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *sim) list() (l []Instance) {
	for _, i := range m.script.each {
		if h := m.hosts[i.id]; h.there {
			l = append(l, Instance{h.id, h.weight, h.group})
		}
	}
	return l
}

func (m *sim) after(d time.Duration, do func()) {
	m.seq++
	heap.Push(&m.events, event{m.clock.t.Add(max(d, 0)), m.seq, do})
}

func (m *sim) now() *second {
	return &m.stats[min(int(m.clock.t.Sub(m.began)/time.Second), len(m.stats)-1)]
}

// play runs the script to its end and until nothing is in flight.
func (m *sim) play() *sim {
	m.t.Helper()
	for _, c := range m.script.at {
		m.after(c.at, func() { m.change(c) })
	}
	if m.script.check != nil {
		for _, i := range m.script.each {
			m.after(time.Duration(m.rand.Int64N(int64(m.script.check.interval))), func() { m.ask(m.hosts[i.id]) })
		}
	}
	m.after(0, m.arrive)
	for len(m.events) > 0 {
		e := heap.Pop(&m.events).(event)
		m.clock.t = e.at
		e.do()
	}
	for _, i := range m.b.Status().Instances {
		if i.Score.InFlight != 0 || i.State == "gone" {
			m.t.Errorf("%s: %d in flight at the end at %s", m.script.name, i.Score.InFlight, i.ID)
		}
	}
	return m
}

func (m *sim) over() bool { return m.clock.t.Sub(m.began) >= m.script.run }

func (m *sim) change(c change) {
	h := m.hosts[c.id]
	for _, word := range c.words {
		h.tell(word)
	}
	if h.down || c.gone {
		h.broken++
		h.busy, h.waiting = 0, nil
	}
	weight := slices.ContainsFunc(c.words, func(w string) bool { return len(w) > 7 && w[:7] == "weight=" })
	if c.gone || c.added || weight {
		h.there = h.there && !c.gone || c.added
		if err := m.b.Set(m.list()); err != nil {
			m.t.Fatal(err)
		}
	}
}

// ask is an active check and what comes of it.
func (m *sim) ask(h *host) {
	if m.over() {
		return
	}
	m.after(m.script.check.interval, func() { m.ask(h) })
	if !h.there {
		return
	}
	m.now().asked[h.id]++
	fails := h.down || h.hang || h.failsChecks || h.status >= 400
	if fails != (h.row > 0) {
		h.row = 0
	}
	if fails {
		h.row++
	} else {
		h.row--
	}
	switch {
	case !h.isDown && h.row >= m.script.check.fall:
		h.isDown = true
		m.b.Checked(h.id, false, "checks fail")
	case h.isDown && -h.row >= m.script.check.rise:
		h.isDown = false
		m.b.Checked(h.id, true, "")
	}
}

// request is what a client wants.
type request struct {
	q      Query
	path   sizedPath
	client int
	tries  int
}

func (m *sim) arrive() {
	if m.over() {
		return
	}
	l := m.script.load
	m.after(time.Duration(m.rand.ExpFloat64()/l.rate*float64(time.Second)), m.arrive)
	r := &request{path: sizedPath{"/", 1000}}
	if len(l.paths) > 0 {
		r.path = l.paths[m.rand.IntN(len(l.paths))]
	}
	r.q.Path, r.q.Trial = xxhash.Sum64String("GET "+r.path.path), true
	if l.keys > 0 { // Zipf's law: the n-th key is asked for in proportion to 1/n
		r.q.Hash, r.q.Hashed = mix(uint64(math.Pow(float64(l.keys), m.rand.Float64()))), true
	}
	if l.clients > 0 {
		r.client = m.rand.IntN(l.clients)
		if l.affinity {
			r.q.Want = m.cookie[r.client]
		}
	}
	m.now().requests++
	m.spent[m.second()].requests++
	m.try(r)
}

func (m *sim) second() int { return min(int(m.clock.t.Sub(m.began)/time.Second), len(m.spent)-1) }

// try sends the request to an instance.
func (m *sim) try(r *request) {
	p, err := m.b.Pick(r.q)
	if err != nil {
		m.now().errors++
		return
	}
	r.q.Tried = append(r.q.Tried, p.Instance())
	m.now().asked[p.Instance()]++
	h := m.hosts[p.Instance()]
	if !h.there {
		m.t.Errorf("%s: a request went to %s, which is gone", m.script.name, h.id)
	}
	began := m.clock.t
	if h.down || !h.there {
		m.after(connectTime, func() { m.end(r, p, Outcome{Kind: Unconnected}) })
		return
	}
	if h.hang {
		m.after(firstByte, func() { m.end(r, p, Outcome{Kind: Timeout}) })
		return
	}
	life := h.broken
	serve := func() {
		h.busy++
		took := h.latency + time.Duration((2*m.rand.Float64()-1)*float64(h.jitter))
		m.after(took, func() {
			if h.broken != life {
				m.end(r, p, Outcome{Kind: Reset})
				return
			}
			if h.busy--; len(h.waiting) > 0 {
				next := h.waiting[0]
				h.waiting = h.waiting[1:]
				next()
			}
			m.answered(r, p, h, began)
		})
	}
	if h.busy < h.places {
		serve()
		return
	}
	h.waiting = append(h.waiting, serve)
	m.after(firstByte, func() { // who waits inside an instance that is killed, or for too long
		if h.broken != life {
			m.end(r, p, Outcome{Kind: Reset})
		}
	})
}

func (m *sim) answered(r *request, p *Pick, h *host, began time.Time) {
	status, bytes := h.status, r.path.bytes
	if m.rand.Float64() < h.fail {
		status = 500
	}
	if h.bytes >= 0 {
		bytes = h.bytes
	}
	v := p.Header(Header{Status: status, Length: bytes, Comparable: status == 200})
	o := Outcome{Kind: Answered, FirstByte: m.clock.t.Sub(began), Bytes: bytes}
	if (v == Bad || status >= 500) && m.again(r, p, o) {
		return
	}
	p.Done(o)
	if status >= 400 || status == 200 && bytes != r.path.bytes {
		m.now().errors++
		return
	}
	if was := m.cookie[r.client]; was != "" && was != h.id {
		m.now().moved++
	}
	m.cookie[r.client] = h.id
}

// end is an attempt without an answer.
func (m *sim) end(r *request, p *Pick, o Outcome) {
	if o.Kind != Timeout && m.again(r, p, o) {
		return
	}
	p.Done(o)
	m.now().errors++
}

// again tries another instance, at most two more, while retries are under a fifth of the requests of ten seconds.
func (m *sim) again(r *request, p *Pick, o Outcome) bool {
	if !m.script.retry || r.tries == 2 {
		return false
	}
	now, b := m.second(), budget{}
	for n := max(0, now-9); n <= now; n++ {
		b.requests, b.retries = b.requests+m.spent[n].requests, b.retries+m.spent[n].retries
	}
	if float64(b.retries) >= max(3, .2*float64(b.requests)) {
		return false
	}
	m.spent[now].retries++
	r.tries++
	p.Done(o)
	m.try(r)
	return true
}

// measure is what a want is about.
func (m *sim) measure(w want) float64 {
	asked, of, sum := 0, 0, second{}
	for n := int(w.from / time.Second); n < int(w.to/time.Second); n++ {
		s := m.stats[n]
		for id, k := range s.asked {
			if of += k; id == w.id {
				asked += k
			}
		}
		sum.requests, sum.errors, sum.moved = sum.requests+s.requests, sum.errors+s.errors, sum.moved+s.moved
	}
	switch w.metric {
	case "share":
		return float64(asked) / float64(max(of, 1))
	case "moved":
		return float64(sum.moved) / float64(max(sum.requests, 1))
	}
	return float64(sum.errors) / float64(max(sum.requests, 1))
}

func (m *sim) holds(w want) (float64, bool) {
	x := m.measure(w)
	return x, w.less && x < w.than || !w.less && x > w.than
}

// scripts are the data files.
func scripts(t *testing.T) (all []*script) {
	t.Helper()
	files, _ := filepath.Glob("testdata/*.sim")
	if len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, file := range files {
		s, err := readScript(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// simulate plays a script with each algorithm.
func simulate(t *testing.T, s *script) {
	for _, name := range Algorithms() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				m := newSim(t, s, name, seed+1, false).play()
				for _, w := range s.wants {
					if w.algorithms != nil && !slices.Contains(w.algorithms, name) {
						continue
					}
					if x, ok := m.holds(w); !ok {
						t.Errorf("%s:%d: %s %s from %v to %v is %.2f %%, seed %d", s.name, w.line, w.metric, w.id, w.from, w.to, 100*x, seed+1)
					}
				}
			}
		})
	}
}

// bites plays a script without what it wants to prove, and wants it to be noticed.
func bites(t *testing.T, s *script) {
	for _, b := range s.bites {
		with := *s
		if err := each(b.with, with.setting); err != nil {
			t.Fatal(err)
		}
		m := newSim(t, &with, b.algorithms[0], 1, b.with == nil).play()
		if x, ok := m.holds(b.want); !ok {
			t.Errorf("%s:%d: does not bite: %s %s is %.2f %% with %s", s.name, b.line, b.metric, b.id, 100*x, b.algorithms[0])
		}
		if !slices.ContainsFunc(s.wants, func(w want) bool { _, ok := m.holds(w); return !ok }) {
			t.Errorf("%s:%d: all that the script wants holds all the same", s.name, b.line)
		}
	}
}

// TestSimulate plays every script with every algorithm, but for the one that TestFastFail plays.
func TestSimulate(t *testing.T) {
	for _, s := range scripts(t) {
		if s.name != fastFail {
			t.Run(s.name, func(t *testing.T) { simulate(t, s) })
		}
	}
}

const fastFail = "fast-fail.sim"

// TestBites shows that each script would notice.
func TestBites(t *testing.T) {
	for _, s := range scripts(t) {
		t.Run(s.name, func(t *testing.T) { bites(t, s) })
	}
}

// TestFastFail is the promise that this package was made for, and that the script of it bites: no algorithm rewards an
// instance that fails fast, and plain weighted response time without the guard does.
func TestFastFail(t *testing.T) {
	s, err := readScript("testdata/" + fastFail)
	if err != nil {
		t.Fatal(err)
	}
	simulate(t, s)
	bites(t, s)
}
