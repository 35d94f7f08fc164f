package cache

import (
	"cmp"
	"slices"
	"strings"
)

// mostPreferences bounds the members of a list that is put into order; longer ones stay as they are.
const mostPreferences = 32

// A preference is a member of Accept-Encoding or Accept-Language: a coding or language range in lower case, and its
// weight in thousandths.
type preference struct {
	name   string
	weight int
}

// EachPreference yields the members of Accept-Encoding or Accept-Language lines as variants are chosen by them: names in
// lower case, the most wanted first, with their weights in thousandths; a name may come more than once. ok is false, and
// nothing is yielded, where a line is not as the RFC has it or there are more members than mostPreferences.
func EachPreference(lines []string, yield func(name string, weight int)) (ok bool) {
	var room [mostPreferences]preference
	list, ok := parsePreferences(lines, &room)
	for _, p := range list {
		yield(p.name, p.weight)
	}
	return ok
}

// appendPreferences appends the lists of Accept-Encoding or Accept-Language lines so that those of one meaning are one
// string: see parsePreferences. Weights are without what does not count (RFC 9110 section 12.4.2). ok is false where a line
// is not as the RFC has it, and b is as it was.
func appendPreferences(b []byte, lines []string) (canonical []byte, ok bool) {
	var room [mostPreferences]preference
	list, ok := parsePreferences(lines, &room)
	if !ok {
		return b, false
	}
	for i, p := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, p.name...)
		if p.weight != 1000 {
			b = append(b, ';', byte('0'+p.weight/100), byte('0'+p.weight/10%10), byte('0'+p.weight%10))
		}
	}
	return b, true
}

// parsePreferences reads the lists of Accept-Encoding or Accept-Language lines into room: names in lower case (RFC 9110
// sections 8.4.1 and 12.5.4), the most wanted first and equals by name, each once. The order of members says nothing: only
// weights do. ok is false where a line is not as the RFC has it, or there are too many members.
func parsePreferences(lines []string, room *[mostPreferences]preference) (list []preference, ok bool) {
	n := 0
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = trim(member); member == "" {
				continue
			}
			p, ok := parsePreference(member)
			if !ok || n == len(room) {
				return nil, false
			}
			room[n] = p
			n++
		}
	}
	list = room[:n]
	slices.SortFunc(list, func(a, b preference) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.name, b.name))
	})
	return slices.Compact(list), true
}

// parsePreference reads `name [;q=weight]`.
func parsePreference(member string) (p preference, ok bool) {
	name, rest, weighted := strings.Cut(member, ";")
	if name = trim(name); name == "" {
		return p, false
	}
	for i := range len(name) {
		switch c := name[i] | 0x20; {
		case 'a' <= c && c <= 'z', '0' <= name[i] && name[i] <= '9', name[i] == '-', name[i] == '*', name[i] == '_', name[i] == '.':
		default:
			return p, false
		}
	}
	p = preference{strings.ToLower(name), 1000}
	if !weighted {
		return p, true
	}
	key, value, found := strings.Cut(trim(rest), "=")
	if !found || key != "q" && key != "Q" {
		return p, false
	}
	p.weight, ok = parseWeight(value)
	return p, ok
}

// parseWeight reads a qvalue (RFC 9110 section 12.4.2): 0 or 1 with at most three decimals.
func parseWeight(s string) (thousandths int, ok bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 {
		return 0, false
	}
	n := int(whole[0] - '0')
	for i := range 3 {
		n *= 10
		if i < len(decimals) {
			if decimals[i] < '0' || decimals[i] > '9' {
				return 0, false
			}
			n += int(decimals[i] - '0')
		}
	}
	return n, n <= 1000
}
