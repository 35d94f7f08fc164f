package edge_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"hither/edge/accesslog"
)

// mismatch is one expectation that did not hold.
func mismatch(what, got, want string) error {
	return fmt.Errorf("%s:\n\t\tgot  %s\n\t\twant %s", what, got, want)
}

// checkFields compares expected fields with a field section. Lines of one name count as
// one value, joined with ", "; "-" expects absence; "*" stands for any run of characters.
func checkFields(h http.Header, want []token, vars *strings.Replacer) []error {
	var errs []error
	for _, f := range want {
		values, present := h[canonical(f.name)]
		got, value := strings.Join(values, ", "), vars.Replace(f.value)
		switch {
		case value == "-":
			if present && len(values) > 0 {
				errs = append(errs, mismatch(f.name, got, "(absent)"))
			}
		case len(values) == 0:
			errs = append(errs, mismatch(f.name, "(absent)", value))
		case !glob(value, got):
			errs = append(errs, mismatch(f.name, got, value))
		}
	}
	return errs
}

// glob matches "*" in want with any run of characters.
func glob(want, got string) bool {
	first, rest, star := strings.Cut(want, "*")
	if !star {
		return want == got
	}
	got, ok := strings.CutPrefix(got, first)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(got, part)
		}
		i := strings.Index(got, part)
		if i < 0 {
			return false
		}
		got, rest = got[i+len(part):], after
	}
}

// check compares an answer with what follows the arrow: a status, several as 502|504, or
// "broken" where no whole response may come, with the status if one must have come before
// it broke off, or "broken?" where both are right; then body= size= from= interim= trailer= sent= and fields.
func (a *answer) check(want []token, vars *strings.Replacer) error {
	var errs []error
	either := has(want, "broken?")
	broken := has(want, "broken") || either && a.err != nil
	status := ""
	if len(want) > 0 && !want[0].isField() && want[0].text != "broken" {
		status = want[0].text
	}
	if broken != (a.err != nil) {
		errs = append(errs, mismatch("broken off", fmt.Sprint(a.err), fmt.Sprint(broken)))
	}
	if got := strconv.Itoa(a.status); status != got && !(broken && (status == "" || either)) {
		if statuses := strings.Split(status, "|"); !slices.Contains(statuses, got) {
			errs = append(errs, mismatch("status", got, status))
		}
	}
	errs = append(errs, a.checkContent(want)...)
	errs = append(errs, checkFields(a.header, fields(want), vars)...)
	errs = append(errs, a.checkInterims(want, vars)...)
	if t, ok := option(want, "trailer"); ok {
		errs = append(errs, prefixed("trailer ", checkFields(a.trailer, tokens("'"+t+"'"), vars))...)
	}
	if n, ok := option(want, "sent"); ok && strconv.Itoa(a.sent) != n {
		errs = append(errs, mismatch("content sent", strconv.Itoa(a.sent), n))
	}
	if n, ok := option(want, "most"); ok {
		if most, err := strconv.Atoi(n); err != nil || a.sent > most {
			errs = append(errs, mismatch("content sent", strconv.Itoa(a.sent), "at most "+n))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errors.Join(append(errs, errors.New("the answer:\n"+a.String()))...)
}

// checkContent compares the content: body=text, body=sha256:HEX, or size=N of the pattern
// (from=M: beginning at its M-th byte); with coded=br, of what a client decodes.
func (a *answer) checkContent(want []token) []error {
	var errs []error
	content := a.body
	if coding, ok := option(want, "coded"); ok {
		var err error
		if content, err = a.decode(coding); err != nil {
			return append(errs, err)
		}
	}
	if body, ok := option(want, "body"); ok {
		got := string(content)
		if strings.HasPrefix(body, "sha256:") {
			sum := sha256.Sum256(content)
			got = "sha256:" + hex.EncodeToString(sum[:])
		}
		if got != body {
			errs = append(errs, mismatch("body", short([]byte(got)), body))
		}
	}
	if size, ok := option(want, "size"); ok {
		n, _ := strconv.Atoi(size)
		from, _ := option(want, "from")
		at, _ := strconv.Atoi(from)
		if len(content) != n {
			errs = append(errs, mismatch("size", strconv.Itoa(len(content)), size))
		} else if !bytes.Equal(content, patternAt(int64(at), n)) {
			errs = append(errs, errors.New("body: its bytes are not the pattern's"))
		}
	}
	if list, ok := option(want, "parts"); ok {
		errs = append(errs, a.checkParts(strings.Fields(list))...)
	}
	return errs
}

// checkInterims compares interim responses: interim=103, or interim='103 Name: value'; and
// interim=none.
func (a *answer) checkInterims(want []token, vars *strings.Replacer) []error {
	var errs []error
	for _, w := range want {
		text, ok := strings.CutPrefix(w.text, "interim=")
		if !ok || w.isField() {
			continue
		}
		if text == "none" {
			if len(a.interims) > 0 {
				errs = append(errs, mismatch("interim responses", fmt.Sprint(a.interims), "none"))
			}
			continue
		}
		status, field, _ := strings.Cut(text, " ")
		found := false
		for _, in := range a.interims {
			if strconv.Itoa(in.status) == status {
				found = found || field == "" || len(checkFields(in.header, tokens("'"+field+"'"), vars)) == 0
			}
		}
		if !found {
			errs = append(errs, mismatch("interim responses", fmt.Sprint(a.interims), text))
		}
	}
	return errs
}

func prefixed(p string, errs []error) []error {
	for i, err := range errs {
		errs[i] = fmt.Errorf("%s%w", p, err)
	}
	return errs
}

// String shows an answer in an error.
func (a *answer) String() string {
	var b bytes.Buffer
	for _, in := range a.interims {
		fmt.Fprintf(&b, "\t\tinterim %d\n", in.status)
	}
	fmt.Fprintf(&b, "\t\t%d\n", a.status)
	showHeader(&b, a.header)
	fmt.Fprintf(&b, "\t\t%d bytes: %s\n", len(a.body), short(a.body))
	showHeader(&b, a.trailer)
	if a.err != nil {
		fmt.Fprintf(&b, "\t\tbroken off: %v\n", a.err)
	}
	return b.String()
}

func showHeader(w io.Writer, h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			fmt.Fprintf(w, "\t\t%s: %s\n", name, short([]byte(v)))
		}
	}
}

func short(b []byte) string {
	if len(b) > 200 {
		return fmt.Sprintf("%q... (%d bytes)", b[:200], len(b))
	}
	return string(b)
}

// checkRecord compares a log record with key=value words; "*" as in fields.
func checkRecord(r record, want []token, vars *strings.Replacer) []error {
	var errs []error
	for _, w := range want {
		key, value, ok := strings.Cut(w.text, "=")
		if !ok {
			errs = append(errs, fmt.Errorf("expect-log: %q is not key=value", w.text))
			continue
		}
		if !isColumn(key) {
			errs = append(errs, fmt.Errorf("log %s: there is no such member", key))
			continue
		}
		if value = vars.Replace(value); !glob(value, r[key]) {
			errs = append(errs, mismatch("log "+key, r[key], value))
		}
	}
	return errs
}

// isColumn reports whether a line of the access log may have a member of that name.
func isColumn(name string) bool {
	line := reflect.TypeFor[accesslog.Line]()
	for i := range line.NumField() {
		if tag, _, _ := strings.Cut(line.Field(i).Tag.Get("json"), ","); tag == name {
			return true
		}
	}
	return false
}
