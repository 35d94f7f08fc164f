package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"hither/cache"
)

// A record is one object in a segment: a head of fixed size, what cache.Object.AppendRecord writes, the body, and a checksum
// of each piece of the body. The head has a checksum of itself and what follows it, with which those of the pieces begin: so
// no piece passes for that of another object.
//
//	0  magic     4
//	4  checksum  4   of all below, and of the object's record
//	8  run       4   in which process it was written
//	12 length    4   of the object's record
//	16 length    8   of the body
const (
	recordMagic = 0x68727431 // "hrt1"
	headSize    = 24
	pieceSize   = 64 << 10
)

// errCorrupt is a record that is not as it was written.
var errCorrupt = errors.New("disk: a record is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A head is the beginning of a record.
type head struct {
	sum    uint32
	run    uint32
	record uint32
	body   int64
}

// pieces is how many pieces a body of n bytes has.
func pieces(n int64) int64 { return (n + pieceSize - 1) / pieceSize }

// size is that of the whole record.
func (h head) size() int64 { return headSize + int64(h.record) + h.body + 4*pieces(h.body) }

// bodyAt and sumsAt are where these begin, from the record's beginning.
func (h head) bodyAt() int64 { return headSize + int64(h.record) }
func (h head) sumsAt() int64 { return h.bodyAt() + h.body }

// recordSize is the size of the record of an object; overhead is what the object's own record has at most besides its texts.
func recordSize(o *cache.Object) int64 {
	const overhead = 128
	n := int64(headSize+overhead+o.Key.Len()+o.Fields.Len()) + o.Body.Len() + 4*pieces(o.Body.Len())
	for _, name := range o.Vary {
		n += int64(len(name)) + 2
	}
	return n
}

// appendHead appends the head and the object's record to b, which is empty.
func appendHead(b []byte, o *cache.Object, run uint32) ([]byte, head) {
	b = o.AppendRecord(append(b, make([]byte, headSize)...))
	h := head{run: run, record: uint32(len(b) - headSize), body: o.Body.Len()}
	binary.LittleEndian.PutUint32(b, recordMagic)
	binary.LittleEndian.PutUint32(b[8:], h.run)
	binary.LittleEndian.PutUint32(b[12:], h.record)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.body))
	h.sum = crc32.Checksum(b[8:], castagnoli)
	binary.LittleEndian.PutUint32(b[4:], h.sum)
	return b, h
}

// parseHead reads the head of a record of size bytes.
func parseHead(b []byte, size int64) (h head, err error) {
	if len(b) < headSize || binary.LittleEndian.Uint32(b) != recordMagic {
		return h, errCorrupt
	}
	h = head{
		sum: binary.LittleEndian.Uint32(b[4:]), run: binary.LittleEndian.Uint32(b[8:]),
		record: binary.LittleEndian.Uint32(b[12:]), body: int64(binary.LittleEndian.Uint64(b[16:])),
	}
	if h.body < 0 || h.body > size || h.size() != size {
		return h, errCorrupt
	}
	return h, nil
}

// verify holds the checksum of head and object's record to what was read; b begins with both.
func (h head) verify(b []byte) error {
	if int64(len(b)) < h.bodyAt() || crc32.Checksum(b[8:h.bodyAt()], castagnoli) != h.sum {
		return errCorrupt
	}
	return nil
}

// sumPiece is the checksum of a piece of the body.
func (h head) sumPiece(piece []byte) uint32 { return crc32.Update(h.sum, castagnoli, piece) }

// A summer makes the checksums of a body's pieces as it comes, in parts of any size.
type summer struct {
	head head
	sum  uint32
	have int // bytes of the piece so far
	sums []byte
}

func (s *summer) write(part []byte) {
	for len(part) > 0 {
		if s.have == 0 {
			s.sum = s.head.sum
		}
		n := min(len(part), pieceSize-s.have)
		s.sum = crc32.Update(s.sum, castagnoli, part[:n])
		if s.have += n; s.have == pieceSize {
			s.end()
		}
		part = part[n:]
	}
}

// end closes the last piece, where one is open.
func (s *summer) end() {
	if s.have > 0 {
		s.sums = binary.LittleEndian.AppendUint32(s.sums, s.sum)
		s.have = 0
	}
}

// verifyBody holds a whole body to its checksums.
func (h head) verifyBody(body, sums []byte) error {
	for len(body) > 0 {
		piece := body[:min(len(body), pieceSize)]
		if len(sums) < 4 || h.sumPiece(piece) != binary.LittleEndian.Uint32(sums) {
			return errCorrupt
		}
		body, sums = body[len(piece):], sums[4:]
	}
	return nil
}
