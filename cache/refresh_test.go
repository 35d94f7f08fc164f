package cache

import (
	"net/http"
	"testing"
	"time"
)

func TestRefresh(t *testing.T) {
	const after = time.Hour
	stored := func(pairs ...string) *Object {
		h := fields(append([]string{"Date", "@", "Cache-Control", "max-age=60", "Content-Type", "text/plain"}, pairs...)...)
		return &Object{Key: Key{Path: "/"}, Status: 200, Fields: NewFields(h), Body: NewBody([]byte("body")), Received: noon}
	}
	tagged := stored("Etag", `"1"`, "Last-Modified", "@-9h")
	for _, test := range []struct {
		rule   string
		o      *Object
		fresh  http.Header
		same   bool
		why    Reason
		fields []string // names and values expected afterwards
	}{
		{"RFC 9111 4.3.4: same tag", tagged, fields("Etag", `"1"`, "Date", "@1h"), true, "", nil},
		{"another tag", tagged, fields("Etag", `"2"`), false, "", nil},
		{"no validator: the only one asked about", tagged, fields(), true, "", nil},
		{"another date where no tag decides", stored("Last-Modified", "@-9h"), fields("Last-Modified", "@-8h"), false, "", nil},
		{"the same date", stored("Last-Modified", "@-9h"), fields("Last-Modified", "@-9h"), true, "", nil},
		{"the tag decides before the date", tagged, fields("Etag", `"1"`, "Last-Modified", "@-8h"), true, "", []string{"Last-Modified", noon.Add(-8 * time.Hour).Format(http.TimeFormat)}},
		{"the stored tag stays with its content", stored("Etag", `W/"1"`), fields("Etag", `"1"`), true, "", []string{"Etag", `W/"1"`}},
		{"RFC 9111 3.2: fields are replaced", tagged, fields("Etag", `"1"`, "X", "new"), true, "", []string{"X", "new"}},
		{"RFC 9111 3.2: but not those of the content", tagged, fields("Content-Type", "text/html", "Content-Length", "9"), true, "", []string{"Content-Type", "text/plain", "Content-Length", ""}},
		{"no Date: that of the receipt", tagged, fields("Etag", `"1"`), true, "", []string{"Date", noon.Add(after).Format(http.TimeFormat)}},
		{"RFC 9111 4.1: another Vary makes the key wrong", tagged, fields("Vary", "Accept"), false, "", nil},
		{"the same Vary", stored("Etag", `"1"`, "Vary", "a, B"), fields("Vary", "B,A"), true, "", nil},
		{"Vary: * from now on", tagged, fields("Vary", "*"), true, ReasonVaryStar, nil},
		{"no-store from now on", tagged, fields("Cache-Control", "no-store"), true, ReasonNoStore, nil},
		{"private from now on", tagged, fields("Cache-Control", "private"), true, ReasonPrivate, nil},
		{"a 304 that sets a cookie", tagged, fields("Set-Cookie", "a=b"), true, ReasonSetCookie, nil},
	} {
		o, _, why := Policy{}.refresh(test.o, http.Header{}, test.fresh, noon.Add(after), noon.Add(after))
		if (o != nil) != test.same || why != test.why {
			t.Errorf("%s: object %v, reason %q", test.rule, o != nil, why)
			continue
		}
		if o == nil {
			continue
		}
		for i := 0; i < len(test.fields); i += 2 {
			if got := o.Fields.Get(test.fields[i]); got != test.fields[i+1] {
				t.Errorf("%s: %s: %q, want %q", test.rule, test.fields[i], got, test.fields[i+1])
			}
		}
		if o.Body.Len() != 4 || o.Key != test.o.Key || o.Age != 0 {
			t.Errorf("%s: body of %d, key %v, age %v", test.rule, o.Body.Len(), o.Key, o.Age)
		}
		if l := (Look{Object: o}).At(noon.Add(after)); why == "" && !l.Fresh() {
			t.Errorf("%s: not fresh again", test.rule)
		}
	}
}

func TestRefreshedForAuthorization(t *testing.T) {
	o := &Object{Status: 200, Fields: NewFields(fields("Date", "@", "Cache-Control", "max-age=60", "Etag", `"1"`)), Received: noon}
	// RFC 9111 section 3.5: the 304 answers a request with Authorization.
	if _, _, why := (Policy{}).refresh(o, fields("Authorization", "Basic x"), http.Header{}, noon, noon); why != ReasonAuthorization {
		t.Errorf("reason %q", why)
	}
}
