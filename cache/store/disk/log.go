package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"hither/cache"
)

// A log is a list of entries: length, checksum, and then what kind it is of and what that kind has.
type kind byte

const (
	putEntry   kind = 'p' // an object was written to this segment
	voidEntry  kind = 'v' // what lies under a hash, in whichever segment, is not to be used any more
	softEntry  kind = 's' // what lies under a hash is stale since
	doubtEntry kind = 'd' // all that lies in earlier segments is stale since
	sealEntry  kind = 'e' // nothing follows
)

// mostEntry bounds an entry: a key is the longest part of one, and the tags of an object the next.
const mostEntry = 1 << 20

// A logEntry is one of any kind; which fields it has depends on that.
type logEntry struct {
	kind   kind
	hash   uint64
	off    uint32
	size   uint32
	object cache.Kind
	tags   []byte // 4 bytes each
	target uint32
	site   []byte
	path   []byte
	at     int64
}

// sealed fills in length and checksum of the entry that begins at from.
func sealed(b []byte, from int) []byte {
	text := b[from+8:]
	binary.LittleEndian.PutUint32(b[from:], uint32(len(text)))
	binary.LittleEndian.PutUint32(b[from+4:], crc32.Checksum(text, castagnoli))
	return b
}

func beginEntry(b []byte, k kind) []byte { return append(b, 0, 0, 0, 0, 0, 0, 0, 0, byte(k)) }

func appendPut(b []byte, hash uint64, e entry, tags []uint32, k cache.Key) []byte {
	from := len(b)
	b = beginEntry(b, putEntry)
	b = binary.LittleEndian.AppendUint64(b, hash)
	b = binary.LittleEndian.AppendUint32(b, e.off)
	b = binary.LittleEndian.AppendUint32(b, e.size)
	b = binary.LittleEndian.AppendUint32(b, e.target)
	b = append(b, byte(e.kind))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(tags)))
	for _, t := range tags {
		b = binary.LittleEndian.AppendUint32(b, t)
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(min(len(k.Site), 1<<16-1)))
	b = append(b, k.Site[:min(len(k.Site), 1<<16-1)]...)
	b = append(b, k.Path...)
	return sealed(b, from)
}

func appendVoid(b []byte, hash uint64) []byte {
	from := len(b)
	return sealed(binary.LittleEndian.AppendUint64(beginEntry(b, voidEntry), hash), from)
}

func appendSoft(b []byte, hash uint64, at int64) []byte {
	from := len(b)
	b = binary.LittleEndian.AppendUint64(beginEntry(b, softEntry), hash)
	return sealed(binary.LittleEndian.AppendUint64(b, uint64(at)), from)
}

func appendDoubt(b []byte, at int64) []byte {
	from := len(b)
	return sealed(binary.LittleEndian.AppendUint64(beginEntry(b, doubtEntry), uint64(at)), from)
}

func appendSeal(b []byte) []byte { return sealed(beginEntry(b, sealEntry), len(b)) }

// How a log ends.
var (
	// errTorn: inside an entry, or without a seal. So ends that of a process that was killed, and what is missing was
	// not acknowledged.
	errTorn = errors.New("disk: a log has no end")
	// errLog: an entry is not as it was written, or something follows the seal.
	errLog = errors.New("disk: a log is damaged")
)

// scan yields the entries of a log until yield returns false; what an entry refers to is valid until yield returns. It
// returns nil where the log is sealed, errTorn, errLog, or the reader's error; good is where the last good entry ends.
func scan(r io.Reader, number uint64, yield func(*logEntry) bool) (good int64, err error) {
	in := bufio.NewReaderSize(r, 256<<10)
	var begin [headerSize]byte
	if err := fill(in, begin[:]); err != nil {
		return 0, err
	}
	if string(begin[:]) != string(header(logMagic, number)) {
		return 0, errLog
	}
	good = headerSize
	var text []byte
	var e logEntry
	for {
		var front [8]byte
		if err := fill(in, front[:]); err != nil {
			return good, err
		}
		n := binary.LittleEndian.Uint32(front[:])
		if n == 0 || n > mostEntry {
			return good, errLog
		}
		if uint32(cap(text)) < n {
			text = make([]byte, max(n, 1024))
		}
		text = text[:n]
		if err := fill(in, text); err != nil {
			return good, err
		}
		if crc32.Checksum(text, castagnoli) != binary.LittleEndian.Uint32(front[4:]) || !e.parse(text) {
			return good, errLog
		}
		good += int64(len(front)) + int64(n)
		if e.kind == sealEntry {
			if _, err := in.ReadByte(); err == nil {
				return good, errLog
			}
			return good, nil
		}
		if !yield(&e) {
			return good, nil
		}
	}
}

// fill is io.ReadFull for which every early end is a torn one.
func fill(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errTorn
	}
	return err
}

// parse reads an entry whose checksum was right.
func (e *logEntry) parse(text []byte) bool {
	*e = logEntry{kind: kind(text[0])}
	text = text[1:]
	switch e.kind {
	case sealEntry:
		return len(text) == 0
	case doubtEntry:
		if len(text) != 8 {
			return false
		}
		e.at = int64(binary.LittleEndian.Uint64(text))
		return true
	}
	if len(text) < 8 {
		return false
	}
	e.hash = binary.LittleEndian.Uint64(text)
	text = text[8:]
	switch e.kind {
	case voidEntry:
		return len(text) == 0
	case softEntry:
		if len(text) != 8 {
			return false
		}
		e.at = int64(binary.LittleEndian.Uint64(text))
		return true
	case putEntry:
		return e.parsePut(text)
	}
	return false
}

func (e *logEntry) parsePut(text []byte) bool {
	const fixed = 4 + 4 + 4 + 1 + 2
	if len(text) < fixed {
		return false
	}
	e.off = binary.LittleEndian.Uint32(text)
	e.size = binary.LittleEndian.Uint32(text[4:])
	e.target = binary.LittleEndian.Uint32(text[8:])
	e.object = cache.Kind(text[12])
	n := 4 * int(binary.LittleEndian.Uint16(text[13:]))
	if text = text[fixed:]; len(text) < n+2 {
		return false
	}
	e.tags, text = text[:n], text[n:]
	n = int(binary.LittleEndian.Uint16(text))
	if text = text[2:]; len(text) < n {
		return false
	}
	e.site, e.path = text[:n], text[n:]
	return true
}
