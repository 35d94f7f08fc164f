package cache

import (
	"strconv"
	"strings"
)

// This file keeps the content of a stored response in other content codings than the one in which it came (RFC 9110 section
// 8.4). Such a form is an object of its own and is evicted as one. Its key is made of the response's, the coding, and the
// epoch of the content, which a 304 leaves and new content never has. It is found by way of the response alone, which says
// whether it is fresh, whose it is and what was purged: where that is gone, or has other content, no form of it is found,
// whatever of it is left in the store.

// encodedKey is where o's content lies in a coding. No key of a variant has a line that begins with "!".
func (o *Object) encodedKey(c Coding) Key {
	k := o.Key
	k.Vary += "\n!" + c.String() + "=" + strconv.FormatUint(o.Epoch, 36)
	return k
}

// Encoded returns o's content in a coding as PutEncoded was given it, or nil where that is not stored. Its Body is empty
// where the coding gained nothing. It is a Body and no response: its fields, age and lifetime mean nothing.
func (c *Cache) Encoded(o *Object, coding Coding) *Object { return encodedIn(live{c}, o, coding) }

// PeekEncoded is Encoded for explanations: what it finds is no hotter for it.
func (c *Cache) PeekEncoded(o *Object, coding Coding) *Object {
	return encodedIn(peeking{c}, o, coding)
}

func encodedIn(stored getter, o *Object, coding Coding) *Object {
	if o.Epoch == 0 {
		return nil
	}
	if e := stored.Get(o.encodedKey(coding)); e != nil && e.Kind == Encoded {
		return e
	}
	return nil
}

// PutEncoded stores o's content in a coding: pieces that nobody writes to any more, or none where the coding gains nothing,
// so that nobody tries it again. It reports whether it did: not where o's content is stored no more.
func (c *Cache) PutEncoded(o *Object, coding Coding, pieces [][]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := peeking{c}.Get(o.Key)
	if o.Epoch == 0 || now == nil || now.Kind != Response || now.Epoch != o.Epoch {
		return false
	}
	c.enter(&Object{
		Key: o.encodedKey(coding), Kind: Encoded, Body: c.accounted(pieces), Request: now.Request, Received: now.Received,
		Epoch: o.Epoch, sequence: now.sequence,
	})
	return true
}

// accounted makes a body whose slow readers are accounted when no store has it any more.
func (c *Cache) accounted(pieces [][]byte) Body {
	chunks, start := make([]chunk, len(pieces)), int64(0)
	for i, p := range pieces {
		chunks[i] = chunk{start: start, data: p}
		start += int64(len(p))
	}
	if large := c.loose.content(chunks); large != nil {
		return Body{more: &parts{size: start, large: large}}
	}
	return NewBody(pieces...)
}

// enter puts o into the store.
func (c *Cache) enter(o *Object) {
	if strings.Contains(o.Key.Path, "\n") {
		c.chosen.Store(true)
	}
	c.store.Put(o)
}

// put stores o. What was under its key is gone with all forms of its content, unless o has the same. c.mu is held.
func (c *Cache) put(o *Object) {
	before := c.peek(o.Key)
	c.enter(o)
	if before != nil && before.Epoch != o.Epoch {
		c.dropEncoded(before)
	}
}

// dropEncoded removes the forms of o's content, where o is a response that may have any.
func (c *Cache) dropEncoded(o *Object) {
	if o == nil || o.Kind != Response || o.Epoch == 0 {
		return
	}
	for _, coding := range Codings() {
		c.store.Delete(o.encodedKey(coding))
	}
}
