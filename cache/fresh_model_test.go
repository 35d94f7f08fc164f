package cache

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Lifetime and age are the sums that RFC 9111 sections 4.2.1 to 4.2.3 and 5.2.2 write down, worked out here once more from the numbers
// instead of from the fields.
func TestFreshnessModel(t *testing.T) {
	const most = 1<<31 - 1
	rapid.Check(t, func(t *rapid.T) {
		h := make(http.Header)
		perhaps := func(name string, from, to int64) (n int64, is bool) {
			if is = rapid.Bool().Draw(t, "has "+name); is {
				n = rapid.Int64Range(from, to).Draw(t, name)
			}
			return n, is
		}
		at := func(field string, seconds int64) {
			h.Set(field, noon.Add(time.Duration(seconds)*time.Second).Format(http.TimeFormat))
		}
		date, hasDate := perhaps("date", -1e6, 1e6) // seconds from noon, when it came
		if hasDate {
			at("Date", date)
		}
		expires, hasExpires := perhaps("expires", -1e6, 1e6)
		if hasExpires {
			at("Expires", expires)
		}
		modified, hasModified := perhaps("last-modified", -1e8, 1e6)
		if hasModified {
			at("Last-Modified", modified)
		}
		age, hasAge := perhaps("age", 0, 1<<33)
		if hasAge {
			h.Set("Age", fmt.Sprint(age))
		}
		maxAge, hasMaxAge := perhaps("max-age", 0, 1<<33)
		if hasMaxAge {
			h.Add("Cache-Control", fmt.Sprintf("max-age=%d", maxAge))
		}
		sMaxAge, hasSMaxAge := perhaps("s-maxage", 0, 1<<33)
		if hasSMaxAge {
			h.Add("Cache-Control", fmt.Sprintf("s-maxage=%d", sMaxAge))
		}
		_, public := perhaps("public", 0, 0)
		if public {
			h.Add("Cache-Control", "public")
		}
		status := rapid.SampledFrom([]int{200, 302, 404, 410, 299, 503}).Draw(t, "status")
		delay := rapid.Int64Range(0, 1000).Draw(t, "delay")
		resident := rapid.Int64Range(0, 1<<33).Draw(t, "resident")

		var lifetime time.Duration
		switch {
		case hasSMaxAge:
			lifetime = time.Duration(min(sMaxAge, most)) * time.Second
		case hasMaxAge:
			lifetime = time.Duration(min(maxAge, most)) * time.Second
		case hasExpires:
			lifetime = time.Duration(max(0, expires-date)) * time.Second
		case hasModified && modified < date && (public || status == 200 || status == 404 || status == 410):
			lifetime = min(time.Duration(date-modified)*time.Second/10, 24*time.Hour)
		}
		current := min(max(0, -date, min(age, most)+delay), most) + min(resident, most)

		o, _ := Policy{}.admit(Key{}, http.Header{}, status, h, noon.Add(-time.Duration(delay)*time.Second), noon)
		if o == nil {
			t.Fatalf("%v is refused", h)
		}
		l := Look{Object: o}.At(noon.Add(time.Duration(resident) * time.Second))
		if want := time.Duration(current) * time.Second; o.Lifetime != lifetime || l.Age != want || l.TTL != lifetime-want || l.Fresh() != (want < lifetime) {
			t.Errorf("%d %v after %d s of delay and %d s here:\n got %v of %v, fresh %v\nwant %v of %v", status, h, delay, resident, l.Age, o.Lifetime, l.Fresh(), want, lifetime)
		}
	})
}
