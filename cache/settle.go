package cache

import (
	"net/http"
	"slices"
	"time"
)

// This file holds the calls by which a fill settles: each decides first what the store
// gets, then tells the readers. So whoever is told finds the store as it says.

// stream makes the field section known. why is set where the response may be shared by
// those who wait but is not to be stored.
func (f *Fill) stream(o *Object, resp *http.Response, why Reason, received time.Time) {
	f.want.Look.Object = nil // no longer needed, and perhaps no longer stored
	if why == "" && len(o.Vary) > 0 {
		f.plantSignpost(o)
	} else {
		o.Key = o.Key.Primary()
	}
	f.meet(o)
	keep := why != "" || f.admitted(o, resp.ContentLength)
	if !keep {
		why = ReasonTooLarge
		f.land(nil) // whoever comes from now on leads a fill of its own
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep = keep
	f.state, f.object, f.mine, f.reason, f.wait = Streaming, o, o.own(resp.Header), why, received.Sub(f.start)
	f.length = resp.ContentLength
	f.broadcast()
}

// plantSignpost gives o the key of its variant and moves the flight there, so that
// requests which look from now on find the signpost and then the flight.
//
// A signpost that names more fields than this response does stays: a narrower choice of
// variants is never wrong, and where an origin's short and long answers disagree on Vary
// each would otherwise throw out the others. Any other one is replaced, and what lies
// behind it is forgotten.
func (f *Fill) plantSignpost(o *Object) {
	c, primary := f.c, o.Key.Primary()
	c.mu.Lock()
	defer c.mu.Unlock()
	post := c.get(primary)
	if post == nil || post.Kind != Signpost || !covers(post.Vary, o.Vary) {
		post = &Object{Key: primary, Kind: Signpost, Vary: o.Vary, Epoch: c.epochs.Add(1), sequence: f.sequence}
		if !f.gone {
			c.enter(post)
		}
	}
	o.Key = primary
	o.Key.Vary = variant(post, f.want.Request)
	o.Vary = nil
	f.mu.Lock()
	f.signpost = post
	f.mu.Unlock()
	f.reroute(o.Key)
}

// reroute moves the flight to k, unless there is another one. Cache.mu is held.
func (f *Fill) reroute(k Key) {
	c := f.c
	if c.flights[f.key] != f {
		return
	}
	delete(c.flights, f.key)
	if _, taken := c.flights[k]; !taken {
		f.key = k
		c.flights[k] = f
	}
}

// covers reports whether all of names are among post's, both sorted.
func covers(post, names []string) bool {
	for _, name := range names {
		if _, ok := slices.BinarySearch(post, name); !ok {
			return false
		}
	}
	return true
}

// refreshed settles the fill with a confirmed object. why is set where it answers the
// leader alone.
func (f *Fill) refreshed(o, mine *Object, why Reason, received time.Time) {
	if why == "" {
		f.land(o)
	} else {
		f.land(f.pass(o.Key, received))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.object, f.mine, f.reason, f.wait, f.length = Refreshed, o, mine, why, received.Sub(f.start), o.Length()
	f.end(nil)
}

// alone hands the response to the leader; those who wait, and for a while those who
// come, ask for themselves.
func (f *Fill) alone(resp *http.Response, why Reason, received time.Time) {
	var marker *Object
	if resp.StatusCode != http.StatusTooEarly { // that is about the leader's early data alone
		marker = f.pass(f.want.Look.Key, received)
	}
	f.land(marker)
	f.handOver(resp, true, Alone, why, received)
}

// handOver ends a fill that takes no body itself. Where the response is of use it is the leader's, who closes it.
func (f *Fill) handOver(resp *http.Response, usable bool, s State, why Reason, received time.Time) {
	f.mu.Lock()
	f.state, f.reason, f.wait, f.done = s, why, received.Sub(f.start), true
	for r := range f.readers {
		if r.leader && usable {
			f.response = resp
		}
	}
	left := f.response == nil
	f.broadcast()
	f.mu.Unlock()
	if left {
		resp.Body.Close()
		f.cancel()
	}
}

// passLifetime is how long requests for a key whose response could not be reused go
// past one another: short, because one response may have been an exception.
const passLifetime = 5 * time.Second

// pass returns the marker for a key whose response could not be reused, or nil where the
// response says nothing of what others would get: a made-up Authorization must not throw
// out what is stored.
func (f *Fill) pass(k Key, received time.Time) *Object {
	if f.want.Solo || len(f.want.Request.Values("Authorization")) > 0 {
		return nil
	}
	return &Object{Key: k, Kind: Pass, Received: received, Lifetime: passLifetime}
}

// fail ends the fill without a whole response.
func (f *Fill) fail(err error) {
	f.land(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == waiting {
		f.state = Erred
		f.wait = f.c.now().Sub(f.start)
	}
	f.err = err
	f.end(f.c.loose.content(f.chunks))
}

// finish ends a body that came whole, and stores it if it was kept.
func (f *Fill) finish() {
	var o *Object
	var rest *content
	f.mu.Lock()
	if f.keep && f.reason == "" {
		o = f.whole()
		o.Epoch = f.c.epochs.Add(1)
		rest = o.Body.large()
		if f.part != nil {
			f.c.sliced.Add(1)
		}
	} else {
		rest = f.c.loose.content(f.chunks)
	}
	f.mu.Unlock()
	f.land(o)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(rest)
}

// end wakes all: nothing comes any more. Those who have not read everything find it in
// rest, nil where the chunks are few. f.mu is held.
func (f *Fill) end(rest *content) {
	f.done = true
	if rest != nil {
		f.rest, f.chunks = rest, nil
		rest.open(len(f.readers))
	}
	f.c.held.Add(-f.held)
	f.held = 0
	f.broadcast()
	f.cancel()
}

// land puts o, where there is one to put, and then removes the flight: a request that
// comes between finds either.
func (f *Fill) land(o *Object) {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if o != nil && !f.gone && !f.barred(o) && !c.newer(o) && (f.part == nil || c.lives(f.part)) {
		o.sequence = f.sequence
		c.put(o)
		if l := languageOf(o, f.signpost, f.want.Request); l != nil {
			l.sequence = f.sequence
			c.enter(l)
		}
	}
	f.ground()
	primary := f.want.Look.Key.Primary()
	delete(c.fills[primary], f)
	if len(c.fills[primary]) == 0 {
		delete(c.fills, primary)
	}
}

// newer reports whether what is stored under o's key was asked for later than o: a slow
// download must not replace it (RFC 9111 section 4: the most recent response counts). What is from a time that our clock was
// set back from since is not later.
func (c *Cache) newer(o *Object) bool {
	if !o.answers() {
		return false
	}
	stored := c.get(o.Key)
	return stored != nil && stored.answers() && stored.Request.After(o.Request) && !stored.ahead(c.now())
}

// broadcast wakes all who wait. f.mu is held.
func (f *Fill) broadcast() {
	close(f.wake)
	f.wake = make(chan struct{})
}
