package geo

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
)

// A table is, as bytes:
//
//	the line "hither geo table 1", the lines of the notes, an empty line
//	deflated (RFC 1951):
//	    number of countries, and of each: 2 bytes code, latitude, longitude (int32, 1/10000 degree), weight (float64)
//	    the runs of IPv4, then the runs of IPv6:
//	        their number n; the first starts at address 0
//	        n-1 bytes:   trailing zero bits of the distance from each start to the next
//	        n-1 numbers: the same distance without them
//	        n numbers:   1 + the index of the run's country, 0 for none
//	CRC-32 (IEEE) of all before it
//
// Numbers are unsigned varints, fixed ones big endian. Distances are apart from values because like compresses with like.
const magic = "hither geo table 1\n"

// maxBody bounds what a damaged table can inflate to: several times the table of all countries.
const maxBody = 16 << 20

// unit is what a degree counts in a table: 1/10000 is 11 m.
const unit = 1e4

var errTable = errors.New("geo: damaged table")

func rounded(p Point) Point {
	return Point{Lat: math.Round(p.Lat*unit) / unit, Lon: math.Round(p.Lon*unit) / unit}
}

// Encode writes the table. Equal tables give equal bytes.
func (a *Atlas) Encode() []byte {
	body := binary.AppendUvarint(nil, uint64(len(a.countries)))
	for _, c := range a.countries {
		body = append(body, c.Code...)
		body = binary.BigEndian.AppendUint32(body, uint32(int32(math.Round(c.Point.Lat*unit))))
		body = binary.BigEndian.AppendUint32(body, uint32(int32(math.Round(c.Point.Lon*unit))))
		body = binary.BigEndian.AppendUint64(body, math.Float64bits(c.Weight))
	}
	four := spans6{value: a.four.value}
	for _, f := range a.four.from {
		four.from = append(four.from, wide{lo: uint64(f)})
	}
	body = appendSpans(body, &four)
	body = appendSpans(body, &a.six)

	var out bytes.Buffer
	out.WriteString(magic)
	if a.notes != "" {
		out.WriteString(a.notes + "\n")
	}
	out.WriteString("\n")
	w, _ := flate.NewWriter(&out, flate.BestCompression) // the level is valid, and a Buffer takes all
	_, _ = w.Write(body)
	_ = w.Close()
	return binary.BigEndian.AppendUint32(out.Bytes(), crc32.ChecksumIEEE(out.Bytes()))
}

func appendSpans(b []byte, s *spans6) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.from)))
	var odd []byte
	for i := 1; i < len(s.from); i++ {
		d := s.from[i].minus(s.from[i-1])
		zeros := d.trailing()
		b = append(b, byte(zeros))
		for d = d.shifted(zeros); d.hi > 0 || d.lo >= 0x80; d = d.shifted(7) {
			odd = append(odd, byte(d.lo)|0x80)
		}
		odd = append(odd, byte(d.lo))
	}
	b = append(b, odd...)
	for _, v := range s.value {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b
}

// DecodeAtlas reads what Encode wrote. It does not keep data. Of anything else it says that it is damaged; it never uses
// more memory than some ten times maxBody.
func DecodeAtlas(data []byte) (*Atlas, error) {
	if len(data) < len(magic)+5 || string(data[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it does not begin with %q", errTable, strings.TrimSpace(magic))
	}
	sum := len(data) - 4
	if crc32.ChecksumIEEE(data[:sum]) != binary.BigEndian.Uint32(data[sum:]) {
		return nil, fmt.Errorf("%w: checksum", errTable)
	}
	// The magic's own end of line counts, so that empty notes end with it.
	end := bytes.Index(data[len(magic)-1:sum], []byte("\n\n"))
	if end < 0 {
		return nil, fmt.Errorf("%w: the header has no end", errTable)
	}
	end += len(magic) - 1
	body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data[end+2:sum])), maxBody))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTable, err)
	}
	a := &Atlas{}
	if end >= len(magic) {
		a.notes = string(data[len(magic):end])
	}
	d := decoder{rest: body}
	for range d.count(18) {
		a.countries = append(a.countries, d.country())
	}
	four, six := d.spans(len(a.countries)), d.spans(len(a.countries))
	fits := len(four.from) == 0 || four.from[len(four.from)-1].less(wide{lo: 1 << 32})
	if d.bad || len(d.rest) > 0 || !fits {
		return nil, fmt.Errorf("%w: its numbers do not fit", errTable)
	}
	if err := a.finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", errTable, err)
	}
	a.four.value, a.six = four.value, six
	a.four.from = make([]uint32, len(four.from))
	for i, f := range four.from {
		a.four.from[i] = uint32(f.lo)
	}
	a.four.index()
	return a, nil
}

// decoder takes numbers off the front of rest. After the first that does not fit it is bad and gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.rest) {
		d.bad = true
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count is a number of things of at least size bytes each, so it is bounded by what is there.
func (d *decoder) count(size int) int {
	if n := d.number(); n <= uint64(len(d.rest)/size) {
		return int(n)
	}
	d.bad = true
	return 0
}

func (d *decoder) country() Country {
	b := d.take(18)
	return Country{
		Code:   string(b[:2]),
		Point:  Point{Lat: float64(int32(binary.BigEndian.Uint32(b[2:]))) / unit, Lon: float64(int32(binary.BigEndian.Uint32(b[6:]))) / unit},
		Weight: math.Float64frombits(binary.BigEndian.Uint64(b[10:])),
	}
}

func (d *decoder) spans(countries int) spans6 {
	n := d.number()
	if n == 0 || n > uint64(len(d.rest)/3+1) { // a run takes three bytes, the first only one
		d.bad = d.bad || n != 0
		return spans6{}
	}
	s := spans6{from: make([]wide, n), value: make([]uint32, n)}
	zeros := d.take(int(n) - 1)
	for i := 1; i < int(n); i++ {
		step, ok := d.odd().lifted(int(zeros[i-1]))
		s.from[i] = s.from[i-1].plus(step)
		if !ok || !s.from[i-1].less(s.from[i]) {
			d.bad = true
		}
	}
	for i := range s.value {
		v := d.number()
		if v > uint64(countries) || i > 0 && uint32(v) == s.value[i-1] {
			d.bad = true
		}
		s.value[i] = uint32(v)
	}
	return s
}

// odd is a varint of up to 128 bits.
func (d *decoder) odd() wide {
	var w wide
	for shift := 0; ; shift += 7 {
		b := d.take(1)[0]
		part, ok := wide{lo: uint64(b & 0x7f)}.lifted(shift)
		if !ok {
			d.bad = true
		}
		w.hi, w.lo = w.hi|part.hi, w.lo|part.lo
		if b < 0x80 || d.bad {
			return w
		}
	}
}
