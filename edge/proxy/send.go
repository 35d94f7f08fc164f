package proxy

import (
	"net/http"
	"slices"

	"hither/cache"
)

// send writes the content that s selects. content calls yield with the pieces of n bytes from an offset on; live, where not
// nil, reports whether those it gives at the moment are still arriving, and are to go out at once. The error is content's,
// never the client's.
func (p *Proxy) send(x *Exchange, s cache.Selection, content func(off, n int64, yield func([]byte) bool) error, live func() bool) error {
	guard := p.guard(x)
	defer guard.disarm()
	rc := http.NewResponseController(x.w)
	put := func(chunk []byte) bool {
		for piece := range slices.Chunk(chunk, mostPiece) {
			guard.arm()
			if x.write(piece) != nil {
				return false
			}
		}
		return live == nil || !live() || flush(rc) == nil
	}
	if s.Multi == nil {
		return content(s.Offset, s.Length, put)
	}
	for _, part := range s.Multi.Parts {
		if !put([]byte(part.Head)) {
			return nil
		}
		more := true
		err := content(part.Offset, part.Length, func(piece []byte) bool {
			more = put(piece)
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	put([]byte(s.Multi.End))
	return nil
}
