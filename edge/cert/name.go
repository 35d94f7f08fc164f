package cert

import (
	"fmt"
	"strings"
)

// Canonical returns the form in which names are compared: lower case, no trailing dot.
func Canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// CheckName reports why name cannot be a host name or a one-label wildcard: longer than 253
// octets, a label of none or more than 63 (RFC 1035 section 2.3.4), or other signs than letters,
// digits, hyphen and underscore. Names beyond ASCII come as A-labels (RFC 5890).
func CheckName(name string) error {
	rest := strings.TrimPrefix(Canonical(name), "*.")
	if len(rest) == 0 || len(rest) > 253 {
		return fmt.Errorf("cert: name %.40q: %d octets: 1 to 253 are possible", name, len(rest))
	}
	for label := range strings.SplitSeq(rest, ".") {
		if len(label) == 0 || len(label) > 63 {
			return fmt.Errorf("cert: name %.40q: a label of %d octets: 1 to 63 are possible", name, len(label))
		}
		for i := range len(label) {
			if c := label[i]; !plain(c) {
				return fmt.Errorf("cert: name %.40q: %q is no letter of a host name", name, c)
			}
		}
	}
	return nil
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// FolderName returns the name of the folder which holds a name's pair: canonical, with all but host
// name letters and inner dots percent-encoded, so that no name leaves its parent folder or hides there and
// names that differ in case share one.
func FolderName(name string) string {
	name = Canonical(name)
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) || c == '.' && i > 0 && name[i-1] != '.' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
