package cache

import (
	"math"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// fields makes a header of names and values; a value's "@" and a duration stand for noon
// and that much later.
func fields(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		v := pairs[i+1]
		if len(v) > 0 && v[0] == '@' {
			var d time.Duration
			if len(v) > 1 {
				var err error
				if d, err = time.ParseDuration(v[1:]); err != nil {
					panic(err)
				}
			}
			v = noon.Add(d).Format(http.TimeFormat)
		}
		h.Add(pairs[i], v)
	}
	return h
}

func TestLifetime(t *testing.T) {
	for _, test := range []struct {
		rule     string
		status   int
		h        http.Header
		want     time.Duration
		explicit bool
	}{
		{"RFC 9111 4.2.1: s-maxage first", 200, fields("Cache-Control", "max-age=1, s-maxage=2", "Expires", "@3s", "Date", "@"), 2 * time.Second, true},
		{"then max-age", 200, fields("Cache-Control", "max-age=1", "Expires", "@3s", "Date", "@"), time.Second, true},
		{"then Expires less Date", 200, fields("Expires", "@3s", "Date", "@1s"), 2 * time.Second, true},
		{"RFC 9110 6.6.1: without Date the time of receipt", 200, fields("Expires", "@3s"), 3 * time.Second, true},
		{"a Date that cannot be read, too", 200, fields("Expires", "@3s", "Date", "today"), 3 * time.Second, true},
		{"RFC 9111 5.3: 0 is in the past", 200, fields("Expires", "0"), 0, true},
		{"an Expires in the past", 200, fields("Expires", "@-1h", "Date", "@"), 0, true},
		{"Expires at Date", 200, fields("Expires", "@", "Date", "@"), 0, true},
		{"the first of several Expires", 200, fields("Expires", "@1s", "Expires", "@9s", "Date", "@"), time.Second, true},
		{"s-maxage that is no number", 200, fields("Cache-Control", "s-maxage=x, max-age=9"), 0, true},
		{"RFC 9111 4.2.2: a tenth since Last-Modified", 200, fields("Last-Modified", "@-100s", "Date", "@"), 10 * time.Second, false},
		{"at most a day", 200, fields("Last-Modified", "@-9000h", "Date", "@"), 24 * time.Hour, false},
		{"none for Last-Modified after Date", 200, fields("Last-Modified", "@100s", "Date", "@"), 0, false},
		{"none for a status that is not heuristically cacheable", 302, fields("Last-Modified", "@-100s", "Date", "@"), 0, false},
		{"RFC 9111 4.2.2: unless public", 302, fields("Last-Modified", "@-100s", "Date", "@", "Cache-Control", "public"), 10 * time.Second, false},
		{"404 is heuristically cacheable", 404, fields("Last-Modified", "@-100s", "Date", "@"), 10 * time.Second, false},
		{"nothing is known", 200, fields(), 0, false},
		{"must-revalidate gives none", 200, fields("Cache-Control", "must-revalidate"), 0, false},
	} {
		d, source := lifetime(test.status, test.h, ParseControl(test.h["Cache-Control"]), noon)
		if d != test.want || source.Explicit() != test.explicit {
			t.Errorf("%s: %v = %v, %v, want %v, explicit %v", test.rule, test.h, d, source, test.want, test.explicit)
		}
	}
}

func TestInitialAge(t *testing.T) {
	for _, test := range []struct {
		rule string
		h    http.Header
		took time.Duration // response_delay; received at noon
		want time.Duration
	}{
		{"RFC 9111 4.2.3: apparent age", fields("Date", "@-10s"), 0, 10 * time.Second},
		{"age_value and delay", fields("Date", "@", "Age", "30"), 2 * time.Second, 32 * time.Second},
		{"the larger one: apparent", fields("Date", "@-60s", "Age", "30"), 2 * time.Second, 60 * time.Second},
		{"a Date ahead of us makes no negative age", fields("Date", "@10s"), 0, 0},
		{"no Date", fields(), 3 * time.Second, 3 * time.Second},
		{"RFC 9111 5.1: the first member counts", fields("Age", "7, 8", "Age", "9"), 0, 7 * time.Second},
		{"RFC 9111 5.1: what is no number is ignored", fields("Age", "x"), 0, 0},
		{"a negative one, too", fields("Age", "-5"), 0, 0},
		{"a clock set back makes no negative delay", fields("Age", "5"), -time.Hour, 5 * time.Second},
		{"RFC 9111 1.2.2: a huge Age", fields("Age", "99999999999999999999"), time.Hour, maxAge},
		{"a Date of the beginning of time", fields("Date", "Mon, 01 Jan 0001 00:00:00 GMT"), 0, maxAge},
	} {
		if got := initialAge(test.h, noon.Add(-test.took), noon); got != test.want {
			t.Errorf("%s: %v after %v = %v, want %v", test.rule, test.h, test.took, got, test.want)
		}
	}
}

// An object's age never falls as time goes on, is never negative, and an object that is
// stale stays so: whatever its origin's clock says and wherever ours is set.
func TestFreshnessIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := make(http.Header)
		seconds := rapid.Int64Range(-1<<36, 1<<36)
		if rapid.Bool().Draw(t, "has date") {
			h.Set("Date", noon.Add(time.Duration(seconds.Draw(t, "date"))*time.Second).Format(http.TimeFormat))
		}
		if rapid.Bool().Draw(t, "has age") {
			h.Set("Age", rapid.StringMatching(`-?[0-9]{0,22}`).Draw(t, "age"))
		}
		if rapid.Bool().Draw(t, "has max-age") {
			h.Set("Cache-Control", "max-age="+rapid.StringMatching(`[0-9]{1,22}`).Draw(t, "max-age"))
		}
		sent := noon.Add(time.Duration(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "delay")))
		o, why := Policy{}.admit(Key{}, http.Header{}, 200, h, sent, noon)
		if why != "" && why != ReasonNoLifetime {
			t.Fatalf("not admitted: %v", why)
		}
		instant := rapid.Custom(func(t *rapid.T) time.Time {
			return noon.Add(time.Duration(rapid.Int64Range(math.MinInt64/2, math.MaxInt64/2).Draw(t, "now")))
		})
		early, late := instant.Draw(t, "early"), instant.Draw(t, "late")
		if late.Before(early) {
			early, late = late, early
		}
		was, is := Look{Object: o}.At(early), Look{Object: o}.At(late)
		if was.Age < 0 || is.Age < was.Age {
			t.Errorf("age goes from %v to %v", was.Age, is.Age)
		}
		if is.Fresh() && !was.Fresh() && !o.ahead(early) {
			t.Errorf("stale at %v, fresh at %v", early, late)
		}
	})
}

// A clock that was set back by more than a little makes what came later than now stale, and no older.
func TestClockSetBack(t *testing.T) {
	o := &Object{Received: noon, Age: 5 * time.Second, Lifetime: time.Minute, IfError: time.Hour}
	for back, want := range map[time.Duration]time.Duration{0: 55 * time.Second, clockSlack: 55 * time.Second, clockSlack + 1: 0, 1000 * time.Hour: 0} {
		l := Look{Object: o}.At(noon.Add(-back))
		if l.TTL != want || l.Age != 5*time.Second || l.IfError() != (want == 0) {
			t.Errorf("set back by %v: age %v, ttl %v, in an error's place %v", back, l.Age, l.TTL, l.IfError())
		}
	}
	p := &Object{Kind: Pass, Received: noon, Lifetime: passLifetime}
	if !p.passes(noon) || p.passes(noon.Add(-time.Hour)) || p.passes(noon.Add(passLifetime)) {
		t.Error("a pass holds for as long as the clock was set back")
	}
}

func TestLookWindows(t *testing.T) {
	o := &Object{Received: noon, Lifetime: time.Minute, WhileRevalidate: 10 * time.Second, IfError: 20 * time.Second}
	for _, test := range []struct {
		after                    time.Duration
		fresh, updating, ifError bool
	}{
		{0, true, false, false},
		{59 * time.Second, true, false, false},
		{60 * time.Second, false, true, true}, // RFC 9111 4.2: fresh while lifetime > age
		{69 * time.Second, false, true, true},
		{70 * time.Second, false, false, true},
		{80 * time.Second, false, false, false},
	} {
		l := Look{Object: o}.At(noon.Add(test.after))
		if l.Fresh() != test.fresh || l.Updating() != test.updating || l.IfError() != test.ifError {
			t.Errorf("after %v: fresh %v, updating %v, if error %v", test.after, l.Fresh(), l.Updating(), l.IfError())
		}
	}
	if none := (Look{}).At(noon); none.Fresh() || none.Updating() || none.IfError() {
		t.Error("nothing stored is usable")
	}
	o.NoCache = true
	if l := (Look{Object: o}).At(noon); l.Fresh() || l.Updating() || l.IfError() {
		t.Error("no-cache must be validated (RFC 9111 section 5.2.2.4)")
	}
}
