package cache

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDate(t *testing.T) {
	want := time.Date(2026, 8, 8, 2, 1, 18, 0, time.UTC)
	for _, test := range []struct {
		rule, date string
		want       time.Time // zero: no date
	}{
		{"RFC 9110 5.6.7: IMF-fixdate", "Sat, 08 Aug 2026 02:01:18 GMT", want},
		{"rfc850-date", "Saturday, 08-Aug-26 02:01:18 GMT", want},
		{"asctime-date", "Sat Aug  8 02:01:18 2026", want},
		{"asctime-date with two digits", "Tue Aug 18 02:01:18 2026", want.AddDate(0, 0, 10)},
		{"any case", "SAT, 08 aUG 2026 02:01:18 gmt", want},
		{"a wrong day of the week", "Mon, 08 Aug 2026 02:01:18 GMT", want},
		{"of another length, too", "Wednesday, 08-Aug-26 02:01:18 GMT", want},
		{"two digits: at most 50 years ahead", "Friday, 08-Aug-75 02:01:18 GMT", time.Date(2075, 8, 8, 2, 1, 18, 0, time.UTC)},
		{"else they are past", "Friday, 08-Aug-77 02:01:18 GMT", time.Date(1977, 8, 8, 2, 1, 18, 0, time.UTC)},
		{"of this century", "Friday, 08-Aug-00 02:01:18 GMT", time.Date(2000, 8, 8, 2, 1, 18, 0, time.UTC)},
		{"another zone", "Sat, 08 Aug 2026 02:01:18 UTC", time.Time{}},
		{"an offset", "Sat, 08 Aug 2026 02:01:18 +0000", time.Time{}},
		{"one digit for the hour", "Sat, 08 Aug 2026 2:01:18 GMT", time.Time{}},
		{"and a blank to make up for it", "Sat, 08 Aug  2026 2:01:18 GMT", time.Time{}},
		{"one digit for the day", "Sat, 8 Aug 2026 02:01:18 GMT", time.Time{}},
		{"several blanks", "Sat, 08  Aug  2026 02:01:18 GMT", time.Time{}},
		{"no comma", "Sat 08 Aug 2026 02:01:18 GMT", time.Time{}},
		{"a short year", "Sat, 08 Aug 26 02:01:18 GMT", time.Time{}},
		{"dashes with a long year", "Sat, 08-Aug-2026 02:01:18 GMT", time.Time{}},
		{"points", "Sat, 08 Aug 2026 02.01.18 GMT", time.Time{}},
		{"blanks around it", " Sat, 08 Aug 2026 02:01:18 GMT", time.Time{}},
		{"a day that does not exist", "Mon, 31 Feb 2026 02:01:18 GMT", time.Time{}},
		{"a leap second that time.Parse does not know", "Sat, 08 Aug 2026 02:01:60 GMT", time.Time{}},
		{"a number", "0", time.Time{}},
		{"nothing", "", time.Time{}},
		{"a comma alone", ",", time.Time{}},
	} {
		got, ok := parseDate(test.date, noon)
		if ok == test.want.IsZero() || !got.Equal(test.want) {
			t.Errorf("%s: %q is %v, %v", test.rule, test.date, got, ok)
		}
	}
}

// Every instant that a form can write is read back, in all three.
func TestParseDateReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(noon.AddDate(-49, 0, 0).Unix(), noon.AddDate(50, 0, 0).Unix()).Draw(t, "at"), 0).UTC()
		for _, form := range []string{http.TimeFormat, rfc850, time.ANSIC} {
			if got, ok := parseDate(at.Format(form), noon); !ok || !got.Equal(at) {
				t.Errorf("%q is %v, %v", at.Format(form), got, ok)
			}
		}
	})
}

// What is taken for a date is one that net/http takes as well, but for the case of its zone and the century of two digits.
func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"Sat, 08 Aug 2026 02:01:18 GMT", "Saturday, 08-Aug-26 02:01:18 GMT", "Sat Aug  8 02:01:18 2026", "Sat, 08 Aug 2026 02:01:18 gmt", ",", "GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDate(s, noon)
		if !ok {
			return
		}
		theirs, err := http.ParseTime(s)
		if err == nil && !theirs.Equal(got) && got.Sub(theirs).Abs() < 99*365*24*time.Hour {
			t.Errorf("%q is %v, and to net/http %v", s, got, theirs)
		}
	})
}
