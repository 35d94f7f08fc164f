package cache

import (
	"net/http"
	"strings"
	"time"
)

// parseDate reads an HTTP-date in any of its three forms (RFC 9110 section 5.6.7). The names of days, months and the
// zone may be in any case, which changes no meaning. All else must be as the form has it: another zone, another
// number of digits or blanks is somebody else's idea of a date, and maybe of the instant.
//
// A year of two digits is the one that is not more than 50 years after near.
func parseDate(s string, near time.Time) (time.Time, bool) {
	form := http.TimeFormat
	if head, tail, ok := strings.Cut(s, ","); !ok {
		form = time.ANSIC
	} else if len(head) > len("Mon") {
		form = rfc850
		if len(tail) != len(rfc850)-len("Monday,") {
			return time.Time{}, false
		}
	}
	if form != rfc850 && len(s) != len(form) {
		return time.Time{}, false
	}
	if form != time.ANSIC { // time.Parse is strict with the zone alone
		zone := len(s) - len("GMT")
		if zone < 0 || !strings.EqualFold(s[zone:], "GMT") {
			return time.Time{}, false
		}
		s = s[:zone] + "GMT"
	}
	t, err := time.Parse(form, s)
	if err != nil || !sameForm(s, t.Format(form)) {
		return time.Time{}, false
	}
	if form == rfc850 {
		t = t.AddDate(near.Year()/100*100-t.Year()/100*100, 0, 0)
		for t.After(near.AddDate(50, 0, 0)) {
			t = t.AddDate(-100, 0, 0)
		}
	}
	return t, true
}

// rfc850 is the obsolete form with a long day and a short year.
const rfc850 = "Monday, 02-Jan-06 15:04:05 GMT"

// sameForm compares what was read with what is written for it, but for the day of the week: origins that compute that
// wrongly mean the date.
func sameForm(read, written string) bool {
	cut := func(s string) string { return s[strings.IndexByte(s, ' ')+1:] }
	return strings.EqualFold(cut(read), cut(written))
}
