package deploy

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rules holds a value that was given to the rules in its struct tags: `jsonschema`,
// which the JSON Schema says too, and `check`, for what it cannot say or says as a
// pattern.
func (l *loader) rules(path string, tag reflect.StructTag, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() == reflect.Slice {
		if hasRule(tag, "minItems=1") && v.Len() == 0 {
			l.wrong(path, "is empty; it needs at least one")
		}
		for i := range v.Len() {
			if here := fmt.Sprintf("%s[%d]", path, i); !l.bad[here] {
				l.bounds(here, tag, v.Index(i))
				l.checks(here, tag, v.Index(i))
			}
		}
		return
	}
	l.bounds(path, tag, v)
	l.checks(path, tag, v)
}

// bounds applies enum, minimum and maximum.
func (l *loader) bounds(path string, tag reflect.StructTag, v reflect.Value) {
	low, hasLow := ruleValue(tag, "minimum")
	high, hasHigh := ruleValue(tag, "maximum")
	var below, above bool
	switch v.Kind() {
	case reflect.Int, reflect.Int64: // sizes are int64
		x := float64(v.Int())
		below, above = hasLow && x < low, hasHigh && x > high
	case reflect.Float64:
		x := v.Float()
		// Written so that a NaN, of which nothing is true, is out of bounds.
		below, above = hasLow && !(x >= low), hasHigh && !(x <= high)
	case reflect.String:
		if allowed := enum(tag); len(allowed) > 0 && !slices.Contains(allowed, v.String()) {
			l.wrong(path, "%s is not known; write one of %s", quote(v.String()), strings.Join(allowed, ", "))
		}
		return
	default:
		return
	}
	switch {
	case (below || above) && hasLow && hasHigh:
		l.wrong(path, "%v is out of range; it goes from %s to %s", v.Interface(), number(low), number(high))
	case below:
		least := number(low)
		if _, ok := v.Interface().(Size); ok {
			least = Size(low).String()
		}
		l.wrong(path, "%v is too low; the lowest is %s", v.Interface(), least)
	}
}

// checks applies the `check` tag to one value.
func (l *loader) checks(path string, tag reflect.StructTag, v reflect.Value) {
	list := tag.Get("check")
	if list == "" {
		return
	}
	for check := range strings.SplitSeq(list, ",") {
		var err error
		switch check {
		case "name":
			err = checkName(v.String())
		case "domain":
			err = checkDomain(v.String())
		case "host":
			err = checkHost(v.String())
		case "path":
			if s := v.String(); s != "" && !filepath.IsAbs(s) {
				err = fmt.Errorf("%s is not an absolute path; nodes are started in folders of their own, so it must begin with /", quote(s))
			}
		case "cdn":
			err = checkCDN(v.String())
		case "coding":
			if s := v.String(); s != "br" && s != "zstd" && s != "gzip" {
				err = fmt.Errorf("%s is no coding that an edge makes; write br, zstd or gzip", quote(s))
			}
		case "media":
			err = checkMedia(v.String())
		case "positive":
			if v.Int() <= 0 {
				err = fmt.Errorf("must be more than %v; nothing here may last or grow without end", v.Interface())
			}
		case "seconds":
			if time.Duration(v.Int())%time.Second != 0 {
				err = fmt.Errorf("%v is not a whole number of seconds", v.Interface())
			}
		default:
			panic("deploy: unknown check " + check)
		}
		if err != nil {
			l.wrong(path, "%v", err)
		}
	}
}

// maxName is the longest name: a label of a domain name (RFC 1035 section 2.3.4),
// because names of nodes become labels.
const maxName = 63

// letters of names.
const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"

// checkName holds names of networks, PoPs, origins, sites and servers to what is safe
// in a domain name, a file name, a metric label and a subject of the bus.
func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is empty; write 1 to %d of a-z, 0-9 and -", maxName)
	case len(s) > maxName:
		return fmt.Errorf("%s is longer than %d characters", quote(s), maxName)
	case strings.Trim(s, letters) != "" || s[0] == '-' || s[len(s)-1] == '-':
		return fmt.Errorf("%s is not a name; write a-z, 0-9 and -, and no - at either end", quote(s))
	}
	return nil
}

// checkHost is checkDomain that also takes `*.` in front.
func checkHost(s string) error {
	rest := strings.TrimPrefix(s, "*.")
	if strings.Contains(rest, "*") {
		return fmt.Errorf("%s: a * can only stand for the whole first label, as in *.example.org", quote(s))
	}
	return checkDomain(rest)
}

// checkDomain holds a domain name to letters, digits and hyphens (RFC 1123 section
// 2.1) and the lengths of RFC 1035 section 2.3.4.
func checkDomain(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is empty; write a domain name such as www.example.org")
	case strings.HasSuffix(s, "."):
		return fmt.Errorf("%s ends in a dot; leave it out", quote(s))
	case strings.Contains(s, "@"):
		return fmt.Errorf("%s has an @; write a dot for it", quote(s))
	case len(s) > 253:
		return fmt.Errorf("%s is longer than 253 characters", quote(s))
	case strings.ToLower(s) != s:
		return fmt.Errorf("%s has capital letters; write %s", quote(s), quote(strings.ToLower(s)))
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return fmt.Errorf("%s has an empty label between two dots", quote(s))
		case len(label) > maxName:
			return fmt.Errorf("%s has a label longer than %d characters", quote(s), maxName)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("%s has a label with - at one end", quote(s))
		}
	}
	for _, r := range s {
		if r > 0x7f {
			return fmt.Errorf("%s has the character %q; write an international name in its xn-- form", quote(s), r)
		}
		if r != '.' && !strings.ContainsRune(letters, r) {
			return fmt.Errorf("%s has the character %q; a name has a-z, 0-9 and -", quote(s), r)
		}
	}
	// RFC 1123 section 2.1: the last label tells a name from an address.
	if last := s[strings.LastIndexByte(s, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("%s is not a domain name: its last label has digits only", quote(s))
	}
	return nil
}

// hasRule says whether the jsonschema tag holds the rule.
func hasRule(tag reflect.StructTag, rule string) bool {
	return slices.Contains(strings.Split(tag.Get("jsonschema"), ","), rule)
}

// ruleValue returns the number of a rule such as minimum.
func ruleValue(tag reflect.StructTag, name string) (float64, bool) {
	for rule := range strings.SplitSeq(tag.Get("jsonschema"), ",") {
		if s, ok := strings.CutPrefix(rule, name+"="); ok {
			x, err := strconv.ParseFloat(s, 64)
			return x, err == nil
		}
	}
	return 0, false
}

// enum returns the values that the jsonschema tag allows.
func enum(tag reflect.StructTag) []string {
	var allowed []string
	for rule := range strings.SplitSeq(tag.Get("jsonschema"), ",") {
		if s, ok := strings.CutPrefix(rule, "enum="); ok {
			allowed = append(allowed, s)
		}
	}
	return allowed
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
