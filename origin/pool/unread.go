package pool

import (
	"container/list"
	"errors"
	"sync"
	"time"
)

var errUnread = errors.New("too much waits for readers, and this one has been away for longest")

// unreadGrace is how long a reader may be away whatever the others do. With what the cache and the proxy read at once,
// 64 KiB, this is a client of 100 kbit/s.
const unreadGrace = 5 * time.Second

// unread lists the responses whose reader is away. While it is, the stream fills up to its window, and nothing but an end of
// the stream gives that memory back: clients that ask for much and read nothing would take all there is. What waits is
// counted in bytes.
type unread struct {
	mu   sync.Mutex
	away list.List // of *body, who left first in front
}

// left notes that b's reader went to do something else.
func (u *unread) left(b *body, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if b.at == nil && !b.closed.Load() {
		b.since = now
		b.at = u.away.PushBack(b)
	}
}

// back notes that it is there again, or has done; false when it comes too late.
func (u *unread) back(b *body) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if b.at != nil {
		u.away.Remove(b.at)
		b.at = nil
	}
	return !b.abandoned
}

// excess takes those out that are to be cut off, those that are away for longest first, so that at most so many bytes wait
// for the others.
func (u *unread) excess(most int64, now time.Time) (cut []*body) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all int64
	for e := u.away.Front(); e != nil; e = e.Next() {
		all += e.Value.(*body).unread()
	}
	for e := u.away.Front(); e != nil && all > most; {
		b, next := e.Value.(*body), e.Next()
		if now.Sub(b.since) < unreadGrace {
			break
		}
		if n := b.unread(); n > 0 {
			all -= n
			u.away.Remove(e)
			b.at, b.abandoned = nil, true
			cut = append(cut, b)
		}
		e = next
	}
	return cut
}
