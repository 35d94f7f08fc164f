package pool

import (
	"encoding/binary"
	"time"
)

// HTTP/2 frames that are changed on their way out, or tell something (RFC 9113 section 6).
const (
	frameData         = 0x0
	frameRstStream    = 0x3
	frameWindowUpdate = 0x8

	flagEndStream  = 0x1
	flagEndHeaders = 0x4

	settingWindow = 0x4 // SETTINGS_INITIAL_WINDOW_SIZE

	frameHead = 9                                       // bytes before a frame's own
	prefix    = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // what a client sends before its first frame (section 3.4)
)

// outgoing changes the windows in the frames that net/http writes: see [flows]. It belongs to whoever writes, which with net/http
// is one at a time.
type outgoing struct {
	flows *flows

	prefix int    // bytes of it that have passed
	held   []byte // the beginning of a frame that is looked at as a whole, or of one of which not even the head has come
	left   uint32 // bytes of a frame still to pass as they are
	extra  int64  // what the stream of the HEADERS that pass is to be given
	stream uint32 // it
	last   bool   // they end with the frame that passes
	out    []byte
	differ bool // out is not what was given
}

// pass returns what is to be written in the place of b: b itself, where nothing is changed, or bytes that are good until the next
// call.
func (o *outgoing) pass(b []byte, now time.Time) []byte {
	given := b
	if int64(o.left) > int64(len(b)) { // a large upload
		o.left -= uint32(len(b))
		return b
	}
	o.out, o.differ = o.out[:0], len(o.held) > 0
	if n := min(prefix-o.prefix, len(b)); n > 0 {
		o.out, b, o.prefix = append(o.out, b[:n]...), b[n:], o.prefix+n
	}
	for len(b) > 0 {
		if o.left > 0 {
			n := min(int(o.left), len(b))
			o.out, b, o.left = append(o.out, b[:n]...), b[n:], o.left-uint32(n)
			o.passed()
			continue
		}
		want := frameHead
		if len(o.held) >= frameHead {
			want += int(length(o.held))
		}
		n := min(want-len(o.held), len(b))
		o.held, b = append(o.held, b[:n]...), b[n:]
		if have := len(o.held); have == frameHead || have > frameHead && have == frameHead+int(length(o.held)) {
			o.frame(now)
		}
	}
	if len(o.held) > 0 || o.differ {
		return o.out
	}
	return given
}

func length(head []byte) uint32 { return binary.BigEndian.Uint32(head) >> 8 }

// frame looks at a frame of which at least the head is held.
func (o *outgoing) frame(now time.Time) {
	h := o.held
	kind, flags, id := h[3], h[4], binary.BigEndian.Uint32(h[5:])&(1<<31-1)
	whole := len(h) == frameHead+int(length(h))
	switch {
	case kind == frameSettings && flags&flagAck == 0:
		if !whole {
			return
		}
		o.differ = true
		for p := h[frameHead:]; len(p) >= 6; p = p[6:] {
			if binary.BigEndian.Uint16(p) == settingWindow {
				binary.BigEndian.PutUint32(p[2:], minWindow)
			}
		}
	case kind == frameWindowUpdate && id != 0:
		if !whole {
			return
		}
		o.differ = true
		n := o.flows.back(id, int64(binary.BigEndian.Uint32(h[frameHead:])), now)
		if n == 0 {
			o.held = h[:0]
			return
		}
		binary.BigEndian.PutUint32(h[frameHead:], uint32(n))
	case kind == frameHeaders:
		o.stream, o.extra = id, o.flows.open(id)
		o.last = flags&flagEndHeaders != 0
	case kind == frameContinuation:
		o.last = flags&flagEndHeaders != 0
	case kind == frameRstStream:
		o.flows.end(id)
	}
	o.out = append(o.out, h...)
	if !whole {
		o.left = length(h)
	}
	o.held = h[:0]
	o.passed()
}

// passed adds what the stream is given to the end of its HEADERS: before, nobody knows it, and between them no other frame may
// stand (RFC 9113 section 6.10).
func (o *outgoing) passed() {
	if o.left > 0 || !o.last {
		return
	}
	o.last = false
	if o.extra > 0 {
		o.differ = true
		o.out = append(o.out, 0, 0, 4, frameWindowUpdate, 0)
		o.out = binary.BigEndian.AppendUint32(o.out, o.stream)
		o.out = binary.BigEndian.AppendUint32(o.out, uint32(o.extra))
		o.extra = 0
	}
}
