package cache

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSelect(t *testing.T) {
	object := func(status int, pairs ...string) *Object {
		return &Object{Status: status, Received: noon.Add(time.Minute + time.Millisecond), Fields: NewFields(fields(pairs...))}
	}
	full := object(200, "Etag", `"1"`, "Last-Modified", "@-1h", "Date", "@")
	weak := object(200, "Etag", `W/"1"`, "Date", "@")
	bare := object(200, "Date", "@")
	none := object(200)
	const size = 10
	whole := Selection{Status: 200, Length: size}
	same := Selection{Status: 304}
	part := func(from, to int64, text string) Selection {
		return Selection{Status: 206, Offset: from, Length: to - from + 1, Range: "bytes " + text}
	}
	outside := Selection{Status: 416, Range: "bytes */10"}
	for _, test := range []struct {
		rule    string
		o       *Object
		method  string
		request http.Header
		want    Selection
	}{
		{"no condition", full, "GET", fields(), whole},
		{"RFC 9110 13.1.2: tag", full, "GET", fields("If-None-Match", `"1"`), same},
		{"weak comparison", full, "GET", fields("If-None-Match", `W/"1"`), same},
		{"weak comparison of a weak one", weak, "GET", fields("If-None-Match", `"1"`), same},
		{"one of a list", full, "GET", fields("If-None-Match", `"0", W/"x,y" , "1"`), same},
		{"one of the lines", full, "GET", fields("If-None-Match", `"0"`, "If-None-Match", `"1"`), same},
		{"star", bare, "GET", fields("If-None-Match", "*"), same},
		{"another tag", full, "GET", fields("If-None-Match", `"2"`), whole},
		{"a tag where none is stored", bare, "GET", fields("If-None-Match", `""`), whole},
		{"garbage", full, "GET", fields("If-None-Match", `1`), whole},
		{"RFC 9110 13.2.2: If-None-Match before If-Modified-Since", full, "GET", fields("If-None-Match", `"2"`, "If-Modified-Since", "@"), whole},
		{"RFC 9110 13.1.3: date", full, "GET", fields("If-Modified-Since", "@-1h"), same},
		{"modified since", full, "GET", fields("If-Modified-Since", "@-2h"), whole},
		{"RFC 9110 13.1.3: not a date", full, "GET", fields("If-Modified-Since", "yesterday"), whole},
		{"two dates", full, "GET", fields("If-Modified-Since", "@", "If-Modified-Since", "@"), whole},
		{"RFC 9111 4.3.2: Date where there is no Last-Modified", bare, "GET", fields("If-Modified-Since", "@"), same},
		{"before that Date", bare, "GET", fields("If-Modified-Since", "@-1s"), whole},
		{"RFC 9111 4.3.2: the receipt where there is no Date, to the second", none, "GET", fields("If-Modified-Since", "@1m"), same},
		{"before the receipt", none, "GET", fields("If-Modified-Since", "@59s"), whole},
		{"HEAD is conditional", full, "HEAD", fields("If-None-Match", `"1"`), same},
		{"RFC 9110 13.2.1: no condition on other than a success", object(404, "Etag", `"1"`), "GET", fields("If-None-Match", `"1"`), Selection{Status: 404, Length: size}},

		{"RFC 9110 14.2: range", full, "GET", fields("Range", "bytes=2-5"), part(2, 5, "2-5/10")},
		{"open end", full, "GET", fields("Range", "bytes=2-"), part(2, 9, "2-9/10")},
		{"suffix", full, "GET", fields("Range", "bytes=-3"), part(7, 9, "7-9/10")},
		{"suffix longer than all", full, "GET", fields("Range", "bytes=-30"), part(0, 9, "0-9/10")},
		{"end past the end", full, "GET", fields("Range", "bytes=9-99999999999999999999"), part(9, 9, "9-9/10")},
		{"RFC 9110 14.1: the unit's case", full, "GET", fields("Range", "Bytes=0-0"), part(0, 0, "0-0/10")},
		{"begin past the end", full, "GET", fields("Range", "bytes=10-"), outside},
		{"begin past everything", full, "GET", fields("Range", "bytes=99999999999999999999-"), outside},
		{"RFC 9110 14.1.2: an empty suffix", full, "GET", fields("Range", "bytes=-0"), outside},
		{"RFC 9110 14.2: of GET alone", full, "HEAD", fields("Range", "bytes=2-5"), whole},
		{"RFC 9110 14.2: another unit", full, "GET", fields("Range", "lines=2-5"), whole},
		{"RFC 9110 14.1.1: end before begin", full, "GET", fields("Range", "bytes=5-2"), whole},
		{"several that are longer than the whole", full, "GET", fields("Range", "bytes=0-1,3-4"), whole},
		{"RFC 9110 14.2: several that overlap", full, "GET", fields("Range", "bytes=0-3,3-4"), whole},
		{"of several the one that is there", full, "GET", fields("Range", "bytes=2-5,20-"), part(2, 5, "2-5/10")},
		{"RFC 9110 5.6.1.2: empty members", full, "GET", fields("Range", "bytes=, 2-5 ,"), part(2, 5, "2-5/10")},
		{"none of several is there", full, "GET", fields("Range", "bytes=10-,20-30"), outside},
		{"one of several is none", full, "GET", fields("Range", "bytes=2-5,x"), whole},
		{"two lines", full, "GET", fields("Range", "bytes=0-1", "Range", "bytes=0-1"), whole},
		{"nothing", full, "GET", fields("Range", "bytes=-"), whole},
		{"signs", full, "GET", fields("Range", "bytes=+1-2"), whole},
		{"no range of a redirection", object(301), "GET", fields("Range", "bytes=2-5"), Selection{Status: 301, Length: size}},
		{"RFC 9110 13.2.2: 304 before range", full, "GET", fields("Range", "bytes=2-5", "If-None-Match", `"1"`), same},

		{"RFC 9110 13.1.5: If-Range, same tag", full, "GET", fields("Range", "bytes=2-5", "If-Range", `"1"`), part(2, 5, "2-5/10")},
		{"another tag", full, "GET", fields("Range", "bytes=2-5", "If-Range", `"2"`), whole},
		{"strong comparison", weak, "GET", fields("Range", "bytes=2-5", "If-Range", `W/"1"`), whole},
		{"weak stored, strong asked", weak, "GET", fields("Range", "bytes=2-5", "If-Range", `"1"`), whole},
		{"exact date, strong by RFC 9110 8.8.2.2", full, "GET", fields("Range", "bytes=2-5", "If-Range", "@-1h"), part(2, 5, "2-5/10")},
		{"later date is no match", full, "GET", fields("Range", "bytes=2-5", "If-Range", "@"), whole},
		{"a date in the same second as Date is weak", object(200, "Last-Modified", "@", "Date", "@"), "GET", fields("Range", "bytes=2-5", "If-Range", "@"), whole},
		{"no Date, no strong date", object(200, "Last-Modified", "@"), "GET", fields("Range", "bytes=2-5", "If-Range", "@"), whole},
		{"a false If-Range beats an unsatisfiable range", full, "GET", fields("Range", "bytes=99-", "If-Range", `"2"`), whole},
	} {
		if got := test.o.Select(test.method, test.request, size); got != test.want {
			t.Errorf("%s: %s %v\n got %+v\nwant %+v", test.rule, test.method, test.request, got, test.want)
		}
	}
	if got := full.Select("GET", fields("Range", "bytes=0-1"), -1); got != (Selection{Status: 200, Length: -1}) {
		t.Errorf("of a length not known yet there are no parts: %+v", got)
	}
	if got := full.Select("GET", fields("Range", "bytes=-5"), 0); got != (Selection{Status: 200}) {
		t.Errorf("the last bytes of nothing are all of it: %+v", got)
	}
	if got := full.Select("GET", fields("Range", "bytes=0-"), 0); got != (Selection{Status: 416, Range: "bytes */0"}) {
		t.Errorf("nothing has no first byte: %+v", got)
	}
}

func TestValidators(t *testing.T) {
	o := &Object{Fields: NewFields(fields("Etag", `"1"`, "Last-Modified", "@"))}
	if h := o.Validators(); h.Get("If-None-Match") != `"1"` || h.Get("If-Modified-Since") != noon.Format(http.TimeFormat) {
		t.Errorf("RFC 9111 section 4.3.1: %v", h)
	}
	if h := (&Object{}).Validators(); h != nil {
		t.Errorf("no validators: %v", h)
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-1", "bytes=5-", "bytes=9-3", "BYTES= 1-2 ", "bytes=--1", "bytes=99999999999999999999-", "bytes=0-1,2-3", "bytes"} {
		f.Add(s, int64(10))
	}
	f.Add("bytes=-5", int64(0))
	f.Fuzz(func(t *testing.T, v string, size int64) {
		if size < 0 {
			t.Skip()
		}
		from, to, ok := parseRange(v, size)
		if ok && (from < 0 || to >= size || from < size && to < from) {
			t.Errorf("parseRange(%q, %d) = %d, %d", v, size, from, to)
		}
		o := &Object{Status: 200}
		s := o.Select("GET", http.Header{"Range": {v}}, size)
		switch s.Status {
		case 200:
			ok = s.Offset == 0 && s.Length == size
		case 206:
			ok = s.Offset >= 0 && s.Length > 0 && s.Offset+s.Length <= size
		case 416:
			ok = s.Length == 0
		default:
			ok = false
		}
		if !ok {
			t.Errorf("%q of %d bytes: %+v", v, size, s)
		}
	})
}

func FuzzEntityTags(f *testing.F) {
	for _, s := range []string{`"1"`, `W/"1", "2"`, `"a,b",,"c"`, `"1`, `W/1`, ` , "x" garbage "y"`, `w/"1"`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var tags []string
		for tag := range entityTags(line) {
			opaque := strings.TrimPrefix(tag, "W/")
			if len(opaque) < 2 || strings.Count(opaque, `"`) != 2 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' {
				t.Fatalf("%q has the member %q", line, tag)
			}
			if !strings.Contains(line, tag) {
				t.Fatalf("%q does not contain %q", line, tag)
			}
			tags = append(tags, tag)
		}
		// What was read is read the same when written again.
		var again []string
		for tag := range entityTags(strings.Join(tags, ", ")) {
			again = append(again, tag)
		}
		if !slices.Equal(tags, again) {
			t.Errorf("%q, then %q", tags, again)
		}
	})
}
