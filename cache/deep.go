package cache

import (
	"strings"
	"time"
)

// A Sweeper is a [Store] some of whose objects lie deep: Each would have to read them one by one. It carries out purges on
// those by what it knows of them, and lets the cache do it with the rest.
type Sweeper interface {
	// Sweep carries out purges. Of the objects that lie deep it removes what they mean, or marks it stale, so that it stays so
	// when Sweep has returned, whatever then happens to the process or the machine; it counts them in Objects, but for those that are in
	// reach as well. All others it yields as Each does.
	//
	// strike reports whether the purges take an object, and marks it where one makes it stale; with count it is counted. It is asked about whatever moves
	// meanwhile, may be called concurrently, and does not call the store.
	Sweep(purges []*DeepPurge, strike func(o *Object, count bool) (gone bool), yield func(*Object) bool)
}

// A DeepPurge is a purge that a Sweeper carries out.
type DeepPurge struct {
	Purge
	At      time.Time // since when what a soft one means is stale
	Objects int       // responses that the Sweeper found
}

// A Deep has the content of a body that lies deep: the store reads it for each reader anew.
type Deep interface {
	// Range is Body.Range for n bytes that are there. A piece is valid until yield returns.
	Range(off, n int64, yield func([]byte) bool) error
	// Gone reports that nobody can begin to read it any more.
	Gone() bool
}

// NewDeepBody makes a Body of size bytes that are read from s. It counts nothing to its object's Size.
func NewDeepBody(s Deep, size int64) Body {
	return Body{more: &parts{size: size, large: &content{source: s}}}
}

// Deep reports whether the body is read anew for each reader.
func (b Body) Deep() bool {
	large := b.large()
	return large != nil && large.source != nil
}

// TagForms yields what a store may know the object's tags by: where one of these is among a PurgeTag's, the object is meant.
func (o *Object) TagForms(yield func(form string)) {
	if o.tags == "" {
		return
	}
	for name, line := range o.Fields.All() {
		eachTag(name, line, func(tag string) bool {
			if name == cacheTag {
				tag = lower(tag)
			}
			yield(name[:1] + tag)
			return true
		})
	}
}

// TagForms is what responses may have that a PurgeTag means, by either field. See [Object.TagForms].
func (p Purge) TagForms() [2]string {
	return [2]string{surrogateKey[:1] + p.Value, cacheTag[:1] + lower(p.Value)}
}

// MeansPath reports whether a PurgePrefix means a key of its site with this path.
func (p Purge) MeansPath(path string) bool { return strings.HasPrefix(path, p.Value) }
