package edge_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
)

// asked is a request as the origin saw it. Its content and trailer are complete once done.
type asked struct {
	method, target, host string
	header               http.Header

	mu      sync.Mutex
	body    []byte
	trailer http.Header
	done    bool
	broken  bool // the content ended with an error
}

// forget makes all requests so far ones that the script has looked at.
func (o *origin) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.claimed = len(o.asked)
}

// all are the requests so far.
func (o *origin) all() []*asked {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[:len(o.asked):len(o.asked)]
}

// fresh are the requests that the script has not looked at.
func (o *origin) fresh() []*asked {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[o.claimed:]
}

// String is the request as an error shows it.
func (a *asked) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s (host %s, %d bytes)\n", a.method, a.target, a.host, len(a.body))
	showHeader(&b, a.header)
	return b.String()
}

// check compares the request with what an origin-saw line says.
func (a *asked) check(s *step, vars *strings.Replacer) []error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	if method, path := s.arg(1), s.arg(2); a.method != method || a.target != path {
		errs = append(errs, mismatch("request", a.method+" "+a.target, method+" "+path))
	}
	seen := a.header.Clone()
	seen.Set("Host", a.host)
	errs = append(errs, checkFields(seen, fields(s.words), vars)...)
	if want, ok := option(s.words, "body"); ok && string(a.body) != want {
		errs = append(errs, mismatch("body", short(a.body), want))
	}
	if want, ok := option(s.words, "size"); ok && strconv.Itoa(len(a.body)) != want {
		errs = append(errs, mismatch("size", strconv.Itoa(len(a.body)), want))
	}
	if want, ok := option(s.words, "trailer"); ok {
		errs = append(errs, checkFields(a.trailer, tokens("'"+want+"'"), vars)...)
	}
	if broken := has(s.words, "broken"); broken != a.broken {
		errs = append(errs, fmt.Errorf("content broken off: got %v, want %v", a.broken, broken))
	}
	return errs
}

// canonical is textproto's, under a shorter name.
func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }
