package server

import (
	"bytes"
	"encoding/binary"
	"math"

	"hither/dns/geo"
)

// database is a MaxMind DB file that knows two places: of 0.0.0.0/1 and of 128.0.0.0/1.
func database(low, high geo.Point) []byte {
	first := place(low)
	const nodes, separator = 1, 16
	record := func(offset int) []byte {
		return binary.BigEndian.AppendUint32(nil, uint32(nodes+separator+offset))[1:]
	}
	meta := mmdbMap(
		"binary_format_major_version", mmdbUint(5, 2), "binary_format_minor_version", mmdbUint(5, 0), "build_epoch", mmdbUint(9, 1),
		"database_type", mmdbText("Test-City"), "description", mmdbMap("en", mmdbText("two halves")), "ip_version", mmdbUint(5, 4),
		"languages", mmdbArray(), "node_count", mmdbUint(6, nodes), "record_size", mmdbUint(5, 24),
	)
	return bytes.Join([][]byte{record(0), record(len(first)), make([]byte, separator), first, place(high), []byte("\xab\xcd\xefMaxMind.com"), meta}, nil)
}

func place(p geo.Point) []byte {
	return mmdbMap("location", mmdbMap("latitude", mmdbDouble(p.Lat), "longitude", mmdbDouble(p.Lon)))
}

// The types of the data section, by the format's specification: a control byte has the type in its first three bits, an extended one
// stands in the next byte, less seven.

func mmdbText(s string) []byte {
	if len(s) >= 29 {
		panic("a longer text takes another form of length")
	}
	return append([]byte{2<<5 | byte(len(s))}, s...)
}

func mmdbDouble(f float64) []byte {
	return binary.BigEndian.AppendUint64([]byte{3<<5 | 8}, math.Float64bits(f))
}

func mmdbUint(kind byte, v uint8) []byte {
	if kind > 7 {
		return []byte{1, kind - 7, v}
	}
	return []byte{kind<<5 | 1, v}
}

func mmdbArray() []byte { return []byte{0, 11 - 7} }

func mmdbMap(pairs ...any) []byte {
	b := []byte{7<<5 | byte(len(pairs)/2)}
	for i, p := range pairs {
		if i%2 == 0 {
			b = append(b, mmdbText(p.(string))...)
		} else {
			b = append(b, p.([]byte)...)
		}
	}
	return b
}
