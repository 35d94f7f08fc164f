package geo_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
)

// mmdb writes MaxMind DB files (format 2.0) as a test wants them, wrong ones too.
type mmdb struct {
	kind    string // database_type
	six     bool   // an IPv6 tree: IPv4 stands in ::/96
	size    int    // bits of a record: 24, 28 or 32
	entries []mmdbEntry
	alias   []string // prefixes of which the subtree is that of IPv4, as publishers alias 2002::/16
	share   bool     // both branches of each node lead to the same next node: few nodes, 2^depth networks
}

type mmdbEntry struct {
	prefix netip.Prefix
	data   any
}

func (m *mmdb) add(prefix string, data any) {
	m.entries = append(m.entries, mmdbEntry{netip.MustParsePrefix(prefix), data})
}

// A branch of the tree while it is built: a node (> 0), nothing (0), or data (-1 - its index).
type branch = int

func (m *mmdb) bytes() []byte {
	nodes := [][2]branch{{}}
	var data [][]byte
	indexes := map[string]int{}
	walk := func(p netip.Prefix) (node, bit int, last bool) {
		addr, length := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			addr, length = [16]byte{}, length+96
			copy(addr[12:], p.Addr().AsSlice())
		}
		start := 0
		if !m.six {
			start = 96
		}
		for at := start; at < length; at++ {
			bit = int(addr[at/8]>>(7-at%8)) & 1
			if at == length-1 {
				return node, bit, true
			}
			switch next := nodes[node][bit]; {
			case next <= 0: // what a network had, its halves have
				nodes = append(nodes, [2]branch{next, next})
				nodes[node][bit] = len(nodes) - 1
				node = len(nodes) - 1
			default:
				node = next
			}
		}
		return node, 0, false
	}
	slices.SortStableFunc(m.entries, func(d, e mmdbEntry) int { return d.prefix.Bits() - e.prefix.Bits() })
	for _, e := range m.entries {
		encoded := encode(nil, e.data)
		i, ok := indexes[string(encoded)]
		if !ok {
			i = len(data)
			indexes[string(encoded)], data = i, append(data, encoded)
		}
		node, bit, last := walk(e.prefix)
		if !last { // all addresses there are
			nodes[0] = [2]branch{-1 - i, -1 - i}
			continue
		}
		nodes[node][bit] = -1 - i
	}
	if len(m.alias) > 0 {
		four, bit, _ := walk(netip.MustParsePrefix("::/96"))
		for _, a := range m.alias {
			node, b, _ := walk(netip.MustParsePrefix(a))
			nodes[node][b] = nodes[four][bit]
		}
	}
	if m.share {
		nodes = nil
		for i := range 32 {
			next := i + 1
			if next == 32 {
				next = -1
			}
			nodes = append(nodes, [2]branch{next, next})
		}
		nodes[31][1] = 0
	}
	return m.file(nodes, data)
}

func (m *mmdb) file(nodes [][2]branch, data [][]byte) []byte {
	offsets, section := make([]int, len(data)), []byte(nil)
	for i, d := range data {
		offsets[i] = len(section)
		section = append(section, d...)
	}
	record := func(b branch) uint64 {
		switch {
		case b > 0:
			return uint64(b)
		case b == 0:
			return uint64(len(nodes))
		}
		return uint64(len(nodes) + 16 + offsets[-1-b])
	}
	var out bytes.Buffer
	for _, n := range nodes {
		l, r := record(n[0]), record(n[1])
		var b [8]byte
		switch m.size {
		case 24:
			binary.BigEndian.PutUint64(b[:], l<<40|r<<16)
			out.Write(b[:6])
		case 28:
			binary.BigEndian.PutUint64(b[:], l<<40|(l>>24)<<36|(r>>24)<<32|r<<40>>32)
			out.Write(append(b[:3:3], byte(l>>24<<4|r>>24), byte(r>>16), byte(r>>8), byte(r)))
		default:
			binary.BigEndian.PutUint64(b[:], l<<32|r)
			out.Write(b[:])
		}
	}
	version := uint16(4)
	if m.six {
		version = 6
	}
	size := m.size
	if size == 0 {
		size = 32
	}
	out.Write(make([]byte, 16))
	out.Write(section)
	out.WriteString("\xAB\xCD\xEFMaxMind.com")
	out.Write(encode(nil, map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1782000000),
		"database_type": m.kind, "description": map[string]any{}, "ip_version": version, "languages": []any{},
		"node_count": uint32(len(nodes)), "record_size": uint16(size),
	}))
	return out.Bytes()
}

// encode appends v as a value of the data section.
func encode(b []byte, v any) []byte {
	number := func(kind, value uint64) []byte {
		digits := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, value), "\x00")
		return append(control(b, int(kind), len(digits)), digits...)
	}
	switch v := v.(type) {
	case string:
		return append(control(b, 2, len(v)), v...)
	case float64:
		return binary.BigEndian.AppendUint64(control(b, 3, 8), math.Float64bits(v))
	case uint16:
		return number(5, uint64(v))
	case uint32:
		return number(6, uint64(v))
	case int32:
		return binary.BigEndian.AppendUint32(control(b, 8, 4), uint32(v))
	case uint64:
		return number(9, v)
	case bool:
		if v {
			return control(b, 14, 1)
		}
		return control(b, 14, 0)
	case float32:
		return binary.BigEndian.AppendUint32(control(b, 15, 4), math.Float32bits(v))
	case []any:
		b = control(b, 11, len(v))
		for _, e := range v {
			b = encode(b, e)
		}
		return b
	case map[string]any:
		b = control(b, 7, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = encode(encode(b, k), v[k])
		}
		return b
	}
	panic(fmt.Sprintf("no encoding for %T", v))
}

// control is the byte or bytes before a value: its kind, and its size below 285.
func control(b []byte, kind, size int) []byte {
	first, rest := byte(min(size, 29)), []byte(nil)
	if size >= 29 {
		rest = []byte{byte(size - 29)}
	}
	if kind < 8 {
		return append(append(b, byte(kind)<<5|first), rest...)
	}
	return append(append(b, first, byte(kind-7)), rest...)
}
