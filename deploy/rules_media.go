package deploy

import (
	"fmt"
	"regexp"
)

// mediaForm is a media type without parameters (RFC 6838 section 4.2), all of a kind, or all with a suffix.
var mediaForm = regexp.MustCompile(`^([a-z0-9][a-z0-9!#$&^_.-]{0,126}/([a-z0-9][a-z0-9!#$&^_.+-]{0,126}|\*)|\*\+[a-z0-9][a-z0-9_.-]{0,62})$`)

// checkMedia holds a pattern of media types to one of its three forms.
func checkMedia(s string) error {
	if !mediaForm.MatchString(s) {
		return fmt.Errorf("%s is no media type in small letters; write one such as text/css, text/* for all of a kind, or *+json for all with a suffix", quote(s))
	}
	return nil
}
