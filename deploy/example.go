package deploy

import (
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed network.yaml
var example string

//go:embed network.schema.json
var schema string

// Example returns the annotated example of a network file, which is the network that
// `hither up` runs.
func Example() []byte { return []byte(example) }

// Schema returns the JSON Schema (draft 2020-12) of network files. It is made from
// the structs of this package and their comments.
func Schema() []byte { return []byte(schema) }

// LocalOptions are what a local network may have of its own.
type LocalOptions struct {
	// Net is the first half of all addresses, "127.N"; "" is 127.0. Networks with
	// different halves run side by side on one machine.
	Net string

	// Site is the absolute path of a folder to serve; "" is the built-in site.
	Site string

	// Origin is the URL of an HTTP server to stand in front of; "" is none. Not
	// together with Site.
	Origin string
}

// localAddress finds the example's addresses. A prefix of them is not an address: a
// loopback client has a source in 127.0.0.0/8, whichever half the network uses.
var localAddress = regexp.MustCompile(`\b127\.0\.(\d+\.\d+)\b(/\d+)?`)

// localApp is what the example's origin serves, and localInstances the beginning of a comment
// beside it that shows servers in its place.
const localApp = `static: {folder: "", cache_control: "public, max-age=60"}`

var localInstances = regexp.MustCompile(`# instances: \[\{url: "[^"]*"`)

// Local returns the example, with its comments, changed to the options.
func Local(o LocalOptions) ([]byte, error) {
	text := example
	if o.Net != "" {
		second, rest := leadingDigits(strings.TrimPrefix(o.Net, "127."))
		n, err := strconv.Atoi(second)
		if !strings.HasPrefix(o.Net, "127.") || rest != "" || err != nil || n > 255 || strconv.Itoa(n) != second {
			return nil, fmt.Errorf("deploy: net %s: write 127.N with N from 0 to 255; only those addresses are this machine's own without setting them up", quote(o.Net))
		}
		text = localAddress.ReplaceAllStringFunc(text, func(s string) string {
			if strings.Contains(s, "/") {
				return s
			}
			return o.Net + strings.TrimPrefix(s, "127.0")
		})
	}
	switch {
	case o.Site != "" && o.Origin != "":
		return nil, errors.New("deploy: a site folder and an origin URL exclude one another; give one of them")
	case o.Site != "":
		if !filepath.IsAbs(o.Site) || !utf8.ValidString(o.Site) {
			return nil, fmt.Errorf("deploy: site folder %s: want an absolute path in UTF-8", quote(o.Site))
		}
		text = strings.Replace(text, localApp, strings.Replace(localApp, `""`, strconv.Quote(o.Site), 1), 1)
	case o.Origin != "":
		if err := checkAppURL(o.Origin); err != nil {
			return nil, fmt.Errorf("deploy: origin: %w", err)
		}
		text = strings.Replace(text, localApp, "# "+localApp, 1)
		line := localInstances.FindString(text)
		text = strings.Replace(text, line, "instances: [{url: "+strconv.Quote(o.Origin), 1)
	}
	return []byte(text), nil
}
