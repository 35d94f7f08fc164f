package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MoveHub returns the text of a network file with the hub in another gateway, at these URLs; bind is where it listens, the zero value
// the default. All other lines, and their comments, stay as they are. The file must be one that Parse takes, with its hub at a key `hub:` at the
// beginning of a line; what it becomes is for Parse to judge.
func MoveHub(file []byte, hub Hub, gateway string, urls []string, bind netip.AddrPort) ([]byte, error) {
	lines := bytes.SplitAfter(file, []byte("\n"))
	first := -1
	for i, line := range lines {
		if bytes.HasPrefix(line, []byte("hub:")) {
			first = i
			break
		}
	}
	if first < 0 {
		return nil, errors.New("the network file has no line that begins with `hub:`")
	}
	last := first // what belongs to the key is indented, or closes a bracket
	for i := first + 1; i < len(lines); i++ {
		line := bytes.TrimRight(lines[i], "\r\n")
		if len(line) == 0 || line[0] == '#' {
			continue // which may stand before the next key
		}
		if !strings.ContainsRune(" \t}]-", rune(line[0])) {
			break
		}
		last = i
	}
	var b strings.Builder
	b.WriteString("hub: {urls: [")
	for i, u := range urls {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(u))
	}
	fmt.Fprintf(&b, "], embedded_in: %s", gateway)
	if bind.IsValid() {
		fmt.Fprintf(&b, ", bind: %q", bind)
	}
	if a := hub.API; a.Address.IsValid() {
		fmt.Fprintf(&b, ", api: {address: %q", a.Address)
		if a.Cert != "" {
			fmt.Fprintf(&b, ", cert: %q, key: %q", a.Cert, a.Key)
		}
		b.WriteString("}")
	}
	b.WriteString("}\n")
	var out bytes.Buffer
	for _, line := range lines[:first] {
		out.Write(line)
	}
	out.WriteString(b.String())
	for _, line := range lines[last+1:] {
		out.Write(line)
	}
	return out.Bytes(), nil
}
