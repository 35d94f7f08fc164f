package cache

import (
	"strconv"
	"strings"
	"time"
)

// This file tells an operator what [Cache.Look] finds, and why: by the code that answers
// requests, which leaves a trail here, and by nothing that decides again.

// A Peeker is a [Store] that can be looked into without a trace: what only an operator
// asks for is no hotter for it. Of a store that is none, Get is asked.
type Peeker interface {
	// Peek is Get that counts nothing.
	Peek(k Key) *Object
	// Under returns the live objects under a primary key, in no order. It may take as long
	// as the store is large, and keeps nobody waiting for long.
	Under(primary Key) []*Object
}

// A Found is a Look with what lies around it.
type Found struct {
	Look
	// Signpost stands at the primary key where its responses vary; nil where they do not.
	Signpost *Object
	// Own is the key of the request's own variant. Key is another one where the answer is a
	// variant in the language that the request wants most.
	Own Key
	// Marker is the Pass that lies at the key, also when its time is over; nil where none.
	Marker *Object
	// PassLeft is for how long requests still pass one another because of Marker.
	PassLeft time.Duration
	// Filling tells that a request to the origin is under way for the key, which this one
	// would join.
	Filling bool
}

// Explain is Look, and what it passed on the way. It changes and counts nothing.
func (c *Cache) Explain(k Key, request FieldReader, now time.Time) Found {
	var t trail
	f := Found{Look: look(peeking{c}, k, request, now, &t), Signpost: t.signpost, Own: k, Marker: t.pass}
	if t.signpost != nil {
		f.Own.Vary = variant(t.signpost, request)
	}
	if t.pass != nil && t.pass.passes(now) {
		f.PassLeft = t.pass.Lifetime - t.pass.currentAge(now)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.Filling = c.flights[f.Key] != nil
	return f
}

// peeking is live whose Get counts nothing where that can be had.
type peeking struct{ c *Cache }

func (p peeking) Get(k Key) *Object { return p.c.spared(p.c.peek(k)) }

// peek is what is stored under k, also if a purge takes it.
func (c *Cache) peek(k Key) *Object {
	if s, ok := c.store.(Peeker); ok {
		return s.Peek(k)
	}
	return c.store.Get(k)
}

// Variants returns up to most of the responses that are stored under a primary key, and
// how many there are; known is false where the store cannot tell. It may take as long as
// the store is large. Variants of a signpost that is gone are dead, and not among them.
func (c *Cache) Variants(f Found, most int) (list []*Object, total int, known bool) {
	s, ok := c.store.(Peeker)
	if !ok {
		return nil, 0, false
	}
	for _, o := range s.Under(f.Key.Primary()) {
		if c.spared(o) == nil || !o.answers() || (f.Signpost == nil) != (o.Key.Vary == "") || f.Signpost != nil && !f.Signpost.leads(o) {
			continue
		}
		if total++; len(list) < most {
			list = append(list, o)
		}
	}
	return list, total, true
}

// leads reports whether o is a variant behind the signpost.
func (o *Object) leads(to *Object) bool {
	epoch, _, ok := strings.Cut(to.Key.Vary, "\n")
	return ok && epoch == strconv.FormatUint(o.Epoch, 36)
}

// A Choice is a request field that chose a variant.
type Choice struct {
	Name  string // canonical
	Value string // as it counts: what has one meaning is one text
	Sent  bool   // false: the request had no such field, which is a value of its own
}

// Choices reads from the key of a variant what chose it. It returns nil for a key that is
// not behind the signpost.
func (o *Object) Choices(k Key) []Choice {
	parts := strings.Split(k.Vary, "\n")
	if len(parts) != len(o.Vary)+1 {
		return nil
	}
	list := make([]Choice, len(o.Vary))
	for i, name := range o.Vary {
		value, sent := strings.CutPrefix(parts[i+1], "=")
		list[i] = Choice{name, value, sent}
	}
	return list
}

// A Freshness is the sum by which an object is fresh or not (RFC 9111 section 4.2), term
// by term.
type Freshness struct {
	Date     time.Time     // date_value
	AgeValue time.Duration // age_value; only known to be no more than this where AgeMost
	AgeMost  bool
	Apparent time.Duration // apparent_age
	Delay    time.Duration // response_delay
	Initial  time.Duration // corrected_initial_age
	Resident time.Duration // resident_time
	Current  time.Duration // current_age

	Lifetime time.Duration // freshness_lifetime
	Source   Source
	Field    string // the field that the lifetime, or that none, was read in
	Line     string // its value
	TTL      time.Duration
	NoCache  bool // validate before each use

	// The windows of RFC 5861, from the end of the lifetime on, and what set or closed them.
	WhileRevalidate, IfError     time.Duration
	WhileRevalidateBy, IfErrorBy Reach
}

// Freshness explains the object of a look at a moment. The policy is the one of now: where
// another one judged the object, when it came, Source says so.
func (p Policy) Freshness(l Look, now time.Time) Freshness {
	o := l.Object
	h := o.Fields.Header()
	c, field := controlIn(h)
	t, judged := o.terms(), p.times(o, h, c)
	f := Freshness{
		Date: t.date, AgeValue: t.value, AgeMost: t.value+t.delay <= t.apparent && t.value > 0,
		Apparent: t.apparent, Delay: t.delay, Initial: o.Age, Resident: o.resident(now), Current: l.Age,
		Lifetime: o.Lifetime, Source: judged.source, TTL: l.TTL, NoCache: o.NoCache,
		WhileRevalidate: o.WhileRevalidate, IfError: o.IfError,
		WhileRevalidateBy: judged.whileRevalidate.by, IfErrorBy: judged.ifError.by,
	}
	switch f.Source {
	case SourceMaxAge, SourceSMaxAge:
		f.Field = field
	case SourceExpires:
		f.Field = "Expires"
	case SourceHeuristic:
		f.Field = "Last-Modified"
	}
	f.Line = strings.Join(h[f.Field], ", ")
	if judged.lifetime != o.Lifetime {
		f.Source, f.Field, f.Line = SourceEarlier, "", ""
	}
	if judged.whileRevalidate.d != o.WhileRevalidate {
		f.WhileRevalidateBy = ByEarlier
	}
	if judged.ifError.d != o.IfError {
		f.IfErrorBy = ByEarlier
	}
	return f
}

// terms are those that o.Age came from. Age is not among the fields that are kept, but
// what it can have been follows from the sum: exactly, where it made the age, else that it
// was no more than what would have.
func (o *Object) terms() terms {
	t := termsOf(o.Fields.Header(), o.Request, o.Received)
	if t.value = max(0, o.Age-t.delay); t.value+t.delay <= t.apparent {
		t.value = t.value.Truncate(time.Second) // of which Age is a whole number (section 5.1)
	}
	return t
}
