package cert

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pairs are what was read from sources. They do not change, but for the first use of each, and are safe for concurrent use. The zero Pairs has
// none.
type Pairs struct{ held []held }

// held is what is known of a source.
type held struct {
	source  Source
	pair    *Pair    // in use; nil: there is none
	refused *Refusal // of the files as they are; nil: pair is what they have
	judged  stamp    // of the files when they were read
	sure    bool     // whatever was written since has another stamp
	seen    stamp    // of the files at the last look
}

// News is what has become of pairs that were read.
type News struct {
	Taken   []Source   // another pair than before is in use
	Refused []*Refusal // each is told once, until its files or the reason change
}

// At returns the pair of the source with that index. Without one, the refusal says why; with one, that its files have another which was not
// taken.
func (p *Pairs) At(i int) (*Pair, *Refusal) { return p.held[i].pair, p.held[i].refused }

// Refused lists the sources whose files are not in use as they are.
func (p *Pairs) Refused() (all []*Refusal) {
	for i := range p.held {
		if r := p.held[i].refused; r != nil {
			all = append(all, r)
		}
	}
	return all
}

// Load reads each source's pair. What old (nil: none) has of the same source stays where its files have not changed; and where they have no pair
// that is whole, belongs together, and is good for all the names.
func Load(sources []Source, old *Pairs, now time.Time) (*Pairs, News) {
	p := &Pairs{held: make([]held, len(sources))}
	before := make(map[[4]string]*held)
	if old != nil {
		for i := range old.held {
			h := &old.held[i]
			before[h.source.files()] = h
		}
	}
	taken, refused := make([]bool, len(sources)), make([]*Refusal, len(sources))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) { // most of it is parsing
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(sources) {
					return
				}
				h := &p.held[i]
				if b := before[sources[i].files()]; b != nil && slices.Equal(b.source.Names, sources[i].Names) {
					*h = *b
				}
				h.source = sources[i]
				taken[i], refused[i] = h.load(now)
			}
		})
	}
	wg.Wait()
	var news News
	for i := range sources {
		news.add(sources[i], taken[i], refused[i])
	}
	return p, news
}

func (n *News) add(s Source, taken bool, refused *Refusal) {
	if taken {
		n.Taken = append(n.Taken, s)
	}
	if refused != nil {
		n.Refused = append(n.Refused, refused)
	}
}

// load reads the files if they may have changed, and does not wait for who is writing: whoever has us load says that all is in place.
func (h *held) load(now time.Time) (taken bool, refused *Refusal) {
	at := h.source.stamp()
	if at == h.judged && h.sure && h.refused == nil {
		return false, nil
	}
	pair, err := h.source.read()
	h.seen = h.source.stamp()
	taken, refused = h.judge(pair, err, at, now)
	h.sure = h.sure && h.seen == at
	return taken, refused
}

// Look looks at the files once, and returns p itself where nothing has changed. Files that have are read when the next look finds them
// the same: they may be written one after the other, and a chain that is cut off after its first certificate looks whole. What
// was refused is read at each look, for a reason may go without the files changing.
func (p *Pairs) Look(now time.Time) (*Pairs, News) {
	next := p
	var news News
	for i := range p.held {
		h := p.held[i]
		changed, taken, refused := h.look(now)
		if !changed {
			continue
		}
		if next == p {
			next = &Pairs{held: slices.Clone(p.held)}
		}
		next.held[i] = h
		news.add(h.source, taken, refused)
	}
	return next, news
}

func (h *held) look(now time.Time) (changed, taken bool, refused *Refusal) {
	at := h.source.stamp()
	if at != h.seen {
		h.seen = at
		return true, false, nil
	}
	if at == h.judged && h.sure && h.refused == nil {
		return false, false, nil
	}
	pair, err := h.source.read()
	if h.seen = h.source.stamp(); h.seen != at {
		return true, false, nil
	}
	before := *h
	taken, refused = h.judge(pair, err, at, now)
	changed = taken || h.refused != before.refused || h.judged != before.judged || h.sure != before.sure
	return changed, taken, refused
}

// judge decides on what was read from files of that stamp.
func (h *held) judge(pair *Pair, err error, at stamp, now time.Time) (taken bool, refused *Refusal) {
	if err == nil && h.pair != nil {
		err = pair.worse(h.pair, now)
	}
	if err != nil {
		r := refusal(h.source, h.pair != nil, err)
		if h.refused == nil || h.judged != at || h.refused.Error() != r.Error() {
			h.refused, refused = r, r
		}
	} else {
		h.refused = nil
		if taken = h.pair == nil || !h.pair.same(pair); taken {
			h.pair = pair
		}
	}
	h.judged, h.sure = at, at.settled()
	return taken, refused
}

// ahead is how far a clock may be behind the authority's.
const ahead = time.Minute

// worse says what makes clients that are well with old refuse p.
func (p *Pair) worse(old *Pair, now time.Time) error {
	switch {
	case now.After(old.end):
		return nil
	case now.After(p.end):
		return unfit{WrongTime, fmt.Errorf("it ended at %s", p.end.UTC().Format(time.RFC3339))}
	case p.begin.After(now.Add(ahead)):
		return unfit{WrongTime, fmt.Errorf("it begins at %s", p.begin.UTC().Format(time.RFC3339))}
	}
	return nil
}
