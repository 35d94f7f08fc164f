package deploy

import (
	"fmt"
	"regexp"
)

// cdnForm is what a cdn-id may be: a host name, perhaps with a port, or a token (RFC 8586 section 2) of letters that no list
// or parameter uses.
var cdnForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?(:[0-9]{1,5})?$`)

// checkCDN holds the network's name in CDN-Loop to what every parser takes for one name.
func checkCDN(s string) error {
	if !cdnForm.MatchString(s) {
		return fmt.Errorf("%s cannot stand in CDN-Loop; write a host name of yours, or a word of letters, digits, - and _", quote(s))
	}
	return nil
}
