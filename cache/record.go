package cache

import (
	"encoding/binary"
	"errors"
	"time"
)

// This file is an object's form outside of memory: all of it but its body, which is the larger part and which a store lays
// down in its own way, and its tags' hashes, which mean nothing to another process.

// errRecord is a record that AppendRecord did not write.
var errRecord = errors.New("cache: malformed record of an object")

// AppendTo appends the whole of k, by which a store may tell keys apart after a restart.
func (k Key) AppendTo(b []byte) []byte {
	b = appendText(b, k.Site)
	b = append(b, byte(k.Class))
	b = appendText(b, k.Scheme)
	b = appendText(b, k.Path)
	return appendText(b, k.Vary)
}

// AppendRecord appends what ReadObject makes the object of. Its body and the time of a soft purge are the store's to keep.
func (o *Object) AppendRecord(b []byte) []byte {
	b = o.Key.AppendTo(b)
	b = append(b, byte(o.Kind), flag(o.NoCache))
	b = binary.AppendUvarint(b, uint64(o.Status))
	b = appendText(b, o.Fields.raw)
	b = appendTime(b, o.Request)
	b = appendTime(b, o.Received)
	for _, d := range [...]time.Duration{o.Age, o.Lifetime, o.WhileRevalidate, o.IfError} {
		b = binary.AppendVarint(b, int64(d))
	}
	b = binary.AppendUvarint(b, uint64(len(o.Vary)))
	for _, name := range o.Vary {
		b = appendText(b, name)
	}
	b = binary.AppendUvarint(b, o.Epoch)
	return binary.AppendUvarint(b, o.sequence)
}

// ReadObject makes an object of a record and a body. earlier tells that another process wrote it: then it was asked for
// before every purge of this one.
func ReadObject(record []byte, body Body, earlier bool) (*Object, error) {
	r := recordReader{rest: string(record)} // one string, of which all others are parts
	o := &Object{Body: body}
	o.Key.Site = r.text()
	o.Key.Class = Class(r.byte())
	o.Key.Scheme = r.text()
	o.Key.Path = r.text()
	o.Key.Vary = r.text()
	o.Kind = Kind(r.byte())
	o.NoCache = r.byte() != 0
	o.Status = int(r.uint())
	o.Fields = Fields{r.text()}
	o.Request = r.time()
	o.Received = r.time()
	for _, d := range [...]*time.Duration{&o.Age, &o.Lifetime, &o.WhileRevalidate, &o.IfError} {
		*d = time.Duration(r.int())
	}
	if n := r.uint(); n > uint64(len(r.rest)) { // each takes a byte at least
		r.bad = true
	} else if n > 0 {
		o.Vary = make([]string, n)
		for i := range o.Vary {
			o.Vary[i] = r.text()
		}
	}
	o.Epoch = r.uint()
	if o.sequence = r.uint(); earlier {
		o.sequence = 0
	}
	if r.bad || r.rest != "" {
		return nil, errRecord
	}
	if o.Fields.Get(surrogateKey) != "" || o.Fields.Get(cacheTag) != "" {
		o.tags, _ = tagsOf(o.Fields.Header())
	}
	return o, nil
}

// MarkStale notes that a soft purge made the object stale at the instant given; an earlier one stands.
func (o *Object) MarkStale(at time.Time) { o.stale.CompareAndSwap(0, at.UnixNano()) }

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	b = binary.AppendVarint(b, t.Unix())
	return binary.AppendUvarint(b, uint64(t.Nanosecond()))
}

// A recordReader takes a record apart. After the first fault all it gives is zero.
type recordReader struct {
	rest string
	bad  bool
}

func (r *recordReader) byte() byte {
	if r.rest == "" {
		r.bad = true
		return 0
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	return c
}

func (r *recordReader) uint() uint64 {
	head := r.rest[:min(len(r.rest), binary.MaxVarintLen64)]
	v, n := binary.Uvarint([]byte(head))
	if n <= 0 {
		r.bad, r.rest = true, ""
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *recordReader) int() int64 {
	v := r.uint() // zig-zag, as binary.AppendVarint writes it
	return int64(v>>1) ^ -int64(v&1)
}

func (r *recordReader) text() string {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *recordReader) time() time.Time {
	seconds, nanoseconds := r.int(), r.uint()
	if nanoseconds >= uint64(time.Second) {
		r.bad = true
	}
	return time.Unix(seconds, int64(nanoseconds))
}
