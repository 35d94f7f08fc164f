package cache_test

import (
	"bytes"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hither/cache"
)

// drawObject draws an object of any kind, as an origin's answers and the cache make them.
func drawObject(r *rapid.T) *cache.Object {
	text := rapid.StringMatching(`[ -~]{0,20}`)
	instant := rapid.Custom(func(r *rapid.T) time.Time {
		if rapid.Bool().Draw(r, "zero") {
			return time.Time{}
		}
		return time.Unix(rapid.Int64Range(-1<<33, 1<<35).Draw(r, "s"), rapid.Int64Range(0, 1e9-1).Draw(r, "ns"))
	})
	span := rapid.Custom(func(r *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(r, "d")) })
	h := http.Header{}
	for range rapid.IntRange(0, 5).Draw(r, "fields") {
		h.Add(rapid.SampledFrom([]string{"Etag", "Surrogate-Key", "Cache-Tag", "X-A"}).Draw(r, "name"), text.Draw(r, "value"))
	}
	return &cache.Object{
		Key:  cache.Key{Site: text.Draw(r, "site"), Class: cache.ClassGet, Scheme: text.Draw(r, "scheme"), Path: text.Draw(r, "path"), Vary: text.Draw(r, "vary")},
		Kind: cache.Kind(rapid.Byte().Draw(r, "kind")), NoCache: rapid.Bool().Draw(r, "no-cache"), Status: rapid.IntRange(0, 999).Draw(r, "status"),
		Fields: cache.NewFields(h), Request: instant.Draw(r, "request"), Received: instant.Draw(r, "received"),
		Age: span.Draw(r, "age"), Lifetime: span.Draw(r, "lifetime"), WhileRevalidate: span.Draw(r, "swr"), IfError: span.Draw(r, "sie"),
		Vary: rapid.SliceOfN(text, 0, 3).Draw(r, "names"), Epoch: rapid.Uint64().Draw(r, "epoch"),
	}
}

// An object read back is the one that was written.
func TestRecordReadsBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := drawObject(r)
		record := o.AppendRecord([]byte("before"))[len("before"):]
		got, err := cache.ReadObject(record, cache.NewBody([]byte("body")), rapid.Bool().Draw(r, "earlier"))
		if err != nil {
			r.Fatal(err)
		}
		if !bytes.Equal(got.AppendRecord(nil), record) {
			r.Errorf("%+v was read as %+v", o, got)
		}
		if got.Key != o.Key || got.Kind != o.Kind || got.Status != o.Status || got.Fields != o.Fields || !got.Request.Equal(o.Request) || !got.Received.Equal(o.Received) ||
			got.Age != o.Age || got.Lifetime != o.Lifetime || got.IfError != o.IfError || got.WhileRevalidate != o.WhileRevalidate ||
			got.Epoch != o.Epoch || len(got.Vary) != len(o.Vary) || got.NoCache != o.NoCache || got.Request.IsZero() != o.Request.IsZero() {
			r.Errorf("%+v was read as %+v", o, got)
		}
		// What was cut off anywhere is no object.
		if _, err := cache.ReadObject(record[:rapid.IntRange(0, len(record)-1).Draw(r, "cut")], cache.Body{}, false); err == nil {
			r.Error("half a record was read")
		}
	})
}

// A member that is new in Object or Key belongs into its record, or is named here with why it does not.
func TestRecordHasAll(t *testing.T) {
	for _, c := range []struct {
		of   any
		kept []string
	}{
		{cache.Key{}, []string{"Site", "Class", "Scheme", "Path", "Vary"}},
		{cache.Object{}, []string{
			"Key", "Kind", "NoCache", "Status", "Fields", "Request", "Received", "Age", "Lifetime", "WhileRevalidate", "IfError", "Vary", "Epoch", "sequence",
			"dead",  // of one process
			"Body",  // lies apart
			"tags",  // made of Fields
			"stale", // the store keeps it apart: it changes
		}},
	} {
		for f := range reflect.TypeOf(c.of).Fields() {
			if !slices.Contains(c.kept, f.Name) {
				t.Errorf("%T.%s is not in the record", c.of, f.Name)
			}
		}
	}
}

// Tags are found after a restart by the forms that a purge has, and by no others.
func TestTagForms(t *testing.T) {
	o := &cache.Object{Fields: cache.NewFields(http.Header{"Surrogate-Key": {"Red  blue"}, "Cache-Tag": {"Green, two words"}})}
	o, err := cache.ReadObject(o.AppendRecord(nil), cache.Body{}, true)
	if err != nil {
		t.Fatal(err)
	}
	var forms []string
	o.TagForms(func(form string) { forms = append(forms, form) })
	for tag, want := range map[string]bool{"Red": true, "red": false, "blue": true, "green": true, "GREEN": true, "two words": true, "two": false} {
		got := false
		for _, form := range (cache.Purge{Value: tag}).TagForms() {
			got = got || slices.Contains(forms, form)
		}
		if got != want {
			t.Errorf("%s: %v, want %v; the object has %q", tag, got, want, forms)
		}
	}
}

func FuzzReadObject(f *testing.F) {
	o := &cache.Object{Key: cache.Key{Site: "www", Class: 'G', Path: "/"}, Status: 200, Vary: []string{"Accept"}, Fields: cache.NewFields(http.Header{"Cache-Tag": {"a"}})}
	f.Add(o.AppendRecord(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, record []byte) {
		o, err := cache.ReadObject(record, cache.Body{}, false)
		if err != nil {
			return
		}
		o.Tags()
		again, err := cache.ReadObject(o.AppendRecord(nil), cache.Body{}, false)
		if err != nil || !bytes.Equal(again.AppendRecord(nil), o.AppendRecord(nil)) {
			t.Errorf("%+v is read as %+v, %v", o, again, err)
		}
	})
}
